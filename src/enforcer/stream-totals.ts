/**
 * What streams carried, as their terminator counts it. It is the terminator's word: nobody else sees into a session. But it
 * cannot be taken back, and evidence says whose word it is.
 */
import { ShellstreamError } from '../../protocol/errors.ts';
import type { Clock } from '../base/clock.ts';
import type { LastWord, SessionId, StreamTotals } from './ports.ts';

export const NO_STREAMS: StreamTotals = { streams: 0, receivedBytes: 0n, sentBytes: 0n };

/** Of a session that is over. */
export interface StreamsAtEnd extends LastWord {
  /** False: its terminator said no last word, and there was at least so much. */
  readonly isComplete: boolean;
}

/**
 * How long the end of a session that the enforcer ended itself waits for the terminator's last word. As long as the
 * overlay has for a change of level (P9): a terminator with thousands of sessions comes to the last of them after seconds.
 */
const LAST_WORD_MS = 5_000;

/** Takes the last word; undefined: none is to come. */
type Awaited = (last: LastWord | undefined) => void;

/** Of one terminator. It holds what was told of sessions that stand, and for a moment of those that the enforcer ended. */
export class ToldTotals {
  readonly #clock: Clock;
  readonly #told = new Map<SessionId, StreamTotals>();
  readonly #awaited = new Map<SessionId, Awaited>();
  #isGone = false;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** @throws ShellstreamError MALFORMED when something became less: a terminator that takes its word back */
  note(session: SessionId, totals: LastWord): void {
    const before = this.#told.get(session) ?? NO_STREAMS;
    const isLess =
      totals.streams < before.streams ||
      totals.receivedBytes < before.receivedBytes ||
      totals.sentBytes < before.sentBytes;
    if (isLess) throw new ShellstreamError('MALFORMED', `streams of ${session} carried less than before`);
    this.#told.set(session, totals);
  }

  /** Its last word, also where nobody waits for one. @throws as `note` does */
  last(session: SessionId, word: LastWord): void {
    this.note(session, word);
    this.#awaited.get(session)?.(word);
  }

  /** Whether its last word is still to come. */
  awaits(session: SessionId): boolean {
    return this.#awaited.has(session);
  }

  /**
   * What there is to say of one that is over; from here on nothing is held of it.
   * @param last if its terminator said one
   * @param onSilent called when a terminator that is there said none in its time: it has not let go of the session
   */
  async atEnd(session: SessionId, last: LastWord | undefined, onSilent?: () => void): Promise<StreamsAtEnd> {
    const known = last ?? (this.#isGone ? undefined : await this.#lastWord(session, onSilent));
    const told = known ?? this.#told.get(session) ?? NO_STREAMS;
    this.#told.delete(session);
    return { ...told, isComplete: known !== undefined };
  }

  /** The terminator is gone: no word is to come. */
  gone(): void {
    this.#isGone = true;
    for (const over of this.#awaited.values()) over(undefined);
  }

  #lastWord(session: SessionId, onSilent?: () => void): Promise<LastWord | undefined> {
    return new Promise((resolve) => {
      const over: Awaited = (last) => {
        timer.cancel();
        this.#awaited.delete(session);
        resolve(last);
      };
      const timer = this.#clock.after(LAST_WORD_MS, () => {
        over(undefined);
        onSilent?.();
      });
      this.#awaited.set(session, over);
    });
  }
}
