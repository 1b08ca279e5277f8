/**
 * The stream that replicas of Quartermaster share: NATS JetStream on three nodes. Compare-and-set by subject is all that
 * is asked of it: a message is taken if the last one of its subject is the one we know, by a majority of the nodes.
 */
import {
  DiscardPolicy,
  JetStreamApiCodes,
  JetStreamApiError,
  type JetStreamClient,
  type JetStreamManager,
  jetstream,
  jetstreamManager,
  StorageType,
} from '@nats-io/jetstream';
import { connect, type NatsConnection } from '@nats-io/transport-node';
import { ShellstreamError } from '../../protocol/errors.ts';
import { type Clock, sleep } from '../base/clock.ts';

export interface StreamPlace {
  /** HOST:PORT. */
  readonly servers: readonly string[];
  /** Of the stream, and of its subjects. */
  readonly name: string;
  /** Nodes that hold each message. */
  readonly copies: number;
  readonly retentionDays: number;
  readonly tls?: { readonly caFile: string; readonly certFile: string; readonly keyFile: string } | undefined;
}

export interface StreamMessage {
  /** Without the stream's name. */
  readonly subject: string;
  readonly sequence: number;
  /** Milliseconds since the epoch, by the stream. */
  readonly atMs: number;
  readonly bytes: Uint8Array;
}

export class SharedStream implements AsyncDisposable {
  readonly #connection: NatsConnection;
  readonly #manager: JetStreamManager;
  readonly #client: JetStreamClient;
  readonly #name: string;

  private constructor(connection: NatsConnection, manager: JetStreamManager, name: string) {
    this.#connection = connection;
    this.#manager = manager;
    this.#client = jetstream(connection);
    this.#name = name;
  }

  /**
   * Makes the stream if nobody did. Nodes that just lost one of theirs take some seconds to agree, and are waited for.
   * @throws ShellstreamError CONNECTION_LOST when no majority answers
   */
  static async open(place: StreamPlace, clock: Clock, signal: AbortSignal): Promise<SharedStream> {
    for (let attempt = 1; ; attempt += 1) {
      try {
        return await SharedStream.#open(place);
      } catch (error) {
        if (attempt >= MOST_ATTEMPTS || signal.aborted) throw unavailable('the stream cannot be opened', error);
      }
      await sleep(clock, RETRY_MS, signal);
    }
  }

  static async #open({ servers, name, copies, retentionDays, tls }: StreamPlace): Promise<SharedStream> {
    const options = { servers: [...servers], name, maxReconnectAttempts: -1, reconnectTimeWait: RECONNECT_MS };
    const connection = await connect({ ...options, ...(tls === undefined ? {} : { tls }) });
    try {
      const manager = await jetstreamManager(connection, { timeout: ANSWER_MS });
      await manager.streams.add({
        name,
        subjects: [`${name}.>`],
        storage: StorageType.File,
        num_replicas: copies,
        discard: DiscardPolicy.New,
        max_age: retentionDays * DAY_NS,
        duplicate_window: DUPLICATES_NS,
        // What was acknowledged is not taken back by whoever may talk to the stream.
        deny_delete: true,
        deny_purge: true,
      });
      return new SharedStream(connection, manager, name);
    } catch (error) {
      await connection.close();
      throw error;
    }
  }

  /**
   * Resolves with the sequence once a majority holds the message; undefined: `after` was not the last of the subject.
   * @param after sequence of the last message of the subject, 0: it is the first.
   * @param id a message of the same id is taken once, however often it is sent.
   * @throws ShellstreamError CONNECTION_LOST: it may or may not have been taken
   */
  async publish(subject: string, bytes: Uint8Array, after: number, id?: string): Promise<number | undefined> {
    try {
      const ack = await this.#client.publish(`${this.#name}.${subject}`, bytes, {
        expect: { lastSubjectSequence: after },
        timeout: ANSWER_MS,
        ...(id === undefined ? {} : { msgID: id }),
      });
      return ack.seq;
    } catch (error) {
      if (error instanceof JetStreamApiError && CONFLICTS.has(error.code)) return undefined;
      throw unavailable('the stream did not take it', error);
    }
  }

  /** Sequence of the last message of a subject; 0: there is none. */
  async last(subject: string): Promise<number> {
    try {
      const message = await this.#manager.streams.getMessage(this.#name, { last_by_subj: `${this.#name}.${subject}` });
      return message?.seq ?? 0;
    } catch (error) {
      throw unavailable('the stream does not answer', error);
    }
  }

  /**
   * The first message from `sequence` on; undefined: there is none yet. Asked one by one: a consumer would be a thing in
   * the nodes that dies with one of them.
   * @throws ShellstreamError CONNECTION_LOST
   */
  async next(sequence: number): Promise<StreamMessage | undefined> {
    try {
      const query = { seq: sequence, next_by_subj: `${this.#name}.>` };
      const message = await this.#manager.streams.getMessage(this.#name, query);
      if (message === null) return undefined;
      const { subject, seq, time, data } = message;
      return { subject: subject.slice(this.#name.length + 1), sequence: seq, atMs: time.getTime(), bytes: data };
    } catch (error) {
      throw unavailable('the stream does not answer', error);
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#connection.close();
  }
}

const MOST_ATTEMPTS = 10;
const RETRY_MS = 1_000;
const RECONNECT_MS = 250;
const ANSWER_MS = 5_000;
const NS_A_MS = 1_000_000;
const DAY_NS = 86_400_000 * NS_A_MS;
const DUPLICATES_NS = 120_000 * NS_A_MS;
const CONFLICTS: ReadonlySet<number> = new Set([
  JetStreamApiCodes.StreamWrongLastSequence,
  JetStreamApiCodes.StreamWrongLastSequenceUnknown,
]);

function unavailable(what: string, cause: unknown): ShellstreamError {
  const why = cause instanceof Error ? cause.message : String(cause);
  return new ShellstreamError('CONNECTION_LOST', `${what}: ${why}`, { cause });
}
