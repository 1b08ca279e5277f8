/**
 * The ledger of several replicas. The stream that they share is the truth: what it took, in its order, is what each
 * replica's own store is filled from, under the same numbers. A replica decides by its store, and the stream refuses
 * what another replica decided first: then it catches up and decides again.
 */
import { createHash } from 'node:crypto';
import { create, fromBinary, type MessageInitShape, toBinary } from '@bufbuild/protobuf';
import { ShellstreamError } from '../../protocol/errors.ts';
import {
  AcceptedProposalSchema,
  type EntrySchema,
  SubmitRequestSchema,
} from '../../protocol/gen/shellstream/quartermaster/v1/quartermaster_pb.ts';
import {
  type LogName,
  parseSubmission,
  type Submission,
  type SubmittedEntry,
} from '../../protocol/quartermaster/index.ts';
import { type Clock, sleep } from '../base/clock.ts';
import { Listeners } from '../base/listeners.ts';
import type { Logger } from '../base/logger.ts';
import type { SharedStream, StreamMessage } from './jetstream.ts';
import type { Ledger } from './ledger.ts';
import type { NewProposal, Store } from './store.ts';
import type { StoreReader } from './store-reader.ts';

export class SharedLedger implements Ledger {
  readonly #stream: SharedStream;
  readonly #store: Store;
  readonly #clock: Clock;
  readonly #log: Logger;
  readonly arrivals = new Listeners<'arrived'>();
  readonly #stopped = new AbortController();
  /** Of each log: who submits waits for who submitted before. */
  readonly #turns = new Map<string, Promise<unknown>>();
  /** Rung when there is something to read. */
  #bell = new AbortController();
  #following: Promise<void> = Promise.resolve();
  #applied: number;

  private constructor(stream: SharedStream, store: Store, clock: Clock, log: Logger) {
    this.#stream = stream;
    this.#store = store;
    this.#clock = clock;
    this.#log = log;
    this.#applied = store.reader.state().applied;
  }

  /** The store is filled from the stream from here on. Stream and store are their owner's. */
  static start(stream: SharedStream, store: Store, clock: Clock, log: Logger): SharedLedger {
    const ledger = new SharedLedger(stream, store, clock, log);
    ledger.#following = ledger.#follow();
    return ledger;
  }

  get reader(): StoreReader {
    return this.#store.reader;
  }

  async position(log: LogName): Promise<number> {
    await this.#catchUp(subjectOf(log));
    return this.#store.next(log);
  }

  submit(submission: Submission): Promise<number> {
    const subject = subjectOf(submission.log);
    const before = this.#turns.get(subject) ?? Promise.resolve();
    const turn = before.then(() => this.#submit(subject, submission));
    const settled = turn
      .catch(() => undefined)
      .then(() => {
        if (this.#turns.get(subject) === settled) this.#turns.delete(subject);
      });
    this.#turns.set(subject, settled);
    return turn;
  }

  /** One subject for each token, and the first message of a subject is taken once: token and proposal are one step. */
  async propose({ proposer, receivedMs, content, token }: NewProposal): Promise<number> {
    const proposal = create(AcceptedProposalSchema, { proposer, receivedAtMs: BigInt(receivedMs), proposal: content });
    const sequence = await this.#stream.publish(`proposal.${token.id}`, toBinary(AcceptedProposalSchema, proposal), 0);
    if (sequence === undefined) throw new ShellstreamError('REQUEST_TOKEN_SPENT');
    await this.#until(sequence);
    return sequence;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#stopped.abort();
    await this.#following;
    this.arrivals.clear();
  }

  async #submit(subject: string, submission: Submission): Promise<number> {
    for (let conflicts = 0; conflicts < MOST_CONFLICTS; ) {
      // What this replica has not seen yet would look like a gap, or be published twice.
      const last = await this.#catchUp(subject);
      const unheld = this.#store.judge(submission);
      if (unheld === undefined) return this.#store.next(submission.log);
      const part = { ...unheld, entries: firstOf(unheld.entries) };
      const id = `${part.log.origin}/${part.log.lane}/${part.first}/${part.entries.length}`;
      const sequence = await this.#stream.publish(subject, encode(part), last, id);
      if (sequence === undefined) conflicts += 1;
      else await this.#until(sequence);
    }
    throw new ShellstreamError('OVERLOADED', 'other replicas take the same log');
  }

  /** Until this replica has what the stream has of the subject: the sequence of its last message. */
  async #catchUp(subject: string): Promise<number> {
    const last = await this.#stream.last(subject);
    await this.#until(last);
    return last;
  }

  async #until(sequence: number): Promise<void> {
    const late = new AbortController();
    const timer = this.#clock.after(CATCH_UP_MS, () => late.abort());
    try {
      while (this.#applied < sequence) {
        this.#bell.abort();
        if (late.signal.aborted || this.#stopped.signal.aborted)
          throw new ShellstreamError('OVERLOADED', 'this replica is behind the stream');
        await this.#arrival(AbortSignal.any([late.signal, this.#stopped.signal]));
      }
    } finally {
      timer.cancel();
    }
  }

  #arrival(signal: AbortSignal): Promise<void> {
    return new Promise((resolve) => {
      const end = (): void => {
        listening[Symbol.dispose]();
        signal.removeEventListener('abort', end);
        resolve();
      };
      const listening = this.arrivals.add(end);
      signal.addEventListener('abort', end);
    });
  }

  // ── from the stream into the store ─────────────────────────────────────────────────────────────────────────

  async #follow(): Promise<void> {
    const { signal } = this.#stopped;
    let isFollowed = true;
    while (!signal.aborted) {
      this.#bell = new AbortController();
      try {
        const message = await this.#stream.next(this.#applied + 1);
        isFollowed = true;
        if (message !== undefined) {
          this.#apply(message);
          continue;
        }
      } catch (error) {
        if (isFollowed && !signal.aborted)
          this.#log.warn('the shared stream is not followed: it is tried again', { error });
        isFollowed = false;
      }
      await sleep(this.#clock, PAUSE_MS, isFollowed ? AbortSignal.any([this.#bell.signal, signal]) : signal);
    }
  }

  #apply(message: StreamMessage): void {
    const { sequence, atMs } = message;
    if (sequence <= this.#applied) return;
    const write = this.#read(message);
    this.#store.transact(() => {
      write(atMs);
      this.#store.setApplied(sequence);
    });
    this.#applied = sequence;
    this.arrivals.tell('arrived');
  }

  /** What it says to write. Only somebody who writes to the stream past Quartermaster can make it nothing. */
  #read({ subject, sequence, bytes }: StreamMessage): (atMs: number) => void {
    try {
      if (subject.startsWith('proposal.')) {
        const { proposer, receivedAtMs, proposal } = fromBinary(AcceptedProposalSchema, bytes);
        const kept = { proposer, receivedMs: Number(receivedAtMs), content: proposal };
        return () => this.#store.putProposal(kept, sequence);
      }
      const submission = parseSubmission(fromBinary(SubmitRequestSchema, bytes));
      if (submission.first < this.#store.next(submission.log))
        throw new ShellstreamError('EVIDENCE_FORK', `${submission.log.origin} ${submission.first} a second time`);
      return (atMs) => this.#store.put(submission, atMs, sequence * NUMBERS_A_MESSAGE);
    } catch (error) {
      this.#log.error('the shared stream holds what no Quartermaster put there', { sequence, error });
      return () => undefined;
    }
  }
}

/** More than a message has entries: so every replica counts arrivals alike, and a cursor of one is good at another. */
const NUMBERS_A_MESSAGE = 1_024;
const MOST_CONFLICTS = 8;
/** The stream's nodes take a mebibyte at once, unless they are told otherwise. */
const FULL_BYTES = 524_288;
const CATCH_UP_MS = 10_000;
const PAUSE_MS = 250;

/** Origins may hold what subjects may not. */
function subjectOf({ origin, lane }: LogName): string {
  return `log.${lane}.${createHash('sha256').update(origin).digest('hex').slice(0, 32)}`;
}

/** As many as one message of the stream takes, at least one. */
function firstOf(entries: readonly SubmittedEntry[]): readonly SubmittedEntry[] {
  let size = 0;
  const end = entries.findIndex((entry, at) => {
    size += entry.what === 'record' ? entry.opening.record.length : 0;
    return at > 0 && size > FULL_BYTES;
  });
  return end < 0 ? entries : entries.slice(0, end);
}

function encode({ log, first, entries }: Submission): Uint8Array {
  const request = create(SubmitRequestSchema, { ...log, first: BigInt(first), entries: entries.map(toEntry) });
  return toBinary(SubmitRequestSchema, request);
}

function toEntry(entry: SubmittedEntry): MessageInitShape<typeof EntrySchema> {
  switch (entry.what) {
    case 'record':
      return { what: { case: 'record', value: { artifact: entry.opening.record, salt: entry.opening.salt } } };
    case 'leaf':
      return { what: { case: 'leaf', value: entry.leaf } };
    case 'gone':
      return { what: { case: 'gone', value: {} } };
  }
}
