import { expect, test } from 'vitest';
import { encodeArtifact, parseArtifact } from '../../protocol/evidence/index.ts';
import { silentLogger } from '../base/logger.ts';
import { SimulatedClock } from '../base/simulated-clock.ts';
import { listeners } from '../dataplane/listeners.ts';
import type { LevelSeen } from '../dataplane/ports.ts';
import type { Recorded, Recording } from '../evidence/recorder.ts';
import { MOST_SEEN, recordLevelsSeen, SEEN_WINDOW_MS } from './level-telemetry.ts';

test('a level that packets met is recorded with the kernel’s time, and who held it', () => {
  const { tell, recorded } = listening();
  tell(3, 7n);
  expect(recorded).toMatchObject([
    { case: 'postureChange', value: { fromLevel: 5, toLevel: 3, source: 'external', atBootNs: 70n, seen: 7n } },
  ]);
});

test('attack: another program writes levels without end: few are recorded, the last one is, and the gap says how many are not', async () => {
  const { tell, recorded, clock } = listening();
  for (let i = 1; i <= 5_000; i += 1) tell(i % 2 === 0 ? 2 : 4, BigInt(i));
  expect(recorded).toHaveLength(MOST_SEEN);
  await clock.advance(SEEN_WINDOW_MS);
  expect(recorded).toHaveLength(MOST_SEEN + 1);
  expect(recorded.at(-1)?.value).toMatchObject({ toLevel: 2, seen: 5_000n });
});

test('the first that is told of since the programs were loaded is from itself', () => {
  const { tellAll, recorded } = listening();
  tellAll([{ atBootNs: 1n, from: undefined, level: 4, heldBy: 'own', number: 1n }]);
  const [body] = recorded;
  if (body === undefined) throw new Error('nothing was recorded');
  const head = { atMs: 1n, postureLevel: 4, postureEpoch: 1n };
  expect(parseArtifact(encodeArtifact({ ...head, body })).body.value).toMatchObject({ fromLevel: 4, toLevel: 4 });
});

function listening() {
  const clock = new SimulatedClock();
  const levels = listeners<readonly LevelSeen[]>();
  const recorded: Recording[] = [];
  const store = {
    record: async (body: Recording): Promise<Recorded> => {
      recorded.push(body);
      return { in: 'log', at: recorded.length };
    },
  };
  const flows = { onLevelSeen: levels.add };
  recordLevelsSeen({ clock, log: silentLogger, dataplane: { flows } }, { store });
  const tell = (level: 2 | 3 | 4, number: bigint): void => {
    levels.tell([{ atBootNs: number * 10n, from: 5, level, heldBy: 'external', number }]);
  };
  return { clock, recorded, tell, tellAll: levels.tell };
}
