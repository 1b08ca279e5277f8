/**
 * What a terminator that was taken over says to the enforcer. An input is a sequence of moves: messages of its own
 * making, evidence that a peer really signed with bytes of it changed, the same again, and what happens meanwhile.
 */

import { ShellstreamError } from '../../protocol/errors.ts';
import { parsePrefix } from '../../protocol/net/prefix.ts';
import type { AcceptInput, Admission, SessionId } from '../../src/enforcer/ports.ts';
import { encodeToEnforcer, LARGEST_TO_ENFORCER, type ToEnforcerInit } from '../../src/enforcer/process/messages.ts';
import type { SessionEndInit } from '../../src/enforcer/process/session-end.ts';
import { type AttemptOptions, attempt, MANAGEMENT, PRINTER, REQUEST } from '../../test/support/memory-nodes.ts';
import { ended, say } from '../../test/support/taken-over.ts';
import { protobuf } from '../formats/protobuf.ts';
import { joined, pieces, sequenceOf } from '../formats/sequence.ts';
import { treeFormat } from '../formats/tree.ts';
import { holds, type OpenTarget } from '../target.ts';
import { type EnforcerWorld, EnforcerWorlds, settled } from './enforcer-world.ts';
import { EVIDENCE, fill, GRANT, OFFER } from './examples.ts';

/** Stand for the first session of the attacker and for that of the other terminator, whose ids differ from run to run. */
const OWN = 'a'.repeat(32);
const THEIRS = 'b'.repeat(32);
const NOBODY = 'c'.repeat(32);
const MOVE = { message: 0, admit: 1, accept: 2, again: 3, time: 4, posture: 5, obey: 6 } as const;
const MOST_MOVES = 16;

const CONNECTION = { localAddress: '192.0.2.2', localPort: 7_843, remoteAddress: '192.0.2.1', remotePort: 40_001 };
const QUESTIONS: readonly ToEnforcerInit[] = [
  say.challenge({ offer: OFFER, transcript: fill(1), staticKey: fill(2) }),
  say.admit({
    offer: OFFER,
    evidence: EVIDENCE,
    transcript: fill(1),
    staticKey: fill(2),
    ephemeralKey: fill(3),
    handshakeHash: fill(4),
    wireguardShared: fill(5),
    connection: CONNECTION,
    renews: THEIRS,
  }),
  say.approach({
    offer: OFFER,
    evidence: EVIDENCE,
    responderTranscript: fill(1),
    responderStaticKey: fill(2),
    transcript: fill(3),
    staticKey: fill(4),
    ephemeralKey: fill(5),
    expectedId: 'spiffe://a.test/gateway',
    request: REQUEST,
    renews: THEIRS,
  }),
  say.mayRenew(THEIRS),
  say.mayRenew(OWN),
  say.accept({ nonce: fill(1), grant: GRANT, handshakeHash: fill(4), connection: CONNECTION, renews: THEIRS }),
  say.setPeerLevel(THEIRS, 1),
  say.setPeerLevel(OWN, 3),
  say.release(THEIRS),
  say.release(OWN, true),
  say.release(OWN, false, {
    streams: 1,
    receivedBytes: 5n,
    sentBytes: 2n ** 64n - 1n,
    frames: { payloadHash: fill(7), headers: Uint8Array.of(4, 13) },
  }),
  say.releaseAll([ended(OWN), ended(NOBODY, true), ended(THEIRS), ended(OWN, true), ended('')]),
  say.releaseAll([]),
  say.releaseAll(Array.from({ length: 257 }, () => ended(OWN))),
  say.resume([
    { session: THEIRS, token: fill(6) },
    { session: OWN, token: fill(7) },
  ]),
];
const CARRIED = { streams: 1, receivedBytes: 7n, sentBytes: 2n ** 64n - 1n };
const NEWS: readonly ToEnforcerInit[] = [
  { case: 'listening', value: { port: 7_843 } },
  { case: 'handshakeEnded', value: { initiator: true, reason: 200, microseconds: 900 } },
  { case: 'draining', value: { session: THEIRS } },
  { case: 'drainReceived', value: { session: OWN, reason: 603, level: 3, epoch: 4n, deadlineMs: 100 } },
  say.carried(THEIRS, { streams: 1, receivedBytes: 5n, sentBytes: 6n }),
  say.carried(OWN, CARRIED),
];
const ANSWERS: readonly ToEnforcerInit[] = [
  { case: 'done', value: {} },
  { case: 'failed', value: { reason: 900, detail: 'no', byPeer: true } },
  { case: 'dialled', value: { session: THEIRS } },
  { case: 'streams', value: { streams: [{ id: 1, address: '10.2.0.10', port: 8_080 }] } },
  { case: 'load', value: { pendingHandshakes: 1, streams: 2 } },
];

export const open: OpenTarget = async () => {
  const worlds = await EnforcerWorlds.open();
  const words = [
    ...QUESTIONS.map((body, at) => encodeToEnforcer(at + 1, body)),
    ...NEWS.map((body) => encodeToEnforcer(0, body)),
    ...ANSWERS.map((body, at) => encodeToEnforcer(at + 1, body)),
  ];
  const batch = (...ends: SessionEndInit[]): Uint8Array => encodeToEnforcer(9, say.releaseAll(ends));
  const move = (kind: keyof typeof MOVE, choice = 0, rest: Uint8Array = new Uint8Array()): Uint8Array =>
    Uint8Array.of(MOVE[kind], choice, ...rest);
  return {
    about:
      'a terminator that was taken over: it opens nothing that a peer did not sign for, and touches no session of another',
    covers: ['src/enforcer/', 'protocol/wire/parse.ts'],
    maxBytes: 14_000,
    format: treeFormat(sequenceOf(protobuf, 2)),
    dictionary: [OWN, THEIRS, NOBODY, 'spiffe://a.test/gateway', '10.99.0.1', fill(0), Uint8Array.of(8, 1)],
    seeds: [
      ...words.map((bytes) => joined([move('message', 0, bytes)])),
      joined(words.slice(0, QUESTIONS.length).map((bytes) => move('message', 0, bytes))),
      joined([move('admit'), move('again'), move('message', 0, words[7] ?? fill(0))]),
      joined([
        move('admit', 1),
        move('admit', 5),
        move('again'),
        move('admit', 9),
        move('posture', 1),
        move('time', 50),
      ]),
      joined([move('admit', 0, Uint8Array.of(0, 40, 1)), move('admit'), move('message', 0, words[5] ?? fill(0))]),
      joined([move('accept'), move('again'), move('posture', 0)]),
      joined([
        move('admit', 1),
        move('message', 0, batch(ended(THEIRS), ended(OWN, false, CARRIED), ended(OWN, true), ended(NOBODY))),
        move('admit', 5),
      ]),
      joined([
        move('admit'),
        move('message', 0, encodeToEnforcer(0, say.carried(OWN, CARRIED))),
        move('message', 0, batch(ended(THEIRS), ended(OWN, false))),
      ]),
      joined([move('admit', 1), move('message', 0, batch(...Array.from({ length: 256 }, () => ended(OWN))))]),
      joined([move('admit', 16), move('admit', 24), move('posture', 1)]),
      joined([move('accept', 0, Uint8Array.of(0, 60, 4)), move('accept', 0), move('accept', 4), move('time', 255)]),
      joined([move('posture', 1), move('admit', 1), move('posture', 4), move('admit', 1), move('obey')]),
      joined(Array.from({ length: 8 }, (_, at) => move('admit', 1 + 4 * (at % 2)))),
    ],
    // Evidence that holds costs signatures, chains and tokens.
    steps: (bytes) => 4_000_000 + 4_000 * bytes,
    async run(input) {
      using world = await worlds.create();
      const game = new Game(world);
      for (const piece of pieces(input).slice(0, MOST_MOVES)) {
        await game.move(piece[0] ?? 0, piece[1] ?? 0, piece.subarray(2));
        if (world.hostile.inside.isCutOff) break;
      }
      return await game.end();
    },
    dispose: () => worlds[Symbol.asyncDispose](),
  };
};

class Game {
  readonly #world: EnforcerWorld;
  readonly #heard: string[] = [];
  #last: ToEnforcerInit | undefined;
  #lastId = 100;

  constructor(world: EnforcerWorld) {
    this.#world = world;
  }

  async move(kind: number, choice: number, rest: Uint8Array): Promise<void> {
    const { inside } = this.#world.hostile;
    switch (kind % 7) {
      case MOVE.message:
        if (rest.length > 0) inside.raw(named(rest, [OWN, this.#world.own], [THEIRS, this.#world.theirs.id]));
        break;
      case MOVE.admit:
        await this.#admit(choice, rest);
        break;
      case MOVE.accept:
        await this.#accept(choice, rest);
        break;
      case MOVE.again:
        if (this.#last !== undefined) await this.#ask(this.#last, rest);
        break;
      case MOVE.time:
        await this.#world.b.clock.advance(choice * 100);
        break;
      case MOVE.posture:
        await this.#world.fall(LEVELS[choice % 5] ?? 5);
        break;
      case MOVE.obey:
        for (const { id } of inside.heard.splice(0)) if (id > 0) inside.say(id, { case: 'done', value: {} });
    }
    await settled();
    this.#world.check();
  }

  /** A cut-off terminator keeps nothing. */
  async end(): Promise<string> {
    const { hostile, b, theirs } = this.#world;
    const word = hostile.inside.isCutOff
      ? `cut off: ${hostile.lost[0]?.replace(/[0-9]+/g, '0').slice(0, 40)}`
      : 'stays';
    const stood = b.directory.size;
    await hostile.enforcer.releaseAll('CONNECTION_LOST');
    await settled();
    holds(
      b.directory.all.every(({ admission }) => admission.id === theirs.id),
      'sessions outlive their terminator',
    );
    this.#world.check();
    return `${word} ${stood} ${[...new Set(this.#heard)].sort().join(' ').slice(0, 80)}`;
  }

  /** Evidence that a peer signed, and what the attacker makes of it. */
  async #admit(choice: number, edits: Uint8Array): Promise<void> {
    const tried = await this.#world.attempt(optionsOf(choice, this.#world));
    if (tried !== undefined) await this.#ask(say.admit(tried.admit), edits);
  }

  /** The node dials a peer by way of the attacker, who changes what came back. */
  async #accept(choice: number, edits: Uint8Array): Promise<void> {
    const { a } = this.#world;
    const input = await granted(this.#world, choice).catch((error: unknown) => {
      if (error instanceof ShellstreamError) return undefined;
      throw error;
    });
    if (input === undefined) return;
    await this.#ask(say.accept(input), edits);
    for (const { admission } of a.directory.all) await a.enforcer.release(admission.id, 'CLOSED');
  }

  async #ask(body: ToEnforcerInit, edits: Uint8Array): Promise<void> {
    this.#last = body;
    this.#lastId += 1;
    const bytes = edited(encodeToEnforcer(this.#lastId, body), edits);
    const { inside } = this.#world.hostile;
    if (edits.length === 0) this.#heard.push(await inside.reasonFor(body));
    else if (bytes.length <= LARGEST_TO_ENFORCER) inside.raw(bytes);
    await settled();
  }
}

const LEVELS = [1, 2, 3, 4, 5] as const;
const BEHIND_A = [parsePrefix('10.1.0.0/24')];

function optionsOf(choice: number, { own, theirs, a }: EnforcerWorld): AttemptOptions {
  const type = (['mesh', 'management'] as const)[choice % 2] ?? 'mesh';
  const renews: SessionId | undefined = [undefined, undefined, own, theirs.id][(choice >> 2) % 4];
  const offers = type === 'mesh' && choice >= 16;
  a.opens.offer = offers ? [PRINTER] : [];
  const advertise = offers ? BEHIND_A : [];
  const request = type === 'mesh' ? { ...REQUEST, advertise } : { ...REQUEST, targets: [MANAGEMENT] };
  return { type, request, ...(renews === undefined ? {} : { renews }) };
}

/** What an honest terminator would hand in of a grant that the peer gave. */
async function granted({ a, hostile, own }: EnforcerWorld, choice: number): Promise<AcceptInput> {
  const renews = choice % 4 === 3 && own !== undefined ? { renews: own } : {};
  const request = { ...REQUEST, targets: choice % 2 === 0 ? [] : REQUEST.targets };
  let input: AcceptInput | undefined;
  const recorder = {
    approach: hostile.enforcer.approach.bind(hostile.enforcer),
    accept: async (given: AcceptInput): Promise<Admission> => {
      input = given;
      throw new ShellstreamError('CLOSED');
    },
  };
  const tried = await attempt(
    { ...hostile.node, enforcer: Object.assign(Object.create(hostile.enforcer), recorder) },
    a,
    {
      request,
      ...renews,
    },
  );
  await tried.accept(await a.enforcer.admit(tried.admit)).catch(() => undefined);
  if (input === undefined) throw new ShellstreamError('CLOSED');
  return input;
}

/** `u16 where, u8 what`: bits to turn. */
function edited(bytes: Uint8Array, edits: Uint8Array): Uint8Array {
  const changed = Uint8Array.from(bytes);
  for (let at = 0; at + 2 < edits.length; at += 3) {
    const place = (((edits[at] ?? 0) << 8) | (edits[at + 1] ?? 0)) % changed.length;
    changed[place] = (changed[place] ?? 0) ^ (edits[at + 2] ?? 0);
  }
  return changed;
}

function named(bytes: Uint8Array, ...names: readonly (readonly [string, string | undefined])[]): Uint8Array {
  const text = Buffer.from(bytes).toString('latin1');
  const replaced = names.reduce((one, [name, id]) => (id === undefined ? one : one.replaceAll(name, id)), text);
  return Uint8Array.from(Buffer.from(replaced, 'latin1'));
}
