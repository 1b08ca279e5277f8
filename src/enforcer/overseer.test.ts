/** A terminator that does nothing of what it is told: what posture, drain and expiry take away goes all the same, in its time. */
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { ShellstreamError } from '../../protocol/errors.ts';
import type { PostureLevel } from '../../protocol/posture/index.ts';
import {
  attempt,
  establish,
  footprint,
  MANAGEMENT,
  type MemoryNode,
  MemoryWorld,
  NOTHING,
  REQUEST,
} from '../../test/support/memory-nodes.ts';
import { type Door, openDoor, say } from '../../test/support/taken-over.ts';
import type { LogFields, Logger } from '../base/logger.ts';
import { Overseer } from './overseer.ts';

const HOUR_MS = 3_600_000;

let world: MemoryWorld;
let a: MemoryNode;
let b: MemoryNode;
/** Its terminator never ends, drains or releases anything by itself. */
let door: Door;
let overseer: Overseer;
let taken: LogFields[];

beforeEach(async () => {
  world = new MemoryWorld();
  [a, b] = [await world.node('a'), await world.node('b')];
  door = openDoor(b, { onPeerLevel: (standing) => overseer.peerLevelChanged(standing) });
  taken = [];
  const note = (_: string, fields: LogFields = {}): void => void taken.push(fields);
  const log: Logger = { debug: note, info: note, warn: note, error: note, child: () => log };
  const { clock, posture, accord, directory } = b;
  overseer = new Overseer({ clock, log, posture, accord, directory });
});
afterEach(async () => {
  overseer[Symbol.dispose]();
  await world[Symbol.asyncDispose]();
});

const change = async (level: PostureLevel): Promise<void> => {
  b.change(level);
  await overseer.postureChanged();
};

describe('a terminator that ignores posture', () => {
  it('loses at lockdown every session at once, with all that it had in the data plane', async () => {
    await establish(a, door.node);
    await managed();
    await change(1);
    expect(b.directory.size).toBe(0);
    expect(await footprint(b.dataplane, b.overlay)).toEqual(NOTHING);
  });

  it('loses nothing in the turn in which it is told to judge: its orders leave with the end of that', async () => {
    await establish(a, door.node);
    b.change(1);
    const taking = overseer.postureChanged();
    await Promise.resolve();
    expect(b.directory.size).toBe(1);
    await taking;
    expect(b.directory.size).toBe(0);
  });

  it('is told to end each of them when it has not, after five seconds', async () => {
    const ends = [(await establish(a, door.node)).hosted.id, await managed()];
    await change(1);
    await world.clock.advance(4_900);
    expect(door.node.revoked).toEqual([]);
    await world.clock.advance(100);
    expect(door.node.revoked).toEqual(ends);
  });

  it('and says then that it has ended them is told nothing', async () => {
    const ended = await managed();
    await change(1);
    const last = { streams: 0, receivedBytes: 0n, sentBytes: 0n };
    expect(await door.inside.reasonFor(say.release(ended, false, last))).toBe('done');
    await world.clock.advance(10_000);
    expect(door.node.revoked).toEqual([]);
  });

  it('loses at level 2 what is neither critical nor the mesh, which is narrowed', async () => {
    const { hosted } = await establish(a, door.node);
    await managed();
    const operator = await admitted('operator');
    await change(2);
    expect(b.directory.get(operator)).toBeUndefined();
    expect(b.directory.size).toBe(2);
    const capabilities = b.directory.get(hosted.id)?.admission.grant.capabilities ?? [];
    expect(capabilities.length).toBeLessThanOrEqual(hosted.grant.capabilities.length);
  });

  it('keeps what the level leaves', async () => {
    await establish(a, door.node);
    await change(3);
    expect(b.directory.size).toBe(1);
    expect(taken).toEqual([]);
  });
});

describe('a terminator that lets no one attest anew where the level asks for a fresh token', () => {
  it('loses the session when there was time enough to', async () => {
    await establish(a, door.node);
    await change(3);
    await world.clock.advance(29_000);
    expect(b.directory.size).toBe(1);
    await world.clock.advance(3_000);
    expect(b.directory.size).toBe(0);
    expect(taken).toContainEqual(expect.objectContaining({ reason: 'SAT_NOT_FRESH' }));
  });

  it('keeps one that attested in time, and one whose level rose again', async () => {
    const { hosted } = await establish(a, door.node);
    await change(3);
    a.change(3);
    const { admit } = await attempt(a, door.node, { renews: hosted.id });
    expect(await door.inside.reasonFor(say.admit(admit))).toBe('admission');
    await world.clock.advance(40_000);
    expect(b.directory.size).toBe(1);
    await change(5);
    await change(3);
    await change(5);
    await world.clock.advance(40_000);
    expect(b.directory.size).toBe(1);
  });
});

describe('a terminator that ignores a drain', () => {
  it('loses the session after the deadline and a moment, and not before', async () => {
    const shell = await admitted('operator', ['OBSERVE', 'CONNECT', 'PROPOSE']);
    const { admission } = b.directory.get(shell) ?? {};
    if (admission === undefined) throw new Error('no session');
    // Level 3 takes PROPOSE from a journeyman.
    b.directory.note(shell, { admission: { ...admission, peer: { ...admission.peer, tier: 'journeyman' } } });
    await change(3);
    expect(b.directory.get(shell)?.endsAtMs).toBe(world.clock.monotonic() + b.accord.drainMs + 1_000);
    await world.clock.advance(b.accord.drainMs);
    expect(b.directory.size).toBe(1);
    await world.clock.advance(2_000);
    expect(b.directory.size).toBe(0);
    expect(door.node.revoked).toEqual([shell]);
  });

  it('and has its peer attest again meanwhile: the deadline stays', async () => {
    const { hosted } = await establish(a, door.node);
    b.directory.note(hosted.id, { endsAtMs: world.clock.monotonic() + 3_000 });
    const { admit } = await attempt(a, door.node, { renews: hosted.id });
    expect(await door.inside.reasonFor(say.admit(admit))).toBe('admission');
    await world.clock.advance(5_000);
    expect(b.directory.size).toBe(0);
  });

  it('that comes while its peer attests again: the deadline holds for the renewed session too', async () => {
    const { hosted } = await establish(a, door.node);
    const { admit } = await attempt(a, door.node, { renews: hosted.id });
    const extend = b.dataplane.flows.extend.bind(b.dataplane.flows);
    b.dataplane.flows.extend = async (...args) => {
      b.directory.note(hosted.id, { endsAtMs: world.clock.monotonic() + 3_000 });
      await extend(...args);
    };
    expect(await door.inside.reasonFor(say.admit(admit))).toBe('admission');
    await world.clock.advance(5_000);
    expect(b.directory.size).toBe(0);
  });
});

describe('a terminator that ignores expiry', () => {
  it('loses many in one line of the log, which names some of them', async () => {
    for (let i = 0; i < 20; i++) await managed();
    await world.clock.advance(HOUR_MS);
    expect(b.directory.size).toBe(0);
    expect(taken).toEqual([expect.objectContaining({ count: 20 })]);
    expect(taken[0]?.sessions).toHaveLength(16);
  });

  it('loses the session a moment after its time', async () => {
    const { hosted } = await establish(a, door.node);
    await world.clock.advance(hosted.expiresAt - world.clock.now() - 1_000);
    expect(b.directory.size).toBe(1);
    await world.clock.advance(4_000);
    expect(b.directory.size).toBe(0);
    expect(await footprint(b.dataplane, b.overlay)).toEqual(NOTHING);
    expect(taken).toContainEqual({ reason: 'EXPIRED', count: 1, sessions: [hosted.id] });
  });

  it('loses it too when the wall clock was set back and comes right again', async () => {
    const { hosted } = await establish(a, door.node);
    world.clock.setWall(world.clock.now() - 3_600_000);
    await world.clock.advance(5_000);
    world.clock.setWall(hosted.expiresAt + 1_001);
    await world.clock.advance(1_000);
    expect(b.directory.size).toBe(0);
  });
});

describe('a peer that says a stricter level', () => {
  it('and a terminator that goes on: the session ends after a moment; a wider level said after it changes nothing', async () => {
    const { hosted } = await establish(a, door.node);
    expect(await door.inside.reasonFor(say.setPeerLevel(hosted.id, 1))).toBe('done');
    expect(await door.inside.reasonFor(say.setPeerLevel(hosted.id, 5))).toBe('done');
    expect(b.directory.size).toBe(1);
    await world.clock.advance(3_000);
    expect(b.directory.size).toBe(0);
    expect(await footprint(b.dataplane, b.overlay)).toEqual(NOTHING);
  });
});

it('a session that cannot be released wholly is told in the log, and keeps no other from being taken', async () => {
  const { hosted } = await establish(a, door.node);
  const other = await managed();
  b.dataplane.flows.remove = () => Promise.reject(new ShellstreamError('DATAPLANE_FAILED'));
  await change(1);
  expect(taken).toContainEqual(expect.objectContaining({ session: hosted.id, error: expect.any(Error) }));
  expect(b.directory.get(other)).toBeUndefined();
  expect(b.directory.size).toBe(0);
  expect((await footprint(b.dataplane, b.overlay)).peers).toBe(0);
});

async function managed(): Promise<string> {
  const request = { ...REQUEST, targets: [MANAGEMENT] };
  const { admit } = await attempt(a, door.node, { type: 'management', request });
  return (await door.enforcer.admit(admit)).id;
}

async function admitted(type: 'operator', capabilities = REQUEST.capabilities): Promise<string> {
  const { admit } = await attempt(a, door.node, { type, request: { ...REQUEST, capabilities } });
  return (await door.enforcer.admit(admit)).id;
}
