/**
 * What streams carried, as their terminator counts it. It is the terminator's word: nobody else sees into a session. But it
 * cannot be taken back, and evidence says whose word it is.
 */
import { ShellstreamError } from '../../protocol/errors.ts';
import type { Clock, Timer } from '../base/clock.ts';
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

/** Who waits for the last word of a session that the enforcer ended. */
interface Awaiting {
  readonly told: (streams: StreamsAtEnd) => void;
  readonly onSilent: (() => void) | undefined;
  /** Monotonic milliseconds. */
  readonly untilMs: number;
}

/** Of one terminator. It holds what was told of sessions that stand, and for a moment of those that the enforcer ended. */
export class ToldTotals {
  readonly #clock: Clock;
  readonly #told = new Map<SessionId, StreamTotals>();
  /** Those that have waited longest first: all wait equally long, and one timer is enough for ten thousand. */
  readonly #awaited = new Map<SessionId, Awaiting>();
  #timer: Timer | undefined;
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
    this.#over(session, word);
  }

  /** Whether its last word is still to come. */
  awaits(session: SessionId): boolean {
    return this.#awaited.has(session);
  }

  /**
   * What there is to say of one that is over, once; from here on nothing is held of it.
   * @param last if its terminator said one
   * @param onSilent called when a terminator that is there said none in its time: it has not let go of the session
   */
  atEnd(
    session: SessionId,
    last: LastWord | undefined,
    told: (streams: StreamsAtEnd) => void,
    onSilent?: () => void,
  ): void {
    if (last !== undefined || this.#isGone) return told(this.#taken(session, last));
    this.#awaited.set(session, { told, onSilent, untilMs: this.#clock.monotonic() + LAST_WORD_MS });
    this.#timer ??= this.#clock.after(LAST_WORD_MS, () => this.#late());
  }

  /** The terminator is gone: no word is to come. */
  gone(): void {
    this.#isGone = true;
    for (const session of [...this.#awaited.keys()]) this.#over(session, undefined);
  }

  #taken(session: SessionId, last: LastWord | undefined): StreamsAtEnd {
    const known = last ?? this.#told.get(session) ?? NO_STREAMS;
    this.#told.delete(session);
    return { ...known, isComplete: last !== undefined };
  }

  #over(session: SessionId, last: LastWord | undefined): void {
    const awaiting = this.#awaited.get(session);
    if (awaiting === undefined) return;
    this.#awaited.delete(session);
    if (this.#awaited.size === 0) {
      this.#timer?.cancel();
      this.#timer = undefined;
    }
    awaiting.told(this.#taken(session, last));
  }

  #late(): void {
    this.#timer = undefined;
    const now = this.#clock.monotonic();
    for (const [session, { untilMs, onSilent }] of this.#awaited) {
      if (untilMs > now) {
        this.#timer ??= this.#clock.after(untilMs - now, () => this.#late());
        return;
      }
      this.#over(session, undefined);
      onSilent?.();
    }
  }
}
