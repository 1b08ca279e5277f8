/** Thousands of sessions end in turns of the event loop: those with tunnels in the first, and nobody waits behind all of them. */
import { afterEach, beforeEach, expect, it } from 'vitest';
import type { PostureLevel } from '../../protocol/posture/level.ts';
import { ACCORD } from '../../test/support/memory-nodes.ts';
import { turnEnded } from '../base/clock.ts';
import { silentLogger } from '../base/logger.ts';
import { SimulatedClock } from '../base/simulated-clock.ts';
import { type Holder, SessionDirectory, type Standing } from './directory.ts';
import { MEMBER, standingOf } from './fixtures.ts';
import { Overseer } from './overseer.ts';
import type { RevocationReader } from './ports.ts';

const SESSIONS = 10_000;

let directory: SessionDirectory;
let overseer: Overseer;
let level: PostureLevel;
let released: string[];
/** Of which their terminator was told. */
let revoked: string[];
/** What the kernel has not answered yet. */
let kernel: PromiseWithResolvers<void>;

const holder: Holder = {
  release: async (id, reason) => {
    const standing = directory.delete(id, reason);
    released.push(id);
    if (standing?.member !== undefined) await kernel.promise;
  },
  revoked: (id) => void revoked.push(id),
};

beforeEach(() => {
  [released, revoked, level, kernel] = [[], [], 5, Promise.withResolvers()];
  directory = new SessionDirectory({ sessions: SESSIONS, sessionsPerIdentity: SESSIONS });
  for (let at = 0; at < SESSIONS; at += 1) {
    using place = directory.takePlace('spiffe://a.test/x');
    place.put(holder, standing(at));
  }
  const posture = {
    get level() {
      return level;
    },
    epoch: 1n,
  };
  overseer = new Overseer({
    clock: new SimulatedClock(),
    log: silentLogger,
    posture,
    accord: ACCORD.accord,
    directory,
  });
});
afterEach(() => overseer[Symbol.dispose]());

it('all with tunnels go in one turn, and the rest while the kernel takes those away', async () => {
  level = 1;
  const ends = overseer.postureChanged();
  await turnEnded();
  const first = released.slice(0, SESSIONS / 10);
  expect(first.every((id) => Number.parseInt(id, 16) % 10 === 9)).toBe(true);
  expect(directory.size).toBeGreaterThan(SESSIONS / 2);
  for (let turn = 0; turn < 8; turn += 1) await turnEnded();
  expect(directory.size).toBe(0);
  let isOver = false;
  void ends.then(() => {
    isOver = true;
  });
  await turnEnded();
  expect(isOver).toBe(false);
  kernel.resolve();
  await ends;
  expect(new Set(released).size).toBe(SESSIONS);
  expect(released).toHaveLength(SESSIONS);
});

it('one that ended by itself before its turn is ended once, and one that fails keeps no other', async () => {
  level = 1;
  const ends = overseer.postureChanged();
  await turnEnded();
  kernel.reject(new Error('the kernel says no'));
  const last = id(SESSIONS - 2);
  await holder.release(last, 'CLOSED');
  await ends;
  expect(released.filter((one) => one === last)).toHaveLength(1);
  expect(directory.size).toBe(0);
});

it('what is revoked ends in one turn, its terminators told, and is counted once', async () => {
  const all = { find: () => ({}) } as unknown as RevocationReader;
  const counts = [overseer.revoked(all), overseer.revoked(all)];
  expect([directory.size, revoked.length]).toEqual([0, SESSIONS]);
  kernel.resolve();
  expect(await Promise.all(counts)).toEqual([SESSIONS, 0]);
});

function id(at: number): string {
  return at.toString(16).padStart(32, '0');
}

/** Every tenth has a tunnel, the last among them. */
function standing(at: number): Standing {
  const offer = { versions: [1], mode: 'overlay' } as const;
  return at % 10 === 9
    ? { ...standingOf(id(at), { offer: { ...offer, sessionType: 'mesh' } }), member: MEMBER }
    : standingOf(id(at));
}
