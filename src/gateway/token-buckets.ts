import type { Clock } from '../base/clock.ts';
import { networkOf } from './network.ts';

/** Networks remembered at once; beyond that the longest unused is forgotten. */
const MAX_BUCKETS = 65_536;

/** A token bucket for each source network, so that one of them cannot use up what all share. */
export class TokenBuckets {
  readonly #clock: Clock;
  readonly #rate: { readonly perSecond: number; readonly burst: number };
  /** In order of use. */
  readonly #buckets = new Map<string, { tokens: number; at: number }>();

  constructor(clock: Clock, rate: { readonly perSecond: number; readonly burst: number }) {
    this.#clock = clock;
    this.#rate = rate;
  }

  /** Whether the network of this address has a token left; takes it. */
  take(address: string): boolean {
    return this.#takeBy(networkOf(address));
  }

  /** As `take`, for the address by itself. */
  takeFor(address: string): boolean {
    return this.#takeBy(`only ${address}`);
  }

  #takeBy(key: string): boolean {
    const now = this.#clock.monotonic();
    const { perSecond, burst } = this.#rate;
    const bucket = this.#buckets.get(key) ?? { tokens: burst, at: now };
    const tokens = Math.min(burst, bucket.tokens + ((now - bucket.at) / 1000) * perSecond);
    this.#buckets.delete(key);
    this.#buckets.set(key, { tokens: Math.max(0, tokens - 1), at: now });
    const [oldest] = this.#buckets.keys();
    if (oldest !== undefined && this.#buckets.size > MAX_BUCKETS) this.#buckets.delete(oldest);
    return tokens >= 1;
  }
}
