import type { Clock } from '../base/clock.ts';

/** For whom a handshake is: anybody, or a peer of the mesh as far as its source address says so. */
export type Claimant = 'stranger' | 'mesh';

export interface HandshakeBudgetLimits {
  /** What handshakes may cost this process: milliseconds of its one thread in each second. */
  readonly millisecondsPerSecond: number;
  /** How much of that is for the mesh alone. */
  readonly meshPercent: number;
}

/** One handshake, as it takes turns with others on the thread. Both idempotent. */
export interface Work {
  /** It has the thread from here on. */
  run(): void;
  /** It waits for somebody. */
  rest(): void;
}

/**
 * What handshakes may take of the thread that all sessions of this process share. It is measured, not reckoned: whatever
 * an attacker finds to be dear is charged at its price. A handshake begins while something is left; what it then costs
 * may lead into debt, which later seconds pay, so the overdraft is bounded by how many may be pending.
 *
 * Strangers have the budget without the mesh's share, the mesh has its share and what strangers leave. The share waits
 * for the mesh even when nobody else would have to be refused: a peer must not come too late by a second.
 */
export class HandshakeBudget {
  readonly #clock: Clock;
  readonly #left: Readonly<Record<Claimant, Account>>;
  readonly #running: Record<Claimant, number> = { stranger: 0, mesh: 0 };
  #since = 0;

  constructor(clock: Clock, { millisecondsPerSecond, meshPercent }: HandshakeBudgetLimits) {
    this.#clock = clock;
    const mesh = (millisecondsPerSecond * meshPercent) / 100;
    this.#left = { stranger: new Account(clock, millisecondsPerSecond - mesh), mesh: new Account(clock, mesh) };
  }

  /** Whether a handshake may begin. */
  hasRoom(claimant: Claimant): boolean {
    return this.#left.stranger.balance > 0 || (claimant === 'mesh' && this.#left.mesh.balance > 0);
  }

  spend(claimant: Claimant, ms: number): void {
    const { stranger, mesh } = this.#left;
    if (claimant === 'mesh' && mesh.balance > 0) mesh.take(ms);
    else stranger.take(ms);
  }

  work(claimant: Claimant): Work {
    let isRunning = false;
    const turn = (starts: boolean): void => {
      if (isRunning === starts) return;
      this.#settle();
      isRunning = starts;
      this.#running[claimant] += starts ? 1 : -1;
    };
    return { run: () => turn(true), rest: () => turn(false) };
  }

  /**
   * Charges the time since the last turn, once, however many have the thread by turns: answers of the enforcer come
   * several at a time. With a stranger among them it is the strangers'.
   */
  #settle(): void {
    const now = this.#clock.monotonic();
    const { stranger, mesh } = this.#running;
    if (stranger + mesh > 0) this.spend(stranger > 0 ? 'stranger' : 'mesh', now - this.#since);
    this.#since = now;
  }
}

/** Fills by so much a second, up to one second's worth; owes no more than that either. */
class Account {
  readonly #clock: Clock;
  readonly #perSecond: number;
  #balance: number;
  #at: number;

  constructor(clock: Clock, perSecond: number) {
    this.#clock = clock;
    this.#perSecond = perSecond;
    this.#balance = perSecond;
    this.#at = clock.monotonic();
  }

  get balance(): number {
    const now = this.#clock.monotonic();
    this.#balance = Math.min(this.#perSecond, this.#balance + ((now - this.#at) / 1000) * this.#perSecond);
    this.#at = now;
    return this.#balance;
  }

  /** A process that stood still while a handshake had the thread must not refuse everybody for as long again. */
  take(ms: number): void {
    this.#balance = Math.max(-this.#perSecond, this.balance - ms);
  }
}
