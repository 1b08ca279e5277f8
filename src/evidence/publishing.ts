/** When the log is published, and why it is not: recording never waits for it. */
import { reasonOf } from '../../protocol/errors.ts';
import type { Clock, Timer } from '../base/clock.ts';
import type { Logger } from '../base/logger.ts';
import type { Publisher } from './publisher.ts';

export interface PublishingParts {
  readonly clock: Clock;
  readonly log: Logger;
  /** The files cost as much as a thousand records: at the strict levels at once, else together. */
  readonly isUrgent: () => boolean;
  /** What others saw of this log says that it was put back. Must not throw. */
  readonly onRolledBack: (error: unknown) => void;
}

export class Publishing {
  readonly #parts: PublishingParts;
  #publisher: Publisher | undefined;
  #problem: string | undefined;
  #timer: Timer | undefined;
  #running: Promise<void> = Promise.resolve();
  #isClosed = false;

  constructor(parts: PublishingParts) {
    this.#parts = parts;
  }

  /** Undefined: all is published, or will be in a moment. */
  get problem(): string | undefined {
    return this.#problem;
  }

  /** From here on it is this one's log; undefined: nobody's, for now. */
  take(publisher: Publisher | undefined): void {
    this.#publisher = publisher;
  }

  soon(): void {
    if (this.#isClosed) return;
    this.#timer ??= this.#parts.clock.after(this.#parts.isUrgent() ? 0 : PUBLISH_MS, () => {
      this.#timer = undefined;
      this.#running = this.#now();
    });
  }

  /** What runs is through. */
  async settled(): Promise<void> {
    await this.#running;
  }

  /** For the last time. */
  async close(): Promise<void> {
    this.#isClosed = true;
    this.#timer?.cancel();
    await this.#now();
  }

  /** @throws ShellstreamError EVIDENCE_ROLLED_BACK; every other failure is told, and mended by itself or by somebody. */
  async publish(publisher: Publisher, isOpen: () => boolean = () => true): Promise<void> {
    try {
      await publisher.publish();
      this.#problem = undefined;
    } catch (error) {
      // What failed may have been that the spool was closed meanwhile.
      if (!isOpen()) return;
      const problem = error instanceof Error ? error.message : String(error);
      if (problem !== this.#problem) this.#parts.log.error('the evidence log cannot be published', { error });
      this.#problem = problem;
      if (reasonOf(error) === 'EVIDENCE_ROLLED_BACK') throw error;
    }
  }

  async #now(): Promise<void> {
    await this.#running;
    const publisher = this.#publisher;
    if (publisher === undefined) return;
    try {
      await this.publish(publisher, () => this.#publisher === publisher);
    } catch (error) {
      this.#parts.onRolledBack(error);
    }
  }
}

const PUBLISH_MS = 1_000;
