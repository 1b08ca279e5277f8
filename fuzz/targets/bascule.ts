/** What Bascule may say: whatever the bytes, a statement that can be ordered and shown, or MALFORMED. */
import { create, fromBinary, toBinary } from '@bufbuild/protobuf';
import { StatementSchema } from '../../protocol/gen/shellstream/bascule/v1/bascule_pb.ts';
import { isPostureLevel } from '../../protocol/posture/level.ts';
import { MAX_MESSAGE_BYTES, parseStatement } from '../../src/posture/sources/bascule-statement.ts';
import { protobuf } from '../formats/protobuf.ts';
import { treeFormat } from '../formats/tree.ts';
import { attempt, holds, type OpenTarget } from '../target.ts';

const YEAR_MS = 366 * 86_400_000;

export const open: OpenTarget = async () => ({
  about: 'statements of Bascule: a level that makes no sense is lockdown, words stay in one line',
  covers: ['src/posture/sources/bascule-statement.ts'],
  maxBytes: MAX_MESSAGE_BYTES,
  format: treeFormat(protobuf),
  dictionary: ['\u001b[2J', '\n', '\u{202e}'],
  seeds: [
    { level: 3, epoch: 7n, reason: 'drill' },
    { level: 77, epoch: 2n ** 63n, lifetimeMs: 60_000n, reason: 'a\nb' },
    { level: 5, epoch: 0n, reason: '' },
    { level: 1, epoch: 1n, lifetimeMs: 2n ** 64n - 1n, reason: 'x'.repeat(400) },
  ].map((statement) => toBinary(StatementSchema, create(StatementSchema, statement))),
  run(input) {
    let statement: ReturnType<typeof fromBinary<typeof StatementSchema>>;
    try {
      statement = fromBinary(StatementSchema, input);
    } catch {
      // The gRPC library ends the stream.
      return 'no protobuf';
    }
    const read = attempt({ reasons: ['MALFORMED'] }, () => parseStatement(statement));
    if ('refusal' in read) return `refused ${read.refusal}`;
    const { level, epoch, reason, forMs } = read.value;
    holds(isPostureLevel(level) && (level === statement.level || level === 1), 'a level that was not said');
    holds(epoch > 0n && epoch === statement.epoch, 'another epoch');
    holds(reason.length <= 256 && !/\p{C}/u.test(reason), 'words that leave their line');
    holds(forMs === undefined || (forMs >= 1 && forMs <= YEAR_MS), 'a time that is none');
    return `level ${level}`;
  },
});
