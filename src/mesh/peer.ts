/**
 * One configured peer that we dial: connected, or on the way there. After a failure the next try waits, twice as long
 * each time, with jitter, so that a site that comes back is not met by all of its peers in the same second.
 */
import { reasonOf } from '../../protocol/errors.ts';
import { type Accord, remoteHandshakeAllowed } from '../../protocol/posture/index.ts';
import type { Reason } from '../../protocol/reasons.ts';
import { type Clock, sleep } from '../base/clock.ts';
import type { Logger } from '../base/logger.ts';
import type { PostureReader, SessionId } from '../enforcer/ports.ts';

export interface DialledPeerParts {
  readonly name: string;
  readonly clock: Clock;
  readonly log: Logger;
  readonly posture: PostureReader;
  readonly accord: Accord;
  /** Its site is held: it is not dialled until `nudge` says that it was released. */
  readonly isHeld: () => boolean;
  /** Uniform in [0, 1). */
  readonly random: () => number;
  /** Opens a session with the peer, or throws the reason why there is none. */
  readonly dial: (signal: AbortSignal) => Promise<SessionId>;
  /** Whether a session that was opened stands still. */
  readonly stands: (session: SessionId) => boolean;
}

export type DialState =
  | { readonly kind: 'connecting' }
  | { readonly kind: 'connected'; readonly session: SessionId }
  | { readonly kind: 'waiting'; readonly untilMs: number };

export interface DialFailure {
  readonly reason: Reason;
  readonly atMs: number;
  readonly detail: string;
}

const FIRST_DELAY_MS = 200;
const LONGEST_DELAY_MS = 30_000;

export class DialledPeer {
  readonly #parts: DialledPeerParts;
  readonly #stopped = new AbortController();
  #state: DialState = { kind: 'connecting' };
  #lastFailure: DialFailure | undefined;
  #wake: AbortController = new AbortController();
  /** Whether anybody nudged since the last try began. */
  #isNudged = false;
  #sessionEnded: (() => void) | undefined;
  #loop: Promise<void> | undefined;

  constructor(parts: DialledPeerParts) {
    this.#parts = parts;
  }

  get state(): DialState {
    return this.#state;
  }

  get lastFailure(): DialFailure | undefined {
    return this.#lastFailure;
  }

  start(): void {
    this.#loop ??= this.#run();
  }

  /** The session that `dial` gave is over. */
  ended(session: SessionId): void {
    if (this.#state.kind === 'connected' && this.#state.session === session) this.#sessionEnded?.();
  }

  /** Something changed that makes it worth trying at once: the posture rose, the network came back. */
  nudge(): void {
    this.#isNudged = true;
    this.#wake.abort();
  }

  async stop(): Promise<void> {
    this.#stopped.abort();
    this.#wake.abort();
    this.#sessionEnded?.();
    await this.#loop;
  }

  async #run(): Promise<void> {
    const { signal } = this.#stopped;
    let failures = 0;
    while (!signal.aborted) {
      this.#isNudged = false;
      const stood = this.#mayDial && (await this.#attempt(signal));
      // A try that began before the change says nothing of how it is after it.
      failures = stood || this.#isNudged ? 0 : failures + 1;
      if (signal.aborted) return;
      await this.#wait(failures);
    }
  }

  get #mayDial(): boolean {
    const { posture, accord, isHeld } = this.#parts;
    return remoteHandshakeAllowed(posture.level, accord) && !isHeld();
  }

  /** Whether a session stood; returns when it is over. */
  async #attempt(signal: AbortSignal): Promise<boolean> {
    const { clock, log, name, dial, stands } = this.#parts;
    this.#state = { kind: 'connecting' };
    try {
      const session = await dial(signal);
      const ended = new Promise<void>((resolve) => {
        this.#sessionEnded = resolve;
      });
      this.#state = { kind: 'connected', session };
      this.#lastFailure = undefined;
      if (stands(session)) await ended;
      this.#sessionEnded = undefined;
      return true;
    } catch (error) {
      const detail = error instanceof Error ? error.message : String(error);
      this.#lastFailure = { reason: reasonOf(error), atMs: clock.now(), detail };
      log.warn('dialling failed', { peer: name, reason: reasonOf(error), detail });
      return false;
    }
  }

  async #wait(failures: number): Promise<void> {
    const { clock, random } = this.#parts;
    const whole = Math.min(FIRST_DELAY_MS * 2 ** Math.min(failures, 16), LONGEST_DELAY_MS);
    const delayMs = whole * (0.5 + random() / 2);
    this.#state = { kind: 'waiting', untilMs: clock.now() + delayMs };
    this.#wake = new AbortController();
    await sleep(clock, delayMs, AbortSignal.any([this.#wake.signal, this.#stopped.signal]));
  }
}
