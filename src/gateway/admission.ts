/**
 * Who may start a handshake at all, asked before any cryptography: the cheapest refusals come first, and what a
 * stranger can make this node spend is bounded. A refusal here is a closed connection and nothing else.
 */
import { type Accord, remoteHandshakeAllowed } from '../../protocol/posture/index.ts';
import type { Reason } from '../../protocol/reasons.ts';
import type { Clock } from '../base/clock.ts';
import type { PostureReader } from '../enforcer/ports.ts';
import { TokenBuckets } from './token-buckets.ts';

export interface AdmissionLimits {
  readonly pendingHandshakes: number;
  readonly perPrefixRate: { readonly perSecond: number; readonly burst: number };
}

export class AdmissionControl {
  readonly #posture: PostureReader;
  readonly #accord: Accord;
  readonly #limits: AdmissionLimits;
  readonly #rates: TokenBuckets;
  #pending = 0;
  #closed = false;

  constructor(posture: PostureReader, accord: Accord, clock: Clock, limits: AdmissionLimits) {
    this.#posture = posture;
    this.#accord = accord;
    this.#limits = limits;
    this.#rates = new TokenBuckets(clock, limits.perPrefixRate);
  }

  get pending(): number {
    return this.#pending;
  }

  /** The reason for turning a connection away before it is answered, if there is one. */
  refuses(remoteAddress: string): Reason | undefined {
    if (this.#closed) return 'SHUTTING_DOWN';
    if (!remoteHandshakeAllowed(this.#posture.level, this.#accord)) return 'POSTURE_ISOLATED';
    if (this.#pending >= this.#limits.pendingHandshakes) return 'OVERLOADED';
    if (!this.#rates.take(remoteAddress)) return 'RATE_LIMITED';
    return undefined;
  }

  /** Counts a handshake as pending until disposed. */
  begin(): Disposable {
    this.#pending += 1;
    let counted = true;
    return {
      [Symbol.dispose]: () => {
        if (counted) this.#pending -= 1;
        counted = false;
      },
    };
  }

  close(): void {
    this.#closed = true;
  }
}
