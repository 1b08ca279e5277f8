/** What Bascule may say, as it comes over the wire: bounded here, and a level that makes no sense is the strictest. */
import type { MessageShape } from '@bufbuild/protobuf';
import { ShellstreamError } from '../../../protocol/errors.ts';
import type { StatementSchema } from '../../../protocol/gen/shellstream/bascule/v1/bascule_pb.ts';
import { levelFromTrustedSource } from '../../../protocol/posture/index.ts';
import type { OutsideStatement } from '../source-statements.ts';

/** As the console and the record of posture name it. */
export const BASCULE = 'bascule';

/** Of a whole message: the reason is what can be long in it. */
export const MAX_MESSAGE_BYTES = 4_096;

/** @throws ShellstreamError MALFORMED where there is no statement that could be ordered among the others */
export function parseStatement(statement: MessageShape<typeof StatementSchema> | undefined): OutsideStatement {
  if (statement === undefined) throw malformed('a message without a statement');
  const { level, epoch, lifetimeMs, reason } = statement;
  if (epoch === 0n || epoch >= MAX_EPOCH) throw malformed(`epoch ${epoch}`);
  if (lifetimeMs === 0n) throw malformed('a statement that holds for no time');
  return {
    source: BASCULE,
    level: levelFromTrustedSource(level),
    epoch,
    reason: oneLine(reason),
    ...(lifetimeMs === undefined ? {} : { forMs: Number(lifetimeMs < LONGEST_MS ? lifetimeMs : LONGEST_MS) }),
  };
}

/** A jump to the end of the range would leave no epoch for whatever comes after. */
const MAX_EPOCH = 2n ** 63n;
const LONGEST_MS = BigInt(366 * 86_400_000);
const MAX_REASON = 256;

/** The words go to logs and terminals: a line break or an escape sequence would forge their lines. */
function oneLine(text: string): string {
  return text.slice(0, MAX_REASON).replaceAll(/\p{C}/gu, '\u{fffd}');
}

function malformed(detail: string): ShellstreamError {
  return new ShellstreamError('MALFORMED', `Bascule sent ${detail}`);
}
