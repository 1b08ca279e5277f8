/**
 * Re-attestation: the same handshake inside the channel, over REATTEST frames, under a prologue that only the two ends
 * of this session know. What makes it delicate is when the keys change (protocol/README.md §4.4): the initiator's
 * REATTEST with ATTEST-CONFIRM and the responder's GRANT are each the last frame under the old keys.
 */
import type { ChannelEvent, GrantBody } from '../../protocol/channel/index.ts';
import { assertNever, reasonOf, ShellstreamError } from '../../protocol/errors.ts';
import {
  type Established,
  type HandshakeOptions,
  REATTEST_MS,
  RECORD,
  reattestPrologue,
} from '../../protocol/handshake/index.ts';
import type { Reason } from '../../protocol/reasons.ts';
import type { Clock, Timer } from '../base/clock.ts';
import type { Admission, Connection, Enforcer } from '../enforcer/ports.ts';
import type { Approach } from '../enforcer/terminator-port.ts';
import { attestAsInitiator, attestAsResponder, type RecordExchange } from './attest.ts';
import type { SessionWire } from './wire.ts';

export interface ReattestationParts {
  readonly wire: SessionWire;
  readonly enforcer: Enforcer;
  readonly handshake: HandshakeOptions;
  readonly connection: Connection;
  readonly clock: Clock;
  /** Present at the initiator. */
  readonly approach?: Approach;
  current(): Admission;
  adopt(renewed: Admission): void;
  fail(reason: Reason, detail: string): void;
}

const FIRST_WAIT_MS = 1_000;
const LONGEST_WAIT_MS = 10_000;

export class Reattestation {
  readonly #parts: ReattestationParts;
  #exchange: InnerExchange | undefined;
  /** At the initiator, between ATTEST-CONFIRM and its answer. */
  #answer: { established: Established; accept(grant: GrantBody): Promise<Admission> } | undefined;
  /** At the initiator, between GRANT and its adoption: what comes next starts from the secret of this attestation. */
  #isAccepting = false;
  /** At the initiator, before it begins: the enforcer is being asked whether it can, or will be asked again. */
  #preparation: { timer?: Timer; waitMs: number } | undefined;
  /** At the initiator: there was a cause to attest again after the running attestation had told what it tells. */
  #isDueAgain = false;
  #isOver = false;

  constructor(parts: ReattestationParts) {
    this.#parts = parts;
  }

  /** The initiator attests again, once more when it does already; nothing at the responder. */
  start(): void {
    const { approach } = this.#parts;
    if (approach === undefined || this.#isOver) return;
    if (this.#exchange !== undefined || this.#isAccepting) {
      this.#isDueAgain = true;
      return;
    }
    if (this.#preparation === undefined) return this.#prepare(approach, FIRST_WAIT_MS);
    this.#preparation.waitMs = FIRST_WAIT_MS;
    if (this.#preparation.timer === undefined) return;
    this.#preparation.timer.cancel();
    this.#prepare(approach, FIRST_WAIT_MS);
  }

  /** A session does not end because it could not be attested again for a while: what it stands on has its own expiry. */
  #prepare(approach: Approach, waitMs: number): void {
    const { enforcer, clock, current } = this.#parts;
    const preparation: { timer?: Timer; waitMs: number } = { waitMs };
    this.#preparation = preparation;
    enforcer.mayRenew(current().id).then(
      () => {
        if (this.#preparation !== preparation) return;
        this.#preparation = undefined;
        this.#run(async (exchange) => {
          this.#answer = await attestAsInitiator(exchange, this.#attestParts(), approach);
        });
      },
      (error: unknown) => {
        if (this.#preparation !== preparation) return;
        // The enforcer knows of no such session: there is nothing to wait for.
        if (reasonOf(error) === 'EXPIRED') return this.#failed(error);
        const { waitMs: wait } = preparation;
        preparation.timer = clock.after(wait, () => this.#prepare(approach, Math.min(2 * wait, LONGEST_WAIT_MS)));
      },
    );
  }

  handle(event: Extract<ChannelEvent, { type: 'reattest' | 'grant' | 'deny' }>): void {
    switch (event.type) {
      case 'reattest':
        return this.#receive(event.record);
      case 'grant':
        return this.#granted(event.grant);
      case 'deny':
        return this.#parts.fail(event.reason, 're-attestation denied by the peer');
    }
    assertNever(event);
  }

  /** The session is over. */
  abandon(): void {
    this.#isOver = true;
    this.#preparation?.timer?.cancel();
    this.#preparation = undefined;
    this.#exchange?.abort(new ShellstreamError('CLOSED'));
    this.#exchange = undefined;
    this.#isDueAgain = false;
  }

  #receive(record: Uint8Array): void {
    if (this.#exchange === undefined) this.#respond();
    this.#exchange?.push(record);
  }

  #respond(): void {
    const { wire, adopt } = this.#parts;
    this.#run(async (exchange) => {
      const parts = {
        ...this.#attestParts(),
        // The next record of the initiator is under the new key, and may be here already.
        onEstablished: (established: Established) => {
          wire.rekeyReceive(established.receive);
          wire.resume();
        },
      };
      const { admission, established } = await attestAsResponder(exchange, parts);
      this.#finish();
      if (admission.answer === undefined) throw new ShellstreamError('INTERNAL', 'an admission without an answer');
      wire.sendThenRekey({ type: 'GRANT', grant: admission.answer }, established.send);
      adopt(admission);
    });
  }

  #granted(grant: GrantBody): void {
    const answer = this.#answer;
    if (answer === undefined) return this.#parts.fail('UNEXPECTED_RECORD', 'GRANT before ATTEST-CONFIRM');
    this.#parts.wire.rekeyReceive(answer.established.receive);
    this.#finish();
    this.#isAccepting = true;
    answer.accept(grant).then(
      (admission) => this.#accepted(admission),
      (error: unknown) => this.#failed(error),
    );
  }

  #accepted(admission: Admission): void {
    const isDueAgain = this.#isDueAgain;
    this.#isAccepting = false;
    this.#isDueAgain = false;
    this.#parts.adopt(admission);
    if (isDueAgain && this.#exchange === undefined) this.start();
  }

  #run(attest: (exchange: RecordExchange) => Promise<void>): void {
    const exchange = new InnerExchange(this.#parts, this.#parts.approach === undefined);
    this.#exchange = exchange;
    attest(exchange).catch((error: unknown) => {
      if (this.#exchange === exchange) this.#failed(error);
    });
  }

  #finish(): void {
    this.#exchange?.finish();
    this.#exchange = undefined;
    this.#answer = undefined;
  }

  #failed(error: unknown): void {
    this.#finish();
    this.#parts.fail(reasonOf(error), error instanceof Error ? error.message : String(error));
  }

  #attestParts() {
    const { enforcer, handshake, connection, current } = this.#parts;
    const { id, reattestSecret } = current();
    return {
      enforcer,
      connection,
      renews: id,
      handshake: { ...handshake, prologue: reattestPrologue(reattestSecret) },
      // The initiator's last frame under its old key is the one with ATTEST-CONFIRM.
      sendLast: (record: Uint8Array, established: Established) =>
        this.#parts.wire.sendThenRekey({ type: 'REATTEST', record }, established.send),
    };
  }
}

/** Inner records by frames. A responder's wire is held while a record is being worked on: the keys may change behind it. */
class InnerExchange implements RecordExchange {
  readonly #parts: ReattestationParts;
  readonly #holds: boolean;
  readonly #timer: Timer;
  #waiting: { resolve(record: Uint8Array): void; reject(error: Error): void } | undefined;

  constructor(parts: ReattestationParts, holds: boolean) {
    this.#parts = parts;
    this.#holds = holds;
    this.#timer = parts.clock.after(REATTEST_MS, () => parts.fail('HANDSHAKE_TIMEOUT', 're-attestation'));
  }

  send(record: Uint8Array): void {
    this.#parts.wire.send({ type: 'REATTEST', record });
  }

  next(): Promise<Uint8Array> {
    return new Promise((resolve, reject) => {
      this.#waiting = { resolve, reject };
    });
  }

  /** The peer answers each of our records once, so one that nobody waits for is one too many. */
  push(record: Uint8Array): void {
    const waiting = this.#waiting;
    this.#waiting = undefined;
    if (waiting === undefined) {
      this.#parts.fail('UNEXPECTED_RECORD', 'a record of a re-attestation before its turn');
      return;
    }
    if (this.#holds && record[0] === RECORD.CONFIRM) this.#parts.wire.hold();
    waiting.resolve(record);
  }

  finish(): void {
    this.#timer.cancel();
  }

  abort(error: Error): void {
    this.#timer.cancel();
    this.#waiting?.reject(error);
    this.#waiting = undefined;
  }
}
