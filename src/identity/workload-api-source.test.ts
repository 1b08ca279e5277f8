import { Code, ConnectError } from '@connectrpc/connect';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { type Entry, federate, type TrustDomain } from '../../certs-dev/index.ts';
import { SteppedClock, TemporaryDomains } from '../../certs-dev/testing.ts';
import { reasonOf, ShellstreamError } from '../../protocol/errors.ts';
import { parseSpiffeId, type SpiffeId } from '../../protocol/identity/spiffe-id.ts';
import { openIdentitySource } from './index.ts';
import { AgentUnavailable, type IdentityHealth, type IdentitySource } from './source.ts';
import type { WorkloadApi, X509Context } from './workload-api.ts';
import { WorkloadApiSource } from './workload-api-source.ts';

/** Long enough for a busy machine; nothing here waits for it to pass. */
const PATIENCE_MS = 20_000;
let clock: SteppedClock;
let domains: TemporaryDomains;
let domain: TrustDomain;
let entry: Entry;

beforeEach(async () => {
  clock = new SteppedClock();
  domains = await TemporaryDomains.create(clock);
  domain = await domains.start('a.test');
  entry = await domain.register({ path: '/web', tier: 'master' });
});
afterEach(() => domains[Symbol.asyncDispose]());

describe('an identity over the Workload API', () => {
  test('arrives with its bundles, ours and the federated', async () => {
    federate(domain, await domains.start('b.test'));
    await using source = await opened();
    expect(source.current()).toMatchObject({ spiffeId: entry.spiffeId, trustDomain: 'a.test' });
    expect([...source.bundles.x509.keys()].sort()).toEqual(['a.test', 'b.test']);
    expect([...source.bundles.jwt.keys()].sort()).toEqual(['a.test', 'b.test']);
    expect(source.health()).toMatchObject({ state: 'streaming', identityUpdatedAt: clock.now(), lastError: undefined });
  });

  test('follows a rotation of the SVID, with a new key', async () => {
    await using source = await opened();
    const before = source.current();
    const rotated = changed(source, () => source.current() !== before);
    domain.rotate();
    await rotated;
    expect(source.current().chain).not.toEqual(before.chain);
  });

  test('follows the domain’s own rotation at half of the SVID’s life', async () => {
    await using source = await opened();
    const { expiresAt } = source.current();
    const rotated = changed(source, () => source.current().expiresAt !== expiresAt);
    clock.advance(1800_000);
    await rotated;
    expect(source.current().expiresAt).toBe(expiresAt + 1800_000);
  });

  test('follows a federation that begins, changes and ends', async () => {
    const other = await domains.start('b.test');
    await using source = await opened();
    const begun = changed(source, () => source.bundles.x509.has('b.test') && source.bundles.jwt.has('b.test'));
    using federation = federate(domain, other);
    await begun;
    const digest = source.bundles.x509.get('b.test')?.digest;
    const renewed = changed(source, () => source.bundles.x509.get('b.test')?.digest !== digest);
    other.rotateAuthorities({ forget: false });
    await renewed;
    expect(source.bundles.x509.get('b.test')?.authorities).toHaveLength(2);
    const ended = changed(source, () => !source.bundles.x509.has('b.test') && !source.bundles.jwt.has('b.test'));
    federation[Symbol.dispose]();
    await ended;
  });

  test('survives the agent’s death with its age, and a restart brings new ones', async () => {
    await using source = await opened();
    const identity = source.current();
    await domain.killAgent();
    await state(source, 'unavailable');
    clock.advance(60_000);
    expect(source.current()).toBe(identity);
    expect(source.health().bundles.map(({ ageMs }) => ageMs)).toEqual([60_000, 60_000]);
    const back = changed(source, () => source.current() !== identity);
    await domain.startAgent();
    await advancedUntil(back);
    expect(source.health().state).toBe('streaming');
  });

  test('is denied after its entry was deleted, and still stands until it expires', async () => {
    await using source = await opened();
    entry.delete();
    await state(source, 'denied');
    expect(source.current().spiffeId).toBe(entry.spiffeId);
    clock.advance(3600_001);
    expect(() => source.current()).toThrow('SVID_EXPIRED');
  });

  test('is none on the socket of nobody', async () => {
    await using source = open(domain.agentSocket);
    await state(source, 'denied');
    expect(() => source.current()).toThrow('NO_BUNDLE');
    await expect(source.ready(AbortSignal.abort())).rejects.toThrow('permission_denied');
  });

  test('can be one of several, by its SPIFFE ID', async () => {
    const wanted = parseSpiffeId('spiffe://a.test/another');
    if (wanted === undefined) throw new Error('unreachable');
    await using source = openIdentitySource({ socketPath: entry.socketPath, clock, random: () => 1, spiffeId: wanted });
    await state(source, 'denied');
    expect(source.health().lastError).toContain('spiffe://a.test/another');
  });
});

describe('tokens', () => {
  test('are minted per audience, cached by the agent, and validated', async () => {
    await using source = await opened();
    const token = await source.fetchSat('spiffe://b.test/gw#bound', patience());
    expect(await source.fetchSat('spiffe://b.test/gw#bound', patience())).toBe(token);
    expect(await source.fetchSat('spiffe://b.test/gw#other', patience())).not.toBe(token);
    expect(await source.validateSat(token, 'spiffe://b.test/gw#bound', patience())).toBe(entry.spiffeId);
    await expect(source.validateSat(token, 'spiffe://b.test/gw', patience())).rejects.toThrow('SAT_INVALID');
  });

  test('for a new audience cannot be had while the server is away; one fetched before can', async () => {
    await using source = await opened();
    const token = await source.fetchSat('plain', patience());
    domain.server.away(true);
    expect(await source.fetchSat('plain', patience())).toBe(token);
    await expect(source.fetchSat('bound', patience())).rejects.toThrow(AgentUnavailable);
    domain.server.away(false);
    expect(await source.fetchSat('bound', patience())).not.toBe(token);
  });

  test('are neither minted nor validated by a dead agent', async () => {
    await using source = await opened();
    const token = await source.fetchSat('plain', patience());
    await domain.killAgent();
    await expect(source.fetchSat('plain', patience())).rejects.toThrow(AgentUnavailable);
    await expect(source.validateSat(token, 'plain', patience())).rejects.toThrow(AgentUnavailable);
  });

  test('that an agent denies are denied for good: it is there, and need not be waited for', async () => {
    await using source = await opened();
    entry.delete();
    const denied = source.fetchSat('new', patience());
    await expect(denied).rejects.toThrow('SAT_UNVERIFIABLE');
    await expect(denied).rejects.not.toThrow(AgentUnavailable);
  });
});

describe('tokens of a thousand sessions at once', () => {
  const MOST = 32;

  test('are validated some at a time: the last of them is no later for the agent than the first', async () => {
    const api = new SlowApi();
    await using source = new WorkloadApiSource({ api, clock, random: () => 0 });
    const all = Array.from({ length: 1_000 }, (_, n) => source.validateSat(`token ${n}`, 'plain', patience()));
    let most = 0;
    for (let answered = 0; answered < all.length; answered += 1) {
      await until(() => api.asked.length > 0);
      most = Math.max(most, api.asked.length);
      api.asked.shift()?.resolve(WHOSE);
      await all[answered];
    }
    expect(most).toBe(MOST);
  });

  test('that nobody waits for any more are not validated, and the others do not wait for them', async () => {
    const api = new SlowApi();
    await using source = new WorkloadApiSource({ api, clock, random: () => 0 });
    const under = Array.from({ length: MOST }, () => source.validateSat('token', 'plain', patience()));
    const tired = new AbortController();
    const late = source.validateSat('token', 'plain', tired.signal).catch(reasonOf);
    const last = source.validateSat('token', 'plain', patience());
    tired.abort();
    expect(await late).toBe('SAT_UNVERIFIABLE');
    api.asked.shift()?.resolve(WHOSE);
    await under[0];
    await until(() => api.asked.length === MOST);
    for (const one of api.asked) one.resolve(WHOSE);
    expect(await last).toBe(WHOSE);
  });

  test('attack: that fill an agent that answers nothing end with the source', async () => {
    const api = new SlowApi();
    const source = new WorkloadApiSource({ api, clock, random: () => 0 });
    const all = Array.from({ length: 2 * MOST }, () =>
      source.validateSat('token', 'plain', patience()).catch(reasonOf),
    );
    await until(() => api.asked.length === MOST);
    await source[Symbol.asyncDispose]();
    expect(new Set(await Promise.all(all))).toEqual(new Set(['SAT_UNVERIFIABLE']));
    expect(api.asked).toHaveLength(MOST);
  });
});

describe('reconnection', () => {
  test('waits 0.1 s doubling to 5 s, half of it by chance, and starts over after a message', async () => {
    const waits: number[] = [];
    const api = new FailingApi();
    await using source = new WorkloadApiSource({ api, clock, random: () => 0 });
    for (let round = 0; round < 8; round += 1) {
      await api.failed();
      const [wait = Number.NaN] = clock.pending;
      waits.push(wait);
      clock.advance(wait);
    }
    expect(waits).toEqual([50, 100, 200, 400, 800, 1600, 2500, 2500]);
    expect(source.health().state).toBe('unavailable');
  });

  test('starts over at 0.1 s after a message', async () => {
    await using source = await opened();
    for (const round of [1, 2]) {
      const before = source.current();
      await domain.killAgent();
      // Two streams that wait, and the domain's next rotation.
      await until(() => clock.pending.length === 3);
      expect(clock.pending.slice(0, 2), `round ${round}`).toEqual([100, 100]);
      const back = changed(source, () => source.current() !== before && source.health().state === 'streaming');
      await domain.startAgent();
      await advancedUntil(back);
    }
  });

  test('never happens after the source was disposed, whose own abort is no failure', async () => {
    const source = await opened();
    await source[Symbol.asyncDispose]();
    expect(source.health()).toMatchObject({ state: 'streaming', lastError: undefined });
    expect(clock.pending).toHaveLength(1);
  });
});

/** Fails every X.509 stream as an agent that is not there; JWT streams stay silent. */
class FailingApi implements WorkloadApi {
  #failed = Promise.withResolvers<void>();

  /** Resolves once a stream has failed and the failure has been dealt with. */
  async failed(): Promise<void> {
    await this.#failed.promise;
    this.#failed = Promise.withResolvers();
    await new Promise((resolve) => setImmediate(resolve));
  }

  // biome-ignore lint/correctness/useYield: it fails before it has anything to give
  async *x509Contexts(): AsyncGenerator<X509Context> {
    this.#failed.resolve();
    throw new ConnectError('connect ENOENT', Code.Unavailable);
  }

  async *jwtBundles(signal: AbortSignal): AsyncGenerator<never> {
    await new Promise<void>((resolve) => signal.addEventListener('abort', () => resolve(), { once: true }));
  }

  async fetchJwt(): Promise<never> {
    throw new Error('not asked here');
  }

  async validateJwt(..._asked: Parameters<WorkloadApi['validateJwt']>): Promise<SpiffeId> {
    throw new Error('not asked here');
  }
}

const WHOSE = trusted('spiffe://a.test/web');

function trusted(text: string): SpiffeId {
  const id = parseSpiffeId(text);
  if (id === undefined) throw new Error(text);
  return id;
}

/** An agent that validates a token when the test says so. */
class SlowApi extends FailingApi {
  readonly asked: PromiseWithResolvers<SpiffeId>[] = [];

  override validateJwt(...[, , signal]: Parameters<WorkloadApi['validateJwt']>): Promise<SpiffeId> {
    const answer = Promise.withResolvers<SpiffeId>();
    signal.addEventListener('abort', () => answer.reject(new ShellstreamError('SAT_UNVERIFIABLE')));
    this.asked.push(answer);
    return answer.promise;
  }
}

function open(socketPath: string): WorkloadApiSource {
  return openIdentitySource({ socketPath, clock, random: () => 1 });
}

async function opened(): Promise<WorkloadApiSource> {
  const source = open(entry.socketPath);
  await source.ready(patience());
  return source;
}

function patience(): AbortSignal {
  return AbortSignal.timeout(PATIENCE_MS);
}

/** Resolves at the first change after which the condition holds. */
function changed(source: IdentitySource, condition: () => boolean): Promise<void> {
  const { promise, resolve } = Promise.withResolvers<void>();
  const subscription = source.onChange(() => {
    if (!condition()) return;
    subscription[Symbol.dispose]();
    resolve();
  });
  return promise;
}

async function state(source: IdentitySource, wanted: IdentityHealth['state']): Promise<void> {
  await until(() => source.health().state === wanted);
  expect(source.health().state).toBe(wanted);
}

/** For what is not announced: turns the event loop until the condition holds, or patience ends. */
async function until(condition: () => boolean): Promise<void> {
  const signal = patience();
  while (!condition() && !signal.aborted) await new Promise((resolve) => setImmediate(resolve));
}

/** Lets backoff timers fire until the promise resolves. */
async function advancedUntil(promise: Promise<void>): Promise<void> {
  let isDone = false;
  void promise.then(() => {
    isDone = true;
  });
  const signal = patience();
  while (!isDone && !signal.aborted) {
    clock.advance(100);
    // In turns alone the hour of an SVID would be over in a fraction of a second, before an agent has answered.
    await new Promise((resolve) => setTimeout(resolve, 2));
  }
  expect(isDone).toBe(true);
}
