import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Clock, Timer } from '../src/base/clock.ts';
import { startTrustDomain, type TrustDomain, type TrustDomainOptions } from './trust-domain.ts';

/** Trust domains in a directory of their own, which goes when they are disposed. */
export class TemporaryDomains implements AsyncDisposable {
  readonly directory: string;
  readonly #clock: Clock;
  readonly #domains: TrustDomain[] = [];

  private constructor(directory: string, clock: Clock) {
    this.directory = directory;
    this.#clock = clock;
  }

  static async create(clock: Clock): Promise<TemporaryDomains> {
    return new TemporaryDomains(await mkdtemp(join(tmpdir(), 'shs-')), clock);
  }

  async start(name: string, options: Partial<TrustDomainOptions> = {}): Promise<TrustDomain> {
    const directory = join(this.directory, name);
    const domain = await startTrustDomain({ name, directory, clock: this.#clock, ...options });
    this.#domains.push(domain);
    return domain;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all(this.#domains.map((domain) => domain.stop()));
    await rm(this.directory, { recursive: true, force: true });
  }
}

/** A clock that stands still until it is moved; timers that fall due on the way are called in their order. */
export class SteppedClock implements Clock {
  #now: number;
  #timers: { readonly due: number; readonly action: () => void }[] = [];

  /** @param now milliseconds since the epoch; a whole second by default. */
  constructor(now = Date.parse('2026-01-01T00:00:00Z')) {
    this.#now = now;
  }

  now(): number {
    return this.#now;
  }

  monotonic(): number {
    return this.#now;
  }

  after(delayMs: number, action: () => void): Timer {
    const timer = { due: this.#now + delayMs, action };
    this.#timers.push(timer);
    return {
      cancel: () => {
        this.#timers = this.#timers.filter((other) => other !== timer);
      },
    };
  }

  /** How long each pending timer still waits, in milliseconds, soonest first. */
  get pending(): readonly number[] {
    return this.#timers.map(({ due }) => due - this.#now).sort((a, b) => a - b);
  }

  advance(ms: number): void {
    const end = this.#now + ms;
    for (;;) {
      const next = this.#timers.filter(({ due }) => due <= end).sort((a, b) => a.due - b.due)[0];
      if (next === undefined) break;
      this.#timers = this.#timers.filter((other) => other !== next);
      this.#now = Math.max(this.#now, next.due);
      next.action();
    }
    this.#now = end;
  }
}
