/** Enforcer and terminator with the border between them: what one says is what the other hears, to the byte, both ways. */
import fc from 'fast-check';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { MAX_PACKET_BYTES } from '../../../protocol/channel/index.ts';
import { reasonOf, ShellstreamError } from '../../../protocol/errors.ts';
import * as words from '../../../test/support/enforcer-words.ts';
import { Listeners } from '../../base/listeners.ts';
import { SimulatedClock } from '../../base/simulated-clock.ts';
import { type MemoryLinkPair, memoryLinkPair } from '../../link/index.ts';
import type { Enforcer } from '../ports.ts';
import type { Terminator, TerminatorEvent } from '../terminator-port.ts';
import { MAX_CARRIED } from './convert.ts';
import { LARGEST_TO_ENFORCER } from './messages.ts';
import { RemoteEnforcer, type StartOrder } from './remote-enforcer.ts';
import { RemoteTerminator } from './remote-terminator.ts';

const SEED = Number(process.env.FC_SEED ?? 20_261_121);
const RUNS = { seed: SEED, numRuns: 60 };
const START: StartOrder = {
  listen: { address: '::', port: 7_843 },
  limits: '{"sessions":1}',
  accord: Uint8Array.of(1, 2, 3),
  posture: { level: 3, epoch: 2n ** 63n },
};

/** What each side was asked last, and what it will answer. */
let asked: unknown[];
let answer: unknown;
let clock: SimulatedClock;
let links: MemoryLinkPair;
let near: RemoteTerminator;
let far: RemoteEnforcer;
let events: Listeners<TerminatorEvent>;
let lost: string[];

const take =
  (name: string) =>
  async (...given: unknown[]): Promise<never> => {
    asked.push([name, ...given]);
    if (answer instanceof Error) throw answer;
    return answer as never;
  };
const note =
  (name: string) =>
  (...given: unknown[]): void =>
    void asked.push([name, ...given]);

beforeEach(() => {
  clock = new SimulatedClock();
  links = memoryLinkPair({ clock });
  events = new Listeners();
  [asked, answer, lost] = [[], undefined, []];
  const enforcer: Enforcer = {
    challenge: take('challenge'),
    admit: take('admit'),
    mayRenew: take('mayRenew'),
    approach: take('approach'),
    accept: take('accept'),
    setPeerLevel: take('setPeerLevel'),
    release: take('release'),
    carried: note('carried'),
    packet: (session, packet) => note('packet')(session, packet.slice()),
  };
  const onLost = (why: string): void => void lost.push(why);
  near = new RemoteTerminator({ link: links.responder, clock, enforcer, start: START, onLost });
  far = new RemoteEnforcer({ link: links.initiator, clock, onLost });
});
afterEach(() => links.cut());

const terminator: Terminator = {
  setPosture: (...given) => note('setPosture')(...given),
  judgeSessions: () => take('judgeSessions')(),
  identityRotated: () => note('identityRotated')(),
  drain: (...given) => note('drain')(...given),
  end: (...given) => take('end')(...given),
  drainAll: (...given) => take('drainAll')(...given),
  dial: (order) => take('dial')(order),
  streams: (session) => take('streams')(session),
  load: () => take('load')(),
  packet: (...given) => note('packet')(...given),
  onEvent: (listener) => events.add(listener),
};
const serve = (): void => far.serve(terminator, { port: 7_843 });

/** What was asked crosses unchanged, and so does what was answered. */
async function crosses(name: string, given: readonly unknown[], call: () => Promise<unknown>, returned: unknown) {
  [asked, answer] = [[], returned];
  expect(await call()).toEqual(returned);
  expect(asked).toEqual([[name, ...given]]);
}

const property = <T extends [unknown, ...unknown[]]>(
  arbitraries: { [K in keyof T]: fc.Arbitrary<T[K]> },
  check: (...values: T) => Promise<void>,
): Promise<void> => fc.assert(fc.asyncProperty(...arbitraries, check), RUNS);

describe('a question of the terminator crosses unchanged, and so does its answer', () => {
  it('challenge', () =>
    property([words.challengeInput, words.evidence], (input, evidence) =>
      crosses('challenge', [input], () => far.challenge(input), evidence),
    ));
  it('admit', () =>
    property([words.admitInput, words.admission], (input, admission) =>
      crosses('admit', [input], () => far.admit(input), admission),
    ));
  it('mayRenew', () =>
    property([words.session], (session) => crosses('mayRenew', [session], () => far.mayRenew(session), undefined)));

  it('approach', () =>
    property([words.approachInput, words.evidence], (input, evidence) =>
      crosses('approach', [input], () => far.approach(input), evidence),
    ));
  it('accept', () =>
    property([words.acceptInput, words.admission], (input, admission) =>
      crosses('accept', [input], () => far.accept(input), admission),
    ));
  it('setPeerLevel', () =>
    property([words.session, words.level], (session, level) =>
      crosses('setPeerLevel', [session, level], () => far.setPeerLevel(session, level), undefined),
    ));
  it('release', () =>
    property([words.session, words.reason, fc.boolean(), words.lastWord], (session, reason, byPeer, streams) =>
      crosses(
        'release',
        [session, reason, byPeer, streams],
        () => far.release(session, reason, byPeer, streams),
        undefined,
      ),
    ));
});

it('what streams carried crosses unchanged, in as many messages as it takes', async () => {
  const totals = { streams: 2, receivedBytes: 1n, sentBytes: 2n ** 64n - 1n };
  const sessions = new Map(
    Array.from({ length: MAX_CARRIED + 1 }, (_, i) => [i.toString(16).padStart(32, '0'), totals]),
  );
  far.carried(sessions);
  await clock.advance(0);
  const all = [...sessions];
  expect(asked).toEqual([all.slice(0, MAX_CARRIED), all.slice(MAX_CARRIED)].map((some) => ['carried', new Map(some)]));
});

describe('a packet of a carried tunnel', () => {
  const session = '0123456789abcdef0123456789abcdef';
  const packet = new Uint8Array(MAX_PACKET_BYTES).fill(7);

  it('crosses unchanged, both ways', async () => {
    serve();
    far.packet(session, packet);
    near.packet(session, packet);
    await clock.advance(0);
    expect(asked).toEqual([
      ['packet', session, packet],
      ['packet', session, packet],
    ]);
  });

  it.each([0, MAX_PACKET_BYTES + 1])('attack: of %i bytes cuts off who said it', async (length) => {
    far.packet(session, new Uint8Array(length));
    await clock.advance(0);
    expect(asked).toEqual([]);
    expect(lost.length).toBeGreaterThan(0);
  });
});

describe('an order of the enforcer crosses unchanged, and so does its answer', () => {
  beforeEach(serve);

  it('judgeSessions', () => crosses('judgeSessions', [], () => near.judgeSessions(), undefined));
  it('end', () =>
    property([words.session, words.reason], (session, reason) =>
      crosses('end', [session, reason], () => near.end(session, reason), undefined),
    ));
  it('drainAll', () =>
    property([words.reason, words.deadlineMs], (reason, deadlineMs) =>
      crosses('drainAll', [reason, deadlineMs], () => near.drainAll(reason, deadlineMs), undefined),
    ));
  it('dial', () =>
    property([words.dialOrder, words.session], (order, session) =>
      crosses('dial', [order], () => near.dial(order, new AbortController().signal), session),
    ));
  it('streams', () =>
    property([words.session, words.streams], (session, streams) =>
      crosses('streams', [session], () => near.streams(session), streams),
    ));
  it('load', () => property([words.load], (load) => crosses('load', [], () => near.load(), load)));
});

describe('what is told and not answered crosses unchanged', () => {
  it('start', async () => expect(await far.started).toEqual(START));
  it('listening', async () => {
    serve();
    expect(await near.listening).toBe(7_843);
  });
  it('setPosture', () => {
    serve();
    return property([words.level, words.epoch], (level, epoch) =>
      told(['setPosture', level, epoch], () => near.setPosture(level, epoch)),
    );
  });
  it('identityRotated', () => {
    serve();
    return told(['identityRotated'], () => near.identityRotated());
  });
  it('drain', () => {
    serve();
    return property([words.session, words.reason, words.deadlineMs], (session, reason, deadlineMs) =>
      told(['drain', session, reason, deadlineMs], () => near.drain(session, reason, deadlineMs)),
    );
  });
  it('events of the terminator', () => {
    serve();
    near.onEvent((event) => asked.push(event));
    return property([words.event], async (event) => {
      asked = [];
      events.tell(event);
      await clock.advance(0);
      expect(asked).toEqual([event]);
    });
  });

  async function told(expected: readonly unknown[], tell: () => void): Promise<void> {
    asked = [];
    tell();
    await clock.advance(0);
    expect(asked).toEqual([expected]);
  }
});

describe('a failure', () => {
  it('crosses with its exact reason, and whose it was', () =>
    property([words.reason, fc.boolean(), fc.string({ unit: 'binary' })], async (reason, byPeer, detail) => {
      answer = new ShellstreamError(reason, detail, byPeer ? { fields: { byPeer } } : {});
      const failure = await far.setPeerLevel('a'.repeat(32), 5).catch((error: unknown) => error);
      expect(failure).toMatchObject({ reason, fields: byPeer ? { byPeer } : {} });
    }));

  it('that is no refusal is told as INTERNAL, in at most 512 characters', async () => {
    answer = new TypeError('x'.repeat(10_000));
    const failure = await far.setPeerLevel('a'.repeat(32), 5).catch((error: unknown) => error);
    expect(failure).toMatchObject({ reason: 'INTERNAL' });
    expect(failure instanceof Error && failure.message.length).toBeLessThanOrEqual(512 + 'INTERNAL: '.length);
  });

  it('of a release whose enforcer is gone is none: nothing is left to release', async () => {
    links.cut();
    await clock.advance(0);
    await far.release('a'.repeat(32), 'CLOSED');
    await expect(far.setPeerLevel('a'.repeat(32), 5)).rejects.toMatchObject({ reason: 'CONNECTION_LOST' });
  });
});

describe('a terminator', () => {
  it('that was told the posture before it listened begins with it', async () => {
    near.setPosture(2, 7n);
    await clock.advance(0);
    serve();
    expect(asked).toEqual([['setPosture', 2, 7n]]);
  });

  it('that is asked before it listens refuses, and lives on', async () => {
    await expect(near.load()).rejects.toMatchObject({ reason: 'OVERLOADED' });
    serve();
    answer = { pendingHandshakes: 0, streams: 0 };
    expect(await near.load()).toEqual(answer);
  });

  it('ends two thousand sessions at once, each of which it has to release', async () => {
    far.serve({ ...terminator, end: (session, reason) => far.release(session, reason) }, { port: 1 });
    const ends = Array.from({ length: 2_000 }, (_, at) => near.end(at.toString(16).padStart(32, '0'), 'EXPIRED'));
    await clock.advance(5_000);
    expect((await Promise.allSettled(ends)).filter(({ status }) => status === 'rejected')).toEqual([]);
    expect(asked).toHaveLength(2_000);
  });

  it('that does not answer has half a second to judge, five for another order, its deadline and two for a drain, a minute and a half for a dial', async () => {
    far.serve(
      { ...terminator, judgeSessions: stuck, end: stuck, drainAll: stuck, dial: stuck, load: stuck },
      { port: 1 },
    );
    const waits = {
      judgeSessions: near.judgeSessions(),
      end: near.end('a'.repeat(32), 'CLOSED'),
      load: near.load(),
      drainAll: near.drainAll('SHUTTING_DOWN', 20_000),
      dial: near.dial(ORDER, new AbortController().signal),
    };
    const over: string[] = [];
    for (const [name, wait] of Object.entries(waits)) void wait.catch(() => over.push(name));
    for (const [ms, expected] of [
      [499, []],
      [1, ['judgeSessions']],
      [4_499, ['judgeSessions']],
      [1, ['judgeSessions', 'end', 'load']],
      [17_000, ['judgeSessions', 'end', 'load', 'drainAll']],
      [68_000, ['judgeSessions', 'end', 'load', 'drainAll', 'dial']],
    ] as const) {
      await clock.advance(ms);
      expect(over).toEqual(expected);
    }
  });
});

describe('a dial', () => {
  it('that nobody wants any more is cancelled at the terminator', async () => {
    let wanted: AbortSignal | undefined;
    const dial: Terminator['dial'] = (_, signal) =>
      new Promise((_resolve, reject) => {
        wanted = signal;
        signal.addEventListener('abort', () => reject(new ShellstreamError('CLOSED')));
      });
    far.serve({ ...terminator, dial }, { port: 1 });
    const abort = new AbortController();
    const dialled = near.dial(ORDER, abort.signal);
    const failure = dialled.catch(reasonOf);
    await clock.advance(0);
    expect(wanted?.aborted).toBe(false);
    abort.abort();
    expect(await failure).toBe('CLOSED');
    expect(wanted?.aborted).toBe(true);
  });

  it('that nobody wants from the start is not even ordered', async () => {
    const dial = vi.fn(stuck);
    far.serve({ ...terminator, dial }, { port: 1 });
    await expect(near.dial(ORDER, AbortSignal.abort())).rejects.toMatchObject({ reason: 'CLOSED' });
    await clock.advance(0);
    expect(dial).not.toHaveBeenCalled();
  });
});

describe('the largest', () => {
  it('evidence that the handshake lets in crosses the border', () => {
    // protocol/handshake: 65,000 bytes of evidence, a record of 65,536.
    expect(LARGEST_TO_ENFORCER).toBeGreaterThan(65_000 + 1_024);
  });
});

const ORDER = {
  approach: {
    offer: { versions: [1], sessionType: 'mesh', mode: 'overlay' },
    expectedId: 'spiffe://b.test/gateway',
    request: { capabilities: [], targets: [], advertise: [] },
  },
  address: '192.0.2.1',
  port: 7_843,
} as const;

function stuck(): Promise<never> {
  return new Promise(() => undefined);
}
