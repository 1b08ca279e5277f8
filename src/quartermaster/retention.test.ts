import { expect, test } from 'vitest';
import { reasonOf } from '../../protocol/errors.ts';
import { Lane } from '../../protocol/quartermaster/index.ts';
import { silentLogger } from '../base/logger.ts';
import { ORIGIN } from '../evidence/fixtures.ts';
import { Depot, submission, transitEntry } from './fixtures.ts';
import { LocalLedger } from './local-ledger.ts';
import { keepWithin, passedInStore } from './retention.ts';

const DAY_MS = 86_400_000;
const HOUR_MS = 3_600_000;

test('attack: who sets the clock a year ahead cannot make Quartermaster forget, nor spend tokens of the future', async () => {
  await using depot = new Depot();
  const { clock } = depot;
  const said: string[] = [];
  const log = { ...silentLogger, warn: (message: string) => void said.push(message) };
  for (const wallMs of [0, 365 * DAY_MS, -365 * DAY_MS]) {
    using store = depot.store();
    clock.setWall(clock.now() + wallMs);
    using passed = passedInStore(store, clock, { boot: 'one', ms: () => clock.monotonic() }, log);
    using _kept = keepWithin({ store, days: 90, passed, clock, log: silentLogger });
    const ledger = new LocalLedger(store, passed);
    const next = await ledger.position({ origin: ORIGIN, lane: Lane.LOG });
    await ledger.submit(submission(next, [transitEntry(next)]));
    await clock.advance(HOUR_MS);
    expect(store.reader.since(ALL, 0, 9).found).toHaveLength(next + 1);
    const token = { id: `0${next}`, expiresAtMs: clock.now() + HOUR_MS };
    const proposal = { proposer: 'x', receivedMs: 0, content: new Uint8Array(1), token };
    expect(reasonFrom(() => store.transact(() => store.spend(proposal)))).toBeUndefined();
  }
  expect(said.some((line) => line.includes('the clock is ahead'))).toBe(true);
});

test('what really is older than its days goes', async () => {
  await using depot = new Depot();
  const { clock } = depot;
  let left: readonly number[] = [];
  for (let day = 0; day < 6; day += 1) {
    using store = depot.store();
    using passed = passedInStore(store, clock, { boot: 'one', ms: () => day * DAY_MS }, silentLogger);
    using _kept = keepWithin({ store, days: 3, passed, clock, log: silentLogger });
    await new LocalLedger(store, passed).submit(submission(day, [transitEntry(day)]));
    left = store.reader.since(ALL, 0, 9).found.map(({ sequence }) => sequence);
    clock.setWall(clock.now() + DAY_MS);
  }
  expect(left).toEqual([2, 3, 4, 5]);
});

const ALL = {
  ...{ level: undefined, identity: undefined, session: undefined, origin: undefined },
  ...{ fromMs: 0, toMs: Number.MAX_SAFE_INTEGER, kinds: new Set(['sessionTransit'] as const) },
};

function reasonFrom(action: () => unknown): string | undefined {
  try {
    action();
    return undefined;
  } catch (error) {
    return reasonOf(error);
  }
}
