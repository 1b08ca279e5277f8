/** What ends in one turn is released in few questions: how many, in which order, and what each that waits is told. */
import fc from 'fast-check';
import { afterEach, beforeEach, describe, expect, it, type MockInstance, vi } from 'vitest';
import { MAX_FINAL_FRAMES } from '../../../protocol/channel/index.ts';
import { reasonOf, ShellstreamError } from '../../../protocol/errors.ts';
import * as words from '../../../test/support/enforcer-words.ts';
import { Listeners } from '../../base/listeners.ts';
import { SimulatedClock } from '../../base/simulated-clock.ts';
import { type Link, type MemoryLinkPair, memoryLinkPair } from '../../link/index.ts';
import type { Enforcer, SessionId } from '../ports.ts';
import type { Terminator, TerminatorEvent } from '../terminator-port.ts';
import { decodeToEnforcer, decodeToTerminator, encodeToTerminator, failed, LARGEST_TO_ENFORCER } from './messages.ts';
import { type Failures, Releases } from './releases.ts';
import { RemoteEnforcer } from './remote-enforcer.ts';
import { RemoteTerminator } from './remote-terminator.ts';
import { MAX_RELEASED, type SessionEndInit } from './session-end.ts';

const SEED = Number(process.env.FC_SEED ?? 20_270_218);
const RUNS = { seed: SEED, numRuns: 60 };

describe('what is gathered', () => {
  /** What was asked for, and how it ends where it is not simply done. */
  function open(outcome: (question: number) => Promise<Failures> = async () => NONE) {
    const asked: SessionEndInit[][] = [];
    const releases = new Releases((sessions) => outcome(asked.push([...sessions])));
    return { asked, releases };
  }
  const NONE: Failures = new Map();
  const end = (at: number): SessionEndInit => ({ session: idOf(at), reason: 600 });
  const ends = (many: number): SessionEndInit[] => Array.from({ length: many }, (_, at) => end(at));

  it('is asked for at once when it is as much as one question takes: more is still to end', () => {
    const { asked, releases } = open();
    for (const session of ends(MAX_RELEASED - 1)) void releases.add(session);
    expect(asked).toEqual([]);
    void releases.add(end(MAX_RELEASED - 1));
    expect(asked).toEqual([ends(MAX_RELEASED)]);
  });

  it('is asked for before anything else happens', async () => {
    const { asked, releases } = open();
    for (const at of [1, 2]) {
      void releases.add(end(at));
      await Promise.resolve();
      expect(asked.at(-1)).toEqual([end(at)]);
    }
    expect(asked).toHaveLength(2);
  });

  it('is asked for when that is wanted, once; where nothing is gathered nothing is asked', async () => {
    const { asked, releases } = open();
    releases.flush();
    const released = releases.add(end(1));
    releases.flush();
    releases.flush();
    expect(asked).toEqual([[end(1)]]);
    await released;
    expect(asked).toHaveLength(1);
  });

  it('is told what became of its own question, when that is known', async () => {
    const gate = Promise.withResolvers<Failures>();
    const { releases } = open((question) => (question === 1 ? gate.promise : Promise.resolve(NONE)));
    const isOver = vi.fn();
    const first = ends(MAX_RELEASED).map((session) => releases.add(session).catch(reasonOf).finally(isOver));
    await releases.add(end(MAX_RELEASED));
    expect(isOver).not.toHaveBeenCalled();
    gate.reject(new ShellstreamError('TUNNEL_FAILED'));
    expect(new Set(await Promise.all(first))).toEqual(new Set(['TUNNEL_FAILED']));
  });
});

describe('what is released in one turn', () => {
  const session = 'a'.repeat(32);
  let clock: SimulatedClock;
  let links: MemoryLinkPair;
  let far: RemoteEnforcer;
  let near: RemoteTerminator;
  let events: Listeners<TerminatorEvent>;
  /** What the enforcer hears, and what it makes of a release. */
  let heard: unknown[][];
  let carryOut: (session: SessionId) => Promise<void>;
  let send: MockInstance<Link['send']>;
  let lost: string[];

  beforeEach(() => {
    clock = new SimulatedClock();
    links = memoryLinkPair({ clock });
    send = vi.spyOn(links.initiator, 'send');
    events = new Listeners();
    [heard, carryOut, lost] = [[], async () => undefined, []];
    const enforcer = {
      release: (...given: Parameters<Enforcer['release']>) => {
        heard.push(['release', ...given]);
        return carryOut(given[0]);
      },
      setPeerLevel: async () => void heard.push(['setPeerLevel']),
      carried: () => void heard.push(['carried']),
      packet: () => void heard.push(['packet']),
    } as Partial<Enforcer> as Enforcer;
    const start = {
      listen: { address: '::', port: 1 },
      limits: '{}',
      accord: Uint8Array.of(1),
      posture: { level: 5, epoch: 1n },
    } as const;
    const onLost = (why: string): void => void lost.push(why);
    near = new RemoteTerminator({ link: links.responder, clock, enforcer, start, onLost });
    near.onEvent(({ kind }) => heard.push([kind]));
    far = new RemoteEnforcer({ link: links.initiator, clock, onLost });
  });
  afterEach(() => links.cut());

  function serve(terminator: Partial<Terminator> = {}): void {
    const onEvent: Terminator['onEvent'] = (listener) => events.add(listener);
    far.serve({ onEvent, ...terminator } as Terminator, { port: 1 });
  }
  /** What the terminator says, by its kind. */
  const said = (): string[] => send.mock.calls.map(([record]) => decodeToEnforcer(record).body.case);
  const released = (): unknown[] => heard.map(([, id]) => id);

  it('crosses unchanged and in its order, in as many questions as it takes', () => {
    const lastWord = fc.option(words.lastWord, { nil: undefined });
    const release = fc.tuple(words.session, words.reason, fc.boolean(), lastWord);
    const property = fc.asyncProperty(
      fc.array(release, { minLength: 1, maxLength: 8 }),
      fc.oneof(fc.integer({ min: 1, max: 3 * MAX_RELEASED }), fc.constantFrom(MAX_RELEASED, 2 * MAX_RELEASED)),
      async (some, many) => {
        const all = Array.from({ length: many }, (_, at) => some[at % some.length] ?? expect.fail());
        heard = [];
        send.mockClear();
        await Promise.all(all.map((one) => far.release(...one)));
        expect(heard).toEqual(all.map((one) => ['release', ...one]));
        expect(said()).toEqual(Array.from({ length: Math.ceil(many / MAX_RELEASED) }, () => 'release'));
      },
    );
    return fc.assert(property, RUNS);
  });

  it('is heard of before all that is said after it, and after all that was said before', () => {
    serve();
    const says = {
      release: () => far.release(session, 'CLOSED'),
      setPeerLevel: () => far.setPeerLevel(session, 3),
      carried: () => far.carried(new Map([[session, { streams: 1, receivedBytes: 1n, sentBytes: 2n }]])),
      packet: () => far.packet(session, Uint8Array.of(1)),
      draining: () => events.tell({ kind: 'draining', session }),
    };
    const names = Object.keys(says) as (keyof typeof says)[];
    const property = fc.asyncProperty(fc.array(fc.constantFrom(...names), { minLength: 2 }), async (order) => {
      heard = [];
      for (const name of order) void says[name]();
      await clock.advance(0);
      expect(heard.map(([name]) => name)).toEqual(order);
    });
    return fc.assert(property, RUNS);
  });

  it('is heard of before an answer that is given after it, however shortly', async () => {
    const first = [];
    for (let promises = 0; promises < 16; promises += 1) {
      const gate = Promise.withResolvers<void>();
      serve({ judgeSessions: () => gate.promise });
      const judged = near.judgeSessions();
      await clock.advance(0);
      send.mockClear();
      gate.resolve();
      for (let one = 0; one < promises; one += 1) await undefined;
      const isAnswered = said().length > 0;
      void far.release(session, 'CLOSED');
      await judged;
      await clock.advance(0);
      expect(said()).toEqual(isAnswered ? ['done', 'release'] : ['release', 'done']);
      first.push(said()[0]);
    }
    expect(new Set(first)).toEqual(new Set(['release', 'done']));
  });

  it('is heard of where the terminator leaves in the same turn', async () => {
    const leaving = far.release(session, 'CLOSED');
    far.close();
    await leaving;
    await clock.advance(0);
    expect(released()).toEqual([session]);
  });

  it('is begun with in its order before any of it is done, and answered when all of it is, also where the first fails', async () => {
    const gates = new Map([0, 1, 2].map((at) => [idOf(at), Promise.withResolvers<void>()]));
    carryOut = (id) => gates.get(id)?.promise ?? expect.fail();
    const outcomes: unknown[] = [];
    for (const id of gates.keys()) void far.release(id, 'CLOSED').catch((error) => outcomes.push(reasonOf(error)));
    await clock.advance(0);
    expect(released()).toEqual([...gates.keys()]);
    for (const [id, { resolve, reject }] of gates) {
      expect(outcomes).toEqual([]);
      if (id === idOf(0)) reject(new ShellstreamError('TUNNEL_FAILED'));
      else resolve();
      await clock.advance(0);
    }
    expect(outcomes).toEqual(['TUNNEL_FAILED']);
  });

  it('is taken away but for what cannot be, and of that no other is told', async () => {
    carryOut = async (id) => {
      if (id === idOf(7)) throw new ShellstreamError('TUNNEL_FAILED', 'it stays');
      if (id === idOf(300)) throw new TypeError('x'.repeat(10_000));
    };
    const all = Array.from({ length: 2 * MAX_RELEASED }, (_, at) => idOf(at));
    const ends = await Promise.all(all.map((id) => far.release(id, 'CLOSED').then(() => 'done', reasonOf)));
    expect(released()).toEqual(all);
    expect(ends).toEqual(all.map((_, at) => (at === 7 ? 'TUNNEL_FAILED' : at === 300 ? 'INTERNAL' : 'done')));
    expect(lost).toEqual([]);
  });

  it('is answered also where each of a question fails, with a detail at its longest', () => {
    const why = failed(new ShellstreamError('TUNNEL_FAILED', '\u{ffff}'.repeat(10_000)));
    const failures = Array.from({ length: MAX_RELEASED }, (_, place) => ({ place, why }));
    const { body } = decodeToTerminator(encodeToTerminator(0xffff_ffff, { case: 'released', value: { failures } }));
    expect(body).toMatchObject({ case: 'released', value: { failures } });
  });

  it('crosses where it is as much as one question takes, each at its largest', async () => {
    const lastWord = {
      streams: 0xffff_ffff,
      receivedBytes: 2n ** 64n - 1n,
      sentBytes: 2n ** 64n - 1n,
      frames: { payloadHash: new Uint8Array(32).fill(255), headers: new Uint8Array(MAX_FINAL_FRAMES).fill(255) },
    };
    const ends = Array.from({ length: MAX_RELEASED }, () => far.release(session, 'INTERNAL', true, lastWord));
    await Promise.all(ends);
    expect(heard).toEqual(ends.map(() => ['release', session, 'INTERNAL', true, lastWord]));
    // An id and a code may still be some bytes longer than these.
    const [record] = send.mock.calls[0] ?? expect.fail();
    expect(record.length + 8 + MAX_RELEASED * 8).toBeLessThan(LARGEST_TO_ENFORCER);
  });
});

it.each([
  ['a place that the question does not have', [{ place: 2, why: { reason: 502 } }]],
  ['no reason', [{ place: 1 }]],
])('a failure with %s makes no release look done', async (_, failures) => {
  const clock = new SimulatedClock();
  const links = memoryLinkPair({ clock });
  const far = new RemoteEnforcer({ link: links.initiator, clock, onLost: () => undefined });
  links.responder.onRecord((record) => {
    const { id } = decodeToEnforcer(record);
    links.responder.send(encodeToTerminator(id, { case: 'released', value: { failures } }));
  });
  const ends = [1, 2].map((at) => far.release(idOf(at), 'CLOSED').then(() => 'done', reasonOf));
  await clock.advance(0);
  expect(await Promise.all(ends)).toEqual(['MALFORMED', 'MALFORMED']);
  links.cut();
});

function idOf(at: number): SessionId {
  return at.toString(16).padStart(32, '0');
}
