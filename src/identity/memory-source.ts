import { ShellstreamError } from '../../protocol/errors.ts';
import type { SpiffeId } from '../../protocol/identity/spiffe-id.ts';
import type { Clock } from '../base/clock.ts';
import { Listeners } from '../base/listeners.ts';
import type { TrustBundles } from './bundles.ts';
import type { IdentityChange, IdentityHealth, IdentitySource, X509Identity } from './source.ts';
import { bundleHealth } from './source-parts.ts';

/** What stands behind a `MemoryIdentitySource`: some issuer in this process. */
export interface MemoryIssuer {
  mintSat(audience: string): Promise<string>;
  validateSat(token: string, audience: string): Promise<SpiffeId>;
}

/** An identity source without a socket: it holds what it is given, and expires and fails as the real one does. */
export class MemoryIdentitySource implements IdentitySource {
  readonly #clock: Clock;
  readonly #issuer: MemoryIssuer;
  readonly #listeners = new Listeners<IdentityChange>();
  #identity: X509Identity;
  #bundles: TrustBundles;
  #updatedAt: number;

  constructor(options: { identity: X509Identity; bundles: TrustBundles; issuer: MemoryIssuer; clock: Clock }) {
    this.#clock = options.clock;
    this.#issuer = options.issuer;
    this.#identity = options.identity;
    this.#bundles = options.bundles;
    this.#updatedAt = options.clock.now();
  }

  /** A rotation, as the Workload API would push it. */
  replaceIdentity(identity: X509Identity): void {
    this.#identity = identity;
    this.#updatedAt = this.#clock.now();
    this.#listeners.tell('identity');
  }

  replaceBundles(bundles: TrustBundles): void {
    this.#bundles = bundles;
    this.#listeners.tell('bundles');
  }

  current(): X509Identity {
    if (this.#identity.expiresAt < this.#clock.now()) throw new ShellstreamError('SVID_EXPIRED', 'our own SVID');
    return this.#identity;
  }

  get bundles(): TrustBundles {
    return this.#bundles;
  }

  onChange(listener: (change: IdentityChange) => void): Disposable {
    return this.#listeners.add(listener);
  }

  async fetchSat(audience: string, signal: AbortSignal): Promise<string> {
    if (signal.aborted) throw new ShellstreamError('SAT_UNVERIFIABLE', 'abandoned', { cause: signal.reason });
    return await this.#issuer.mintSat(audience);
  }

  async validateSat(token: string, audience: string, signal: AbortSignal): Promise<SpiffeId> {
    if (signal.aborted) throw new ShellstreamError('SAT_UNVERIFIABLE', 'abandoned', { cause: signal.reason });
    return await this.#issuer.validateSat(token, audience);
  }

  health(): IdentityHealth {
    return {
      state: 'streaming',
      identityUpdatedAt: this.#updatedAt,
      identityExpiresAt: this.#identity.expiresAt,
      bundles: bundleHealth(this.#bundles, this.#clock.now()),
      lastError: undefined,
    };
  }
}
