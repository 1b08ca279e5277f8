/** What an attestation waits for, told to the budget: while it waits, others have the thread. */
import type { Enforcer } from '../enforcer/ports.ts';
import type { RecordExchange } from '../session/attest.ts';
import type { Work } from './handshake-budget.ts';

export function meteredExchange(exchange: RecordExchange, work: Work): RecordExchange {
  return { send: (record) => exchange.send(record), next: () => waiting(work, () => exchange.next()) };
}

/** What the enforcer does meanwhile is on its own thread, and about as much as is charged here. */
export class MeteredEnforcer implements Enforcer {
  readonly #enforcer: Enforcer;
  readonly #work: Work;

  constructor(enforcer: Enforcer, work: Work) {
    this.#enforcer = enforcer;
    this.#work = work;
  }

  challenge(input: Parameters<Enforcer['challenge']>[0]): ReturnType<Enforcer['challenge']> {
    return waiting(this.#work, () => this.#enforcer.challenge(input));
  }

  admit(input: Parameters<Enforcer['admit']>[0]): ReturnType<Enforcer['admit']> {
    return waiting(this.#work, () => this.#enforcer.admit(input));
  }

  mayRenew(...input: Parameters<Enforcer['mayRenew']>): ReturnType<Enforcer['mayRenew']> {
    return this.#enforcer.mayRenew(...input);
  }

  approach(input: Parameters<Enforcer['approach']>[0]): ReturnType<Enforcer['approach']> {
    return waiting(this.#work, () => this.#enforcer.approach(input));
  }

  accept(input: Parameters<Enforcer['accept']>[0]): ReturnType<Enforcer['accept']> {
    return waiting(this.#work, () => this.#enforcer.accept(input));
  }

  setPeerLevel(...input: Parameters<Enforcer['setPeerLevel']>): ReturnType<Enforcer['setPeerLevel']> {
    return this.#enforcer.setPeerLevel(...input);
  }

  packet(...input: Parameters<NonNullable<Enforcer['packet']>>): void {
    this.#enforcer.packet?.(...input);
  }

  carried(...input: Parameters<NonNullable<Enforcer['carried']>>): void {
    this.#enforcer.carried?.(...input);
  }

  release(...input: Parameters<Enforcer['release']>): ReturnType<Enforcer['release']> {
    return this.#enforcer.release(...input);
  }
}

async function waiting<T>(work: Work, action: () => Promise<T>): Promise<T> {
  // Asking is work too: it is encoded, and in tests the enforcer does its part in this very turn.
  const answer = action();
  work.rest();
  try {
    return await answer;
  } finally {
    work.run();
  }
}
