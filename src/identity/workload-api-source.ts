import { Code, ConnectError } from '@connectrpc/connect';
import { ShellstreamError } from '../../protocol/errors.ts';
import type { SpiffeId } from '../../protocol/identity/spiffe-id.ts';
import { type Clock, sleep } from '../base/clock.ts';
import { Listeners } from '../base/listeners.ts';
import { Turns } from '../base/turns.ts';
import { type JwtBundle, NO_BUNDLES, type TrustBundles } from './bundles.ts';
import {
  AgentUnavailable,
  type IdentityChange,
  type IdentityHealth,
  type IdentitySource,
  type X509Identity,
} from './source.ts';
import { bundleHealth } from './source-parts.ts';
import type { WorkloadApi, X509Context } from './workload-api.ts';

export interface WorkloadApiSourceOptions {
  readonly api: WorkloadApi;
  readonly clock: Clock;
  /** Uniform in [0, 1): spreads reconnections, so that an agent's restart is not met by everybody at once. */
  readonly random: () => number;
  /** Which of several identities to use; without it the agent's default one. */
  readonly spiffeId?: SpiffeId;
}

/**
 * An identity kept current by the Workload API's streams. When a stream ends (agent gone, entry deleted) the last good
 * state stands with its age, and the stream is opened again after 0.1 s, doubling to 5 s, until `Symbol.asyncDispose`.
 */
export class WorkloadApiSource implements IdentitySource, AsyncDisposable {
  readonly #options: WorkloadApiSourceOptions;
  readonly #stopped = new AbortController();
  readonly #listeners = new Listeners<IdentityChange>();
  readonly #loops: readonly Promise<void>[];
  /** What strangers have validated keeps us from no token of our own. */
  readonly #turns = { fetch: new Turns(MAX_CALLS), validate: new Turns(MAX_CALLS) };
  #identity: X509Identity | undefined;
  #identityUpdatedAt: number | undefined;
  #bundles: TrustBundles = NO_BUNDLES;
  readonly #streams: Record<'x509' | 'jwt', IdentityHealth['state']> = { x509: 'starting', jwt: 'starting' };
  #lastError: string | undefined;

  constructor(options: WorkloadApiSourceOptions) {
    this.#options = options;
    const { api } = options;
    this.#loops = [
      this.#follow(
        'x509',
        (signal) => api.x509Contexts(signal),
        (context) => this.#acceptContext(context),
      ),
      this.#follow(
        'jwt',
        (signal) => api.jwtBundles(signal),
        (bundles) => this.#acceptJwtBundles(bundles),
      ),
    ];
  }

  /** Resolves once an identity and both kinds of bundles are at hand. Rejects with NO_BUNDLE when the signal ends first. */
  async ready(signal: AbortSignal): Promise<void> {
    const isReady = (): boolean => this.#identity !== undefined && this.#bundles.jwt.size > 0;
    await new Promise<void>((resolve, reject) => {
      if (isReady()) return resolve();
      const subscription = this.onChange(() => {
        if (!isReady()) return;
        finish();
        resolve();
      });
      const abandon = (): void => {
        finish();
        reject(
          new ShellstreamError(
            'NO_BUNDLE',
            `the Workload API gave no identity in time: ${this.#lastError ?? 'silence'}`,
          ),
        );
      };
      const finish = (): void => {
        subscription[Symbol.dispose]();
        signal.removeEventListener('abort', abandon);
      };
      if (signal.aborted) return abandon();
      signal.addEventListener('abort', abandon, { once: true });
    });
  }

  current(): X509Identity {
    if (this.#identity === undefined) throw new ShellstreamError('NO_BUNDLE', 'no SVID was received yet');
    if (this.#identity.expiresAt < this.#options.clock.now())
      throw new ShellstreamError('SVID_EXPIRED', 'our own SVID');
    return this.#identity;
  }

  get bundles(): TrustBundles {
    return this.#bundles;
  }

  onChange(listener: (change: IdentityChange) => void): Disposable {
    return this.#listeners.add(listener);
  }

  fetchSat(audience: string, signal: AbortSignal): Promise<string> {
    const { spiffeId } = this.current();
    return this.#ask('fetch', (ended) => this.#options.api.fetchJwt(audience, spiffeId, ended), signal);
  }

  validateSat(token: string, audience: string, signal: AbortSignal): Promise<SpiffeId> {
    return this.#ask('validate', (ended) => this.#options.api.validateJwt(token, audience, ended), signal);
  }

  health(): IdentityHealth {
    return {
      state: WORST_FIRST.find((state) => Object.values(this.#streams).includes(state)) ?? 'starting',
      identityUpdatedAt: this.#identityUpdatedAt,
      identityExpiresAt: this.#identity?.expiresAt,
      bundles: bundleHealth(this.#bundles, this.#options.clock.now()),
      lastError: this.#lastError,
    };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#stopped.abort();
    await Promise.all(this.#loops);
    this.#listeners.clear();
  }

  async #ask<T>(call: 'fetch' | 'validate', ask: (signal: AbortSignal) => Promise<T>, signal: AbortSignal): Promise<T> {
    const ended = AbortSignal.any([signal, this.#stopped.signal]);
    try {
      return await this.#turns[call].take(() => ask(ended), ended);
    } catch (cause) {
      if (cause instanceof ShellstreamError) throw cause;
      throw new AgentUnavailable('the agent was busy with others for too long', cause);
    }
  }

  async #follow<T>(
    stream: 'x509' | 'jwt',
    open: (signal: AbortSignal) => AsyncIterable<T>,
    accept: (value: T) => readonly IdentityChange[],
  ): Promise<void> {
    const { signal } = this.#stopped;
    let failures = 0;
    while (!signal.aborted) {
      try {
        for await (const value of open(signal)) {
          const changes = accept(value);
          this.#streams[stream] = 'streaming';
          failures = 0;
          for (const change of changes) this.#listeners.tell(change);
        }
        this.#fell(stream, 'unavailable', 'the stream ended');
      } catch (error) {
        // A dying agent ends streams with the code of a cancellation; only our own signal tells that we did it.
        if (signal.aborted) return;
        this.#fell(
          stream,
          isDenial(error) ? 'denied' : 'unavailable',
          error instanceof Error ? error.message : String(error),
        );
      }
      await sleep(this.#options.clock, backoff(failures, this.#options.random), signal);
      failures += 1;
    }
  }

  #fell(stream: 'x509' | 'jwt', state: 'denied' | 'unavailable', error: string): void {
    this.#streams[stream] = state;
    this.#lastError = error;
  }

  #acceptContext({ identities, bundles }: X509Context): readonly IdentityChange[] {
    const wanted = this.#options.spiffeId;
    const identity = wanted === undefined ? identities[0] : identities.find(({ spiffeId }) => spiffeId === wanted);
    if (identity === undefined)
      throw new ShellstreamError('NO_BUNDLE', `the agent has no identity ${wanted ?? ''} for us`);
    this.#identity = identity;
    this.#identityUpdatedAt = this.#options.clock.now();
    this.#bundles = { ...this.#bundles, x509: bundles };
    return ['identity', 'bundles'];
  }

  #acceptJwtBundles(jwt: ReadonlyMap<string, JwtBundle>): readonly IdentityChange[] {
    this.#bundles = { ...this.#bundles, jwt };
    return ['bundles'];
  }
}

const WORST_FIRST: readonly IdentityHealth['state'][] = ['denied', 'unavailable', 'starting', 'streaming'];
/**
 * Of one kind at once. Each call has a deadline of its own from when it is made, so a level whose fall has the tokens of a
 * thousand sessions validated must not make all of them together.
 */
const MAX_CALLS = 32;
const FIRST_DELAY_MS = 100;
const LONGEST_DELAY_MS = 5000;

/** Between half and the whole of a delay that doubles with each failure. */
function backoff(failures: number, random: () => number): number {
  const whole = Math.min(FIRST_DELAY_MS * 2 ** Math.min(failures, 16), LONGEST_DELAY_MS);
  return whole * (0.5 + random() / 2);
}

/** The agent refuses us, or gives identities of which none is the one we want. */
function isDenial(error: unknown): boolean {
  if (error instanceof ShellstreamError) return error.reason === 'NO_BUNDLE';
  return error instanceof ConnectError && error.code === Code.PermissionDenied;
}
