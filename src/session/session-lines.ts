/**
 * A line of the log that says one thing of one session. A change of posture, a shutdown or a network that is cut brings
 * thousands of them, in the half second in which as many last words have to leave, and a journal drops what comes that
 * fast. So in each second the first of a kind are told one by one, and of the others how many they were, when it is over.
 * Of ends, evidence has each.
 */
import type { Clock, Timer } from '../base/clock.ts';
import type { LogFields, Logger } from '../base/logger.ts';
import type { SessionId } from '../enforcer/ports.ts';

export interface SessionLinesParts {
  readonly clock: Clock;
  readonly log: Logger;
  /** Said of one session, with its kind and whatever else there is to say. */
  readonly one: string;
  /** Said of those that were held back, with their kind, how many lines they were, and some of the sessions. */
  readonly more: string;
}

/** Lines of one kind that are told one by one, in each second. */
const EACH = 64;
const SECOND_MS = 1_000;
/** Sessions that one line of the log names. */
const NAMED = 16;

/** `Kind`: fields of very few values. Each kind has lines of its own, also where a peer may choose it as often as it likes. */
export class SessionLines<Kind extends LogFields> {
  readonly #parts: SessionLinesParts;
  /** What came in this second, by its kind. */
  readonly #crowds = new Map<string, Crowd<Kind>>();
  #secondEnds = Number.NEGATIVE_INFINITY;
  /** While something is held back. */
  #timer: Timer | undefined;
  readonly #atExit = (): void => this.tellRest();

  constructor(parts: SessionLinesParts) {
    this.#parts = parts;
  }

  /** @param rest what a line of this one session says too; a sum leaves it out */
  say(session: SessionId, kind: Kind, rest: LogFields = {}): void {
    const { clock, log, one } = this.#parts;
    const now = clock.monotonic();
    if (now >= this.#secondEnds) {
      this.tellRest();
      this.#secondEnds = now + SECOND_MS;
    }
    const crowd = this.#crowdOf(kind);
    crowd.lines += 1;
    if (crowd.lines <= EACH) return log.info(one, { session, ...kind, ...rest });
    // A set: one session that says the same again and again has one of the places.
    if (crowd.named.size < NAMED) crowd.named.add(session);
    if (this.#timer === undefined) this.#tellRestIn(this.#secondEnds - now);
  }

  /** What was held back is told now: whoever ends calls it, for the second may not be over in time. */
  tellRest(): void {
    const { log, more } = this.#parts;
    this.#timer?.cancel();
    this.#timer = undefined;
    process.off('exit', this.#atExit);
    for (const { kind, lines, named } of this.#crowds.values()) {
      if (lines > EACH) log.info(more, { ...kind, count: lines - EACH, sessions: [...named] });
    }
    this.#crowds.clear();
  }

  #crowdOf(kind: Kind): Crowd<Kind> {
    const key = Object.values(kind).join();
    const there = this.#crowds.get(key);
    if (there !== undefined) return there;
    const crowd: Crowd<Kind> = { kind, lines: 0, named: new Set() };
    this.#crowds.set(key, crowd);
    return crowd;
  }

  #tellRestIn(delayMs: number): void {
    this.#timer = this.#parts.clock.after(delayMs, () => this.tellRest());
    // An uncaught error ends the process without another word. Before the logger's own listener, which writes what waits.
    process.prependOnceListener('exit', this.#atExit);
  }
}

interface Crowd<Kind> {
  readonly kind: Kind;
  lines: number;
  /** Of those that were held back. */
  readonly named: Set<SessionId>;
}
