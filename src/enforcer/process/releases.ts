/**
 * What a terminator releases, gathered. A change of posture ends thousands of sessions in one turn; a question for each,
 * with an answer of its own, would take the enforcer's time when it has the least.
 */
import { MAX_RELEASED, type SessionEndInit } from './session-end.ts';

/** What could not be taken away, and why, by its place in the question. */
export type Failures = ReadonlyMap<number, Error>;

export class Releases {
  readonly #ask: (sessions: SessionEndInit[]) => Promise<Failures>;
  #gathered: { readonly sessions: SessionEndInit[]; readonly asked: PromiseWithResolvers<Failures> } | undefined;

  /** @param ask for 1 to `MAX_RELEASED` sessions, in the order in which they ended */
  constructor(ask: (sessions: SessionEndInit[]) => Promise<Failures>) {
    this.#ask = ask;
  }

  /**
   * Asked for with what else is released by the code that runs now: at the latest when it is done, at once when there are
   * `MAX_RELEASED`. Settles when their question is answered; rejects with what failed of this one.
   */
  async add(session: SessionEndInit): Promise<void> {
    if (this.#gathered === undefined) {
      this.#gathered = { sessions: [], asked: Promise.withResolvers() };
      // Not `afterThisTurn`: the link waits for that too, and what is left for it then leaves a whole turn later.
      queueMicrotask(() => this.flush());
    }
    const { sessions, asked } = this.#gathered;
    const place = sessions.push(session) - 1;
    if (sessions.length === MAX_RELEASED) this.flush();
    const failure = (await asked.promise).get(place);
    if (failure !== undefined) throw failure;
  }

  /** Asks for what is gathered. Called before anything else is said, it keeps the order in which things were said. */
  flush(): void {
    const gathered = this.#gathered;
    if (gathered === undefined) return;
    this.#gathered = undefined;
    gathered.asked.resolve(this.#ask(gathered.sessions));
  }
}
