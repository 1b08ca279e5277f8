/** Several terminators as one: what each may say and spoil, and what it may not. */
import { afterEach, beforeEach, expect, it, vi } from 'vitest';
import { reasonOf, ShellstreamError } from '../../protocol/errors.ts';
import { establish, type MemoryNode, MemoryWorld, REQUEST } from '../../test/support/memory-nodes.ts';
import { type Door, openDoor } from '../../test/support/taken-over.ts';
import { Listeners } from '../base/listeners.ts';
import type { SessionId } from './ports.ts';
import type { DialOrder, Terminator, TerminatorEvent } from './terminator-port.ts';
import { Terminators } from './terminators.ts';

let world: MemoryWorld;
let a: MemoryNode;
let b: MemoryNode;
let doors: readonly [Door, Door];
let terminators: Terminators;

beforeEach(async () => {
  world = new MemoryWorld();
  [a, b] = [await world.node('a'), await world.node('b')];
  doors = [openDoor(b), openDoor(b)];
  terminators = new Terminators();
});
afterEach(() => world[Symbol.asyncDispose]());

it('one that fails or hangs does not keep posture from the others, nor the others from being waited for', async () => {
  const heard: string[] = [];
  const broken = fake({
    setPosture: (level) => void heard.push(`broken ${level}`),
    judgeSessions: () => Promise.reject(new ShellstreamError('OVERLOADED', 'it does not answer')),
  });
  const judged = Promise.withResolvers<void>();
  const good = fake({
    setPosture: (level) => void heard.push(`good ${level}`),
    judgeSessions: () => judged.promise,
  });
  terminators.add(doors[0].enforcer, broken);
  terminators.add(doors[1].enforcer, good);
  terminators.setPosture(2, 7n);
  expect(heard).toEqual(['broken 2', 'good 2']);
  let isDone = false;
  const all = terminators.judgeSessions().then(() => {
    isDone = true;
  });
  await world.clock.advance(0);
  expect(isDone).toBe(false);
  judged.resolve();
  await all;
});

it('an order about a session goes to the one that holds it', async () => {
  const { hosted } = await establish(a, doors[1].node);
  const [one, other] = [fake(), fake()];
  terminators.add(doors[0].enforcer, one);
  terminators.add(doors[1].enforcer, other);
  terminators.drain(hosted.id, 'OPERATOR_DRAIN', 100);
  await terminators.streams(hosted.id);
  expect(one.drain).not.toHaveBeenCalled();
  expect(one.streams).not.toHaveBeenCalled();
  expect(other.drain).toHaveBeenCalledWith(hosted.id, 'OPERATOR_DRAIN', 100);
  expect(other.streams).toHaveBeenCalledOnce();
  terminators.drain('f'.repeat(32), 'OPERATOR_DRAIN', 100);
  expect(await terminators.streams('f'.repeat(32))).toEqual([]);
});

it('attack: events about sessions of another terminator, or of nobody, are passed to nobody', async () => {
  const { hosted } = await establish(a, doors[0].node);
  const [honest, hostile] = [fake(), fake()];
  terminators.add(doors[0].enforcer, honest);
  terminators.add(doors[1].enforcer, hostile);
  const heard: TerminatorEvent[] = [];
  terminators.onEvent((event) => heard.push(event));
  for (const session of [hosted.id, 'f'.repeat(32)]) {
    hostile.tell({ kind: 'draining', session });
    hostile.tell({ kind: 'drain-received', session, reason: 'POSTURE_END', level: 1, epoch: 9n, deadlineMs: 0 });
  }
  expect(heard).toEqual([]);
  expect(terminators.isDraining(hosted.id)).toBe(false);
  honest.tell({ kind: 'draining', session: hosted.id });
  expect(heard).toHaveLength(1);
  expect(terminators.isDraining(hosted.id)).toBe(true);
  terminators.forget(hosted.id);
  expect(terminators.isDraining(hosted.id)).toBe(false);
});

it('attack: a dial answered with a session of another terminator, of another peer, or with none, is a failure', async () => {
  const c = await world.node('c');
  const [theirs, ofAnother] = [await establish(a, doors[0].node), await establish(c, doors[1].node)];
  let answer: SessionId = theirs.hosted.id;
  terminators.add(doors[1].enforcer, fake({ dial: async () => answer }));
  const dial = (): Promise<unknown> => terminators.dial(orderFor(a), new AbortController().signal);
  for (answer of [theirs.hosted.id, ofAnother.hosted.id, 'f'.repeat(32)]) {
    await expect(dial()).rejects.toMatchObject({ reason: 'CONNECTION_LOST' });
  }
  answer = (await establish(a, doors[1].node)).hosted.id;
  expect(await dial()).toBe(answer);
});

it('dials are taken by turns; without a terminator there is nobody to dial', async () => {
  const none = await terminators.dial(orderFor(a), new AbortController().signal).catch(reasonOf);
  expect(none).toBe('OVERLOADED');
  const dialled: number[] = [];
  for (const [at, { enforcer }] of doors.entries()) {
    const dial = (): Promise<never> => {
      dialled.push(at);
      return Promise.reject(new ShellstreamError('CONNECTION_LOST'));
    };
    terminators.add(enforcer, fake({ dial }));
  }
  for (let turn = 0; turn < 4; turn++) {
    await terminators.dial(orderFor(a), new AbortController().signal).catch(() => undefined);
  }
  expect([...dialled].sort()).toEqual([0, 0, 1, 1]);
});

it('one that was let go is told nothing any more and heard no more', async () => {
  const { hosted } = await establish(a, doors[0].node);
  const gone = fake();
  const listed = terminators.add(doors[0].enforcer, gone);
  const heard: TerminatorEvent[] = [];
  terminators.onEvent((event) => heard.push(event));
  listed[Symbol.dispose]();
  terminators.setPosture(1, 2n);
  gone.tell({ kind: 'draining', session: hosted.id });
  expect(gone.setPosture).not.toHaveBeenCalled();
  expect(heard).toEqual([]);
  expect(terminators.count).toBe(0);
});

it('the load is the sum of those that answer', async () => {
  terminators.add(doors[0].enforcer, fake({ load: async () => ({ pendingHandshakes: 2, streams: 3 }) }));
  terminators.add(doors[1].enforcer, fake({ load: () => Promise.reject(new ShellstreamError('OVERLOADED')) }));
  terminators.add(doors[1].enforcer, fake({ load: async () => ({ pendingHandshakes: 1, streams: 4 }) }));
  expect(await terminators.load()).toEqual({ pendingHandshakes: 3, streams: 7 });
});

function orderFor(peer: MemoryNode): DialOrder {
  const offer = { versions: [1], sessionType: 'mesh', mode: 'overlay' } as const;
  return { approach: { offer, expectedId: peer.spiffeId, request: REQUEST }, address: peer.host, port: 7_843 };
}

/** Does what it is told, and says what the test lets it say. */
function fake(ways: Partial<Terminator> = {}) {
  const events = new Listeners<TerminatorEvent>();
  return {
    setPosture: vi.fn(ways.setPosture),
    judgeSessions: ways.judgeSessions ?? (async () => undefined),
    identityRotated: () => undefined,
    drain: vi.fn(),
    end: async () => undefined,
    drainAll: async () => undefined,
    dial: ways.dial ?? (async () => 'f'.repeat(32)),
    streams: vi.fn(async () => []),
    load: ways.load ?? (async () => ({ pendingHandshakes: 0, streams: 0 })),
    onEvent: (listener: (event: TerminatorEvent) => void) => events.add(listener),
    tell: (event: TerminatorEvent) => events.tell(event),
  } satisfies Terminator & { tell: unknown };
}
