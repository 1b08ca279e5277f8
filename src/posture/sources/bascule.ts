/**
 * Bascule as a source of posture: we watch its stream, and take what it announces to us. Both ways end in the same
 * statement, ordered by Bascule's epochs. When it is gone, what it said stands until its expiry.
 */
import { Code, ConnectError, createClient } from '@connectrpc/connect';
import { reasonOf, ShellstreamError } from '../../../protocol/errors.ts';
import { BasculeService, Outcome, PostureService } from '../../../protocol/gen/shellstream/bascule/v1/bascule_pb.ts';
import type { SpiffeId } from '../../../protocol/identity/spiffe-id.ts';
import { sleep } from '../../base/clock.ts';
import type { Logger } from '../../base/logger.ts';
import { grpcOver, serveSpiffeGrpc } from '../../identity/spiffe-grpc.ts';
import { connectSpiffeTls, type SpiffeTlsListener, type SpiffeTlsParts } from '../../identity/spiffe-tls.ts';
import type { Heard } from '../engine.ts';
import type { OutsideStatement } from '../source-statements.ts';
import { MAX_MESSAGE_BYTES, parseStatement } from './bascule-statement.ts';

export interface BasculeParts {
  readonly tls: SpiffeTlsParts;
  /** Who Bascule is: nobody else is listened to. */
  readonly spiffeId: SpiffeId;
  /** Where it serves its stream; undefined: it only pushes. */
  readonly address?: { readonly host: string; readonly port: number } | undefined;
  /** Where we take what it pushes; undefined: we only watch. */
  readonly push?: { readonly host: string; readonly port: number } | undefined;
  readonly log: Logger;
  /** Uniform in [0, 1): spreads reconnections. */
  readonly random: () => number;
  /** Resolves when everything follows the statement. */
  hear(statement: OutsideStatement): Promise<Heard>;
}

export interface BasculeHealth {
  /** `none`: it only pushes. */
  readonly stream: 'connecting' | 'watching' | 'lost' | 'none';
  /** The last thing that went wrong; undefined while all is well. */
  readonly problem: string | undefined;
  readonly counts: Readonly<Record<Heard | 'malformed' | 'strangers', number>>;
}

export class Bascule implements AsyncDisposable {
  readonly #parts: BasculeParts;
  readonly #stopped = new AbortController();
  readonly #pending = new Set<Promise<unknown>>();
  readonly #counts = { accepted: 0, known: 0, stale: 0, malformed: 0, strangers: 0 };
  #stream: BasculeHealth['stream'];
  #problem: string | undefined;
  #watching: Promise<void> = Promise.resolve();
  #listener: SpiffeTlsListener | undefined;

  private constructor(parts: BasculeParts) {
    this.#parts = parts;
    this.#stream = parts.address === undefined ? 'none' : 'connecting';
  }

  /** Rejects when the address for pushes cannot be had. That Bascule does not answer is no reason not to start. */
  static async start(parts: BasculeParts): Promise<Bascule> {
    const bascule = new Bascule(parts);
    if (parts.push !== undefined) bascule.#listener = await bascule.#listen(parts.push);
    if (parts.address !== undefined) bascule.#watching = bascule.#watchAlways(parts.address);
    return bascule;
  }

  get health(): BasculeHealth {
    return { stream: this.#stream, problem: this.#problem, counts: { ...this.#counts } };
  }

  /** Where pushes are taken; undefined where none are. */
  get pushPort(): number | undefined {
    return this.#listener?.address.port;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#stopped.abort();
    await this.#listener?.[Symbol.asyncDispose]();
    await this.#watching;
    await Promise.all(this.#pending);
  }

  #listen(at: { readonly host: string; readonly port: number }): Promise<SpiffeTlsListener> {
    const { tls, spiffeId, log } = this.#parts;
    return serveSpiffeGrpc(tls, {
      ...at,
      accepts: (peer) => peer === spiffeId,
      maxConnections: MAX_CONNECTIONS,
      maxMessageBytes: MAX_MESSAGE_BYTES,
      onRefused: (error) => {
        this.#counts.strangers += 1;
        log.warn('somebody who is not Bascule was turned away', { error });
      },
      routes: (router) =>
        router.service(PostureService, {
          announce: async ({ statement }) => {
            try {
              return { outcome: OUTCOMES[await this.#take(() => parseStatement(statement))] };
            } catch (error) {
              if (reasonOf(error) !== 'MALFORMED') throw error;
              throw new ConnectError('no statement that could be taken', Code.InvalidArgument);
            }
          },
        }),
    });
  }

  async #watchAlways(address: { readonly host: string; readonly port: number }): Promise<void> {
    const { signal } = this.#stopped;
    const { log, tls, random } = this.#parts;
    let failures = 0;
    while (!signal.aborted) {
      try {
        await this.#watch(address, () => {
          failures = 0;
        });
        this.#lost('its stream ended');
      } catch (error) {
        if (signal.aborted) return;
        this.#lost(error instanceof Error ? error.message : String(error));
        if (failures === 0) log.warn('Bascule is not heard: what it said stands until its expiry', { error });
      }
      await sleep(tls.clock, backoff(failures, random), signal);
      failures += 1;
    }
  }

  async #watch(address: { readonly host: string; readonly port: number }, opened: () => void): Promise<void> {
    const { tls, spiffeId } = this.#parts;
    const { signal } = this.#stopped;
    const connection = await connectSpiffeTls(tls, address, (peer) => peer === spiffeId, signal);
    this.#stream = 'watching';
    this.#problem = undefined;
    try {
      const client = createClient(BasculeService, grpcOver(connection, { maxMessageBytes: MAX_MESSAGE_BYTES }));
      const stream = client.watch({}, { signal });
      for await (const { statement } of stream) {
        opened();
        await this.#takeFromStream(() => parseStatement(statement));
      }
    } finally {
      connection.socket.destroy();
    }
  }

  /** Does not wait for what follows: a lockdown must not queue behind the steps of the statement before it. */
  async #takeFromStream(parse: () => OutsideStatement): Promise<void> {
    const { log } = this.#parts;
    const taken: Promise<unknown> = this.#take(parse)
      .catch((error: unknown) => log.warn('a statement of Bascule was not taken', { error }))
      .finally(() => this.#pending.delete(taken));
    this.#pending.add(taken);
    if (this.#pending.size >= MAX_PENDING) await Promise.race(this.#pending);
  }

  async #take(parse: () => OutsideStatement): Promise<Heard> {
    const { hear, log } = this.#parts;
    let statement: OutsideStatement;
    try {
      statement = parse();
    } catch (error) {
      this.#counts.malformed += 1;
      if (error instanceof ShellstreamError) this.#problem = error.message;
      throw error;
    }
    const heard = await hear(statement);
    this.#counts[heard] += 1;
    if (heard === 'stale') {
      const { level, epoch } = statement;
      this.#problem = `a stale statement was refused: level ${level}, epoch ${epoch}`;
      log.warn('a stale statement of Bascule was refused', { level, epoch: String(epoch) });
    } else if (this.#stream !== 'lost') {
      this.#problem = undefined;
    }
    return heard;
  }

  #lost(problem: string): void {
    this.#stream = 'lost';
    this.#problem = problem;
  }
}

const OUTCOMES: Readonly<Record<Heard, Outcome>> = {
  accepted: Outcome.ACCEPTED,
  known: Outcome.KNOWN,
  stale: Outcome.STALE,
};
const MAX_CONNECTIONS = 8;
const MAX_PENDING = 16;
const FIRST_DELAY_MS = 100;
const LONGEST_DELAY_MS = 5_000;

/** Between half and the whole of a delay that doubles with each failure. */
function backoff(failures: number, random: () => number): number {
  const whole = Math.min(FIRST_DELAY_MS * 2 ** Math.min(failures, 16), LONGEST_DELAY_MS);
  return whole * (0.5 + random() / 2);
}
