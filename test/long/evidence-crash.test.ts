import { spawnSync } from 'node:child_process';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, test } from 'vitest';
import { describeFinding, parseArtifact } from '../../protocol/evidence/index.ts';
import { systemClock } from '../../src/base/clock.ts';
import { nodeCrypto } from '../../src/base/crypto-node.ts';
import { EvidenceFolder, notarisation } from '../../src/evidence/fixtures.ts';
import { compensate, Recorder, undecidedIntents } from '../../src/evidence/index.ts';

const WRITER = fileURLToPath(new URL('../evidence/children/writer.ts', import.meta.url));

/** Where the writer is killed; the file operations of publishing come by many times in one round. */
const POINTS: readonly (readonly [string, number])[] = [
  ['before-intent', 3],
  ['after-intent', 1],
  ['after-intent', 2],
  ['after-kernel', 1],
  ['after-kernel', 2],
  ['after-outcome', 1],
  ['after-publish', 2],
  ...[1, 2, 3, 4, 7].map((at) => ['in-transaction', at] as const),
  ...[1, 3, 6].flatMap((at) => [['before-rename', at] as const, ['after-rename', at] as const]),
  ...[4, 9, 22].map((at) => ['after-open', at] as const),
  ['after-mkdir', 2],
  ['before-rm', 1],
  ['after-rm', 2],
];

describe('SIGKILL at each step of intent, kernel, outcome, tile and checkpoint', () => {
  test.each(POINTS)(
    '%s, the %i. time: nothing promised is lost, nothing done is without its intent',
    async (kind, count) => {
      using folder = new EvidenceFolder();
      const first = write(folder.path, kind, count);
      expect(first.isKilled).toBe(true);
      const said = [...first.said, ...write(folder.path, kind, count + 1).said];
      const held = existsSync(join(folder.logPath, 'checkpoint'))
        ? [readFileSync(join(folder.logPath, 'checkpoint'))]
        : [];

      using spool = folder.spool();
      const publisher = await folder.publisher(spool);
      const records = spool.reader.entries(0, spool.size).map(({ opening }) => {
        return opening === undefined ? undefined : parseArtifact(opening.record).body;
      });
      for (const { what, at } of said) {
        expect(what === 'published' ? spool.size >= at : records[at] !== undefined, `${what} ${at}`).toBe(true);
      }
      const intents = new Set(records.flatMap((body) => (body === undefined ? [] : [numberOf(body)])));
      for (const number of inKernel(folder.path)) expect(intents, `kernel ${number}`).toContain(number);

      const undecided = undecidedIntents(spool.reader).length;
      expect(undecided).toBeLessThanOrEqual(2);
      const recorder = new Recorder({
        spool,
        clock: systemClock,
        crypto: nodeCrypto,
        notarisation,
        posture: () => ({ level: 3, epoch: 2n }),
        onDurable: () => undefined,
      });
      expect(await compensate(recorder, spool.reader, 'CONNECTION_LOST')).toBe(undecided);
      expect(undecidedIntents(spool.reader)).toEqual([]);
      recorder.close();

      await publisher.publish();
      expect((await folder.verify({ held })).findings.map(describeFinding)).toEqual([]);
      expect(leftovers(folder.logPath)).toEqual([]);
    },
  );

  test('the writer that nobody kills ends by itself', () => {
    using folder = new EvidenceFolder();
    expect(write(folder.path, 'never', 1).said.filter(({ what }) => what === 'published')).toHaveLength(4);
  });
});

interface Said {
  readonly what: string;
  readonly at: number;
}

function write(folder: string, kind: string, count: number): { readonly said: Said[]; readonly isKilled: boolean } {
  const ended = spawnSync(process.execPath, [WRITER, folder, kind, String(count)], {
    encoding: 'utf8',
    timeout: 30_000,
  });
  // A point that a second run does not reach again (a folder is made once) is passed by there.
  if (ended.signal !== 'SIGKILL' && ended.status !== 0) throw new Error(ended.stderr);
  const lines = ended.stdout.split('\n').slice(0, -1);
  const said = lines.map((line) => ({ what: line.split(' ')[0] ?? '', at: Number(line.split(' ')[1]) }));
  return { said, isKilled: ended.signal === 'SIGKILL' };
}

function inKernel(folder: string): number[] {
  const path = join(folder, 'kernel');
  return existsSync(path) ? readFileSync(path, 'utf8').trim().split('\n').filter(Boolean).map(Number) : [];
}

function numberOf(body: ReturnType<typeof parseArtifact>['body']): number {
  switch (body.case) {
    case 'sessionTransit':
      return last(body.value.sessionId);
    case 'networkMutation':
      return last(body.value.mutationId);
    default:
      return -1;
  }
}

function last(id: Uint8Array): number {
  return new DataView(id.buffer, id.byteOffset).getUint32(12);
}

function leftovers(path: string): string[] {
  return readdirSync(path, { recursive: true, encoding: 'utf8' }).filter((name) => name.endsWith('.writing'));
}
