/** A terminator that was taken over, and releases many sessions in one question: its own, others', too many, the same again. */
import { afterEach, beforeEach, expect, it, vi } from 'vitest';
import { MAX_FINAL_FRAMES } from '../../../protocol/channel/index.ts';
import { ShellstreamError } from '../../../protocol/errors.ts';
import { REASONS } from '../../../protocol/reasons.ts';
import {
  attempt,
  establish,
  footprint,
  MANAGEMENT,
  type MemoryNode,
  MemoryWorld,
  REQUEST,
} from '../../../test/support/memory-nodes.ts';
import { type Door, ended, openDoor, say } from '../../../test/support/taken-over.ts';
import type { SessionId } from '../ports.ts';
import { MAX_RELEASED, type SessionEndInit } from './session-end.ts';

let world: MemoryWorld;
/** Peers that come to b. */
let a: MemoryNode;
let c: MemoryNode;
/** The node with both terminators. */
let b: MemoryNode;
let honest: Door;
let hostile: Door;
/** A session with a tunnel and one without. */
let [mesh, managed]: [SessionId, SessionId] = ['', ''];

const TOTALS = { streams: 2, receivedBytes: 900n, sentBytes: 30n };
const NOBODY = 'f'.repeat(32);

beforeEach(async () => {
  world = new MemoryWorld();
  [a, b, c] = [await world.node('a'), await world.node('b'), await world.node('c')];
  [honest, hostile] = [openDoor(b), openDoor(b)];
  mesh = await admitted({});
  managed = await admitted({ type: 'management', request: { ...REQUEST, targets: [MANAGEMENT] } });
});
afterEach(() => world[Symbol.asyncDispose]());

const BATCHES: readonly (readonly [string, (own: SessionId) => readonly SessionEndInit[]])[] = [
  ['none at all', () => []],
  ['one more than a question takes', (own) => Array.from({ length: MAX_RELEASED + 1 }, () => ended(own))],
  ['as many empty words as a message holds', () => Array.from({ length: 4_000 }, () => ({}))],
  ['no session behind one that is sound', (own) => [ended(own), ended('')]],
  ['a path instead of a session', (own) => [ended(own), ended('../../../../etc/shadow'), ended(own)]],
  ['a session in capitals before one that is sound', (own) => [ended('A'.repeat(32)), ended(own)]],
  [
    'final frames that are none behind one that is sound',
    (own) => [
      ended(own),
      ended(NOBODY, false, { ...TOTALS, frames: { payloadHash: new Uint8Array(31), headers: Uint8Array.of(4) } }),
    ],
  ],
  [
    'more final frames than there are behind one that is sound',
    (own) => [
      ended(own),
      ended(NOBODY, false, {
        ...TOTALS,
        frames: { payloadHash: new Uint8Array(32), headers: new Uint8Array(MAX_FINAL_FRAMES + 1) },
      }),
    ],
  ],
];

it.each(BATCHES)('attack: %s: none of them is released', async (_, ends) => {
  expect(await hostile.inside.reasonFor(say.releaseAll(ends(managed)))).toBe('MALFORMED');
  expect(standing()).toEqual([mesh, managed]);
  expect(hostile.inside.isCutOff).toBe(false);
});

it('attack: sessions of the other terminator among its own: its own go', async () => {
  const { hosted: theirs } = await establish(c, honest.node);
  const ends = [theirs.id, managed, NOBODY, theirs.id, mesh].map((id) => ended(id, true, TOTALS));
  expect(await hostile.inside.reasonFor(say.releaseAll(ends))).toBe('done');
  expect(standing()).toEqual([theirs.id]);
  expect(honest.node.revoked).toEqual([]);
  expect(await footprint(b.dataplane, b.overlay)).toMatchObject({ sessions: 1, peers: 1 });
});

it('attack: one session as often as a question takes, each time with other words: it goes once, with the first', async () => {
  const leave = vi.spyOn(b.overlay, 'leave');
  const ends = Array.from({ length: MAX_RELEASED }, (_, at) =>
    ended(mesh, at % 2 === 1, { ...TOTALS, streams: at % 3 }),
  );
  expect(await hostile.inside.reasonFor(say.releaseAll(ends))).toBe('done');
  expect(standing()).toEqual([managed]);
  expect(leave).toHaveBeenCalledTimes(1);
  expect(hostile.inside.isCutOff).toBe(false);
});

it('attack: a word that is taken back among others: it is cut off at once, though another takes long to go', async () => {
  const gate = Promise.withResolvers<void>();
  const leave = b.overlay.leave.bind(b.overlay);
  b.overlay.leave = async (member) => {
    await gate.promise;
    await leave(member);
  };
  hostile.inside.say(0, say.carried(managed, TOTALS));
  hostile.inside.say(7, say.releaseAll([ended(mesh), ended(managed, false, { ...TOTALS, sentBytes: 29n })]));
  await world.clock.advance(0);
  expect(hostile.inside.isCutOff).toBe(true);
  expect(hostile.lost).toHaveLength(1);
  gate.resolve();
});

it('what cannot be taken away is the answer, and keeps nothing else of the question standing', async () => {
  b.overlay.leave = async () => {
    throw new ShellstreamError('TUNNEL_FAILED', 'the kernel says no');
  };
  const answer = await hostile.inside.ask(say.releaseAll([ended(managed), ended(mesh)]));
  const why = { reason: REASONS.TUNNEL_FAILED.code };
  expect(answer).toMatchObject({ case: 'released', value: { failures: [{ place: 1, why }] } });
  expect(standing()).toEqual([]);
  expect(hostile.inside.isCutOff).toBe(false);
});

it('attack: questions without end, each with as many sessions as it takes, none of them its own: nothing is touched', async () => {
  const { hosted: theirs } = await establish(c, honest.node);
  const flood = say.releaseAll(Array.from({ length: MAX_RELEASED }, () => ended(theirs.id, true, TOTALS)));
  for (let wave = 0; wave < 16; wave += 1) {
    const answers = Array.from({ length: 64 }, () => hostile.inside.reasonFor(flood));
    expect(await honest.inside.reasonFor(say.setPeerLevel(theirs.id, 3))).toBe('done');
    expect(new Set(await Promise.all(answers))).toEqual(new Set(['done']));
  }
  expect(standing()).toEqual([mesh, managed, theirs.id]);
  expect(honest.node.revoked).toEqual([]);
  expect(hostile.inside.isCutOff).toBe(false);
});

/** A session of the hostile terminator. */
async function admitted(options: Parameters<typeof attempt>[2]): Promise<SessionId> {
  const answer = await hostile.inside.ask(say.admit((await attempt(a, hostile.node, options)).admit));
  if (answer.case !== 'admission') throw new Error(answer.case);
  return answer.value.id;
}

const standing = (): readonly SessionId[] => b.directory.all.map(({ admission }) => admission.id);
