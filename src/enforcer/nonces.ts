import type { Clock } from '../base/clock.ts';

/**
 * Nonces of ATTEST-VERIFY: issued once, taken once, dead after a while. What a terminator hands in as evidence must
 * echo one that this enforcer issued, so recorded evidence opens nothing, however often it is replayed.
 * Bounded: when full, the oldest is forgotten, so that a flood of half-open handshakes costs a fixed amount.
 */
export class Nonces {
  readonly #clock: Clock;
  readonly #lifetimeMs: number;
  readonly #limit: number;
  /** Insertion order is age order. */
  readonly #issued = new Map<string, IssuedNonce>();

  constructor(clock: Clock, options: { readonly lifetimeMs: number; readonly limit: number }) {
    this.#clock = clock;
    this.#lifetimeMs = options.lifetimeMs;
    this.#limit = options.limit;
  }

  issue(nonce: Uint8Array, freshSat: boolean): void {
    const now = this.#clock.monotonic();
    for (const [key, { expires }] of this.#issued) {
      if (expires > now && this.#issued.size < this.#limit) break;
      this.#issued.delete(key);
    }
    this.#issued.set(hex(nonce), { expires: now + this.#lifetimeMs, freshSat });
  }

  /** What the nonce was issued with, the first time it is asked for within its lifetime. */
  take(nonce: Uint8Array): { readonly freshSat: boolean } | undefined {
    const key = hex(nonce);
    const issued = this.#issued.get(key);
    this.#issued.delete(key);
    return issued !== undefined && issued.expires > this.#clock.monotonic() ? issued : undefined;
  }

  get pending(): number {
    return this.#issued.size;
  }
}

interface IssuedNonce {
  readonly expires: number;
  readonly freshSat: boolean;
}

function hex(bytes: Uint8Array): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('hex');
}
