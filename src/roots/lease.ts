import type { Clock, Timer } from '../base/clock.ts';
import type { Logger } from '../base/logger.ts';
import type { DataPlane } from '../dataplane/ports.ts';

/** Renewed this many times within one lease, so that one late turn of the event loop cuts nothing off. */
const RENEWALS = 3;
/** A reader of the governance page takes a heartbeat older than 3 s for a dead daemon. */
const LONGEST_PAUSE_MS = 1_000;

/**
 * The node's lease: the kernel passes session packets only while this process keeps saying that it lives. Killed or
 * hung, its flows lapse by themselves. The governance page's heartbeat says the same to its reader.
 */
export class Lease implements AsyncDisposable {
  readonly #dataplane: DataPlane;
  readonly #clock: Clock;
  readonly #seconds: number;
  readonly #log: Logger;
  #untilMs = 0;
  #timer: Timer | undefined;
  #isOver = false;

  private constructor(dataplane: DataPlane, clock: Clock, seconds: number, log: Logger) {
    this.#dataplane = dataplane;
    this.#clock = clock;
    this.#seconds = seconds;
    this.#log = log;
  }

  static async start(dataplane: DataPlane, clock: Clock, seconds: number, log: Logger): Promise<Lease> {
    const lease = new Lease(dataplane, clock, seconds, log);
    await lease.#renew();
    return lease;
  }

  /** Negative when it lapsed. */
  get remainingMs(): number {
    return this.#untilMs - this.#clock.monotonic();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#isOver = true;
    this.#timer?.cancel();
    await this.#dataplane.flows.renewLease(0n);
  }

  async #renew(): Promise<void> {
    const { flows, governance } = this.#dataplane;
    try {
      await flows.renewLease(this.#dataplane.bootTimeNs() + BigInt(this.#seconds) * 1_000_000_000n);
      governance.beat();
      this.#untilMs = this.#clock.monotonic() + this.#seconds * 1000;
    } catch (error) {
      this.#log.error('the lease could not be renewed', { error });
    }
    if (this.#isOver) return;
    this.#timer = this.#clock.after(
      Math.min((this.#seconds * 1000) / RENEWALS, LONGEST_PAUSE_MS),
      () => void this.#renew(),
    );
  }
}
