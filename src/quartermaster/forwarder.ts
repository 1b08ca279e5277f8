/**
 * Sends a node's evidence to Quartermaster, in the order of its log, one batch at a time. The spool keeps what was not
 * acknowledged, so nothing is held in memory and nothing hurries: Quartermaster away delays forwarding and nothing else.
 * Where it stands is Quartermaster's to say, on each connection and once a minute; that it lost what it had acknowledged
 * is said loudly, and sent again.
 */
import { reasonOf, ShellstreamError } from '../../protocol/errors.ts';
import { Lane, type LogName } from '../../protocol/quartermaster/index.ts';
import type { Reason } from '../../protocol/reasons.ts';
import { type Clock, sleep } from '../base/clock.ts';
import type { Logger } from '../base/logger.ts';
import type { QuartermasterClient, QuartermasterLink } from './client.ts';
import type { Marks } from './marks.ts';
import { fromConnectError } from './refusal.ts';
import type { ForwardedEntry, ForwardSource } from './spool-source.ts';

export interface ForwarderParts {
  /** Of the log. */
  readonly origin: string;
  readonly source: ForwardSource;
  readonly connect: (signal: AbortSignal) => Promise<QuartermasterLink>;
  readonly marks: Marks;
  readonly clock: Clock;
  readonly log: Logger;
  /** Uniform in [0, 1): spreads reconnections. */
  readonly random: () => number;
}

export interface ForwarderStatus {
  readonly state: 'connecting' | 'forwarding' | 'waiting';
  /** Of the log: all below is acknowledged. */
  readonly acknowledged: number;
  /** Entries of both lanes that are not. */
  readonly behind: number;
  /** How often Quartermaster held less than it had acknowledged. */
  readonly forgotten: number;
  /** The last thing that went wrong; undefined while all is well. */
  readonly problem: string | undefined;
  /** It was never reached since its start, or not since this failed; wall time. Undefined while all is well. */
  readonly awaySinceMs: number | undefined;
}

export class Forwarder implements AsyncDisposable {
  readonly #parts: ForwarderParts;
  readonly #stopped = new AbortController();
  readonly #next = new Map<LogName['lane'], number>();
  #bell = new AbortController();
  #state: ForwarderStatus['state'] = 'connecting';
  #problem: string | undefined;
  #awaySinceMs: number | undefined;
  #forgotten = 0;
  #running: Promise<void> = Promise.resolve();

  private constructor(parts: ForwarderParts) {
    this.#parts = parts;
    this.#awaySinceMs = parts.clock.now();
  }

  /** Starts at once. That nobody answers is no reason not to. */
  static start(parts: ForwarderParts): Forwarder {
    const forwarder = new Forwarder(parts);
    forwarder.#running = forwarder.#forwardAlways();
    return forwarder;
  }

  /** Something more is durable in the spool. Costs nothing, as often as it is called. */
  wake(): void {
    if (!this.#bell.signal.aborted) this.#bell.abort();
  }

  get status(): ForwarderStatus {
    const { source, marks } = this.#parts;
    const next = (lane: LogName['lane']): number => this.#next.get(lane) ?? marks.acknowledged(lane);
    const behind = LANES.reduce((sum, lane) => sum + Math.max(0, (source.end(lane) ?? 0) - next(lane)), 0);
    const state = { state: this.#state, acknowledged: next(Lane.LOG), behind };
    return { ...state, forgotten: this.#forgotten, problem: this.#problem, awaySinceMs: this.#awaySinceMs };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#stopped.abort();
    await this.#running;
  }

  async #forwardAlways(): Promise<void> {
    const { clock, connect, log, random } = this.#parts;
    const { signal } = this.#stopped;
    let failures = 0;
    while (!signal.aborted) {
      this.#state = 'connecting';
      try {
        using link = await connect(signal);
        await this.#forward(link.client, () => {
          failures = 0;
          this.#problem = undefined;
          this.#awaySinceMs = undefined;
        });
      } catch (error) {
        if (signal.aborted) break;
        this.#problem = error instanceof Error ? error.message : String(error);
        this.#awaySinceMs ??= clock.now();
        const reason = reasonOf(error);
        if (HOPELESS.has(reason)) {
          // Time alone mends none of these.
          log.error('Quartermaster refuses this node’s evidence: it stays in the spool', { error });
          failures = Math.max(failures, SLOW);
        } else if (failures === 0) log.warn('Quartermaster is not reached: evidence stays in the spool', { error });
      }
      await sleep(clock, backoff(failures, random), signal);
      failures += 1;
    }
    await this.#parts.marks.save();
  }

  async #forward(client: QuartermasterClient, worked: () => void): Promise<void> {
    const { clock, marks } = this.#parts;
    const { signal } = this.#stopped;
    let saveAt = 0;
    while (!signal.aborted) {
      this.#bell = new AbortController();
      for (const lane of LANES) await this.#catchUp(client, lane, worked);
      worked();
      this.#state = 'waiting';
      if (clock.monotonic() >= saveAt) {
        await marks.save();
        saveAt = clock.monotonic() + SAVE_MS;
      }
      await this.#news();
      // What follows at once goes with it.
      await sleep(clock, LINGER_MS, signal);
    }
  }

  /** Until the bell rings, or it is time to ask again what Quartermaster holds. */
  async #news(): Promise<void> {
    const { clock } = this.#parts;
    await sleep(clock, HEARTBEAT_MS, AbortSignal.any([this.#bell.signal, this.#stopped.signal]));
    if (!this.#bell.signal.aborted) this.#next.clear();
  }

  async #catchUp(client: QuartermasterClient, lane: LogName['lane'], worked: () => void): Promise<void> {
    const { source, marks } = this.#parts;
    const end = (): number => source.end(lane) ?? 0;
    // A spool that is not open says nothing of where it stands.
    if (source.end(lane) === undefined) return;
    let next = this.#next.get(lane) ?? (await this.#rejoin(client, lane));
    while (next < end() && !this.#stopped.signal.aborted) {
      this.#state = 'forwarding';
      next = await this.#submit(client, lane, next, source.read(lane, next));
      this.#next.set(lane, next);
      marks.raise(lane, next);
      worked();
    }
  }

  async #submit(
    client: QuartermasterClient,
    lane: LogName['lane'],
    first: number,
    entries: readonly ForwardedEntry[],
  ): Promise<number> {
    const { origin } = this.#parts;
    const request = { origin, lane, first: BigInt(first), entries: [...entries] };
    const answer = await this.#ask('submitting', (options) => client.submit(request, options));
    const next = first + entries.length;
    if (answer.next !== BigInt(next))
      throw garbage(`${answer.next} is expected next after ${entries.length} entries from ${first} on`);
    return next;
  }

  /** Where Quartermaster stands; and the last entry that it holds must be ours, or one of the two logs is not this one. */
  async #rejoin(client: QuartermasterClient, lane: LogName['lane']): Promise<number> {
    const next = await this.#askPosition(client, lane);
    if (next > 0) await this.#submit(client, lane, next - 1, this.#parts.source.read(lane, next - 1).slice(0, 1));
    this.#next.set(lane, next);
    return next;
  }

  async #askPosition(client: QuartermasterClient, lane: LogName['lane']): Promise<number> {
    const { origin, source, marks, log } = this.#parts;
    const answer = await this.#ask('asking what is held', (options) => client.getPosition({ origin, lane }, options));
    const end = source.end(lane);
    if (end === undefined) throw new ShellstreamError('EVIDENCE_FAILED', 'the spool is not open');
    if (answer.next > BigInt(end)) {
      throw new ShellstreamError(
        'EVIDENCE_FORK',
        `Quartermaster holds ${answer.next} entries of ${origin}, and here are ${end}`,
      );
    }
    const next = Number(answer.next);
    const acknowledged = marks.acknowledged(lane);
    if (next < acknowledged) {
      this.#forgotten += 1;
      log.error('Quartermaster lost evidence that it had acknowledged: it is sent again', {
        lane,
        acknowledged,
        held: next,
      });
      marks.lower(lane, next);
    }
    return next;
  }

  async #ask<T>(what: string, call: (options: { readonly signal: AbortSignal }) => Promise<T>): Promise<T> {
    const late = new AbortController();
    const timer = this.#parts.clock.after(ANSWER_MS, () => late.abort());
    try {
      return await call({ signal: AbortSignal.any([late.signal, this.#stopped.signal]) });
    } catch (error) {
      // Whatever it was, what is held is asked anew.
      this.#next.clear();
      if (late.signal.aborted) throw new ShellstreamError('CONNECTION_LOST', `${what}: no answer in time`);
      throw fromConnectError(error, what);
    } finally {
      timer.cancel();
    }
  }
}

const LANES = [Lane.LOG, Lane.LEFT_OUT] as const;
const HOPELESS: ReadonlySet<Reason> = new Set<Reason>([
  'EVIDENCE_FORK',
  'WRONG_IDENTITY',
  'MALFORMED',
  'CAPABILITY_NOT_GRANTED',
]);
const LINGER_MS = 250;
const SAVE_MS = 10_000;
const HEARTBEAT_MS = 60_000;
const ANSWER_MS = 30_000;
const FIRST_DELAY_MS = 250;
const LONGEST_DELAY_MS = 300_000;
/** So many failures in a row and the delay is the longest. */
const SLOW = 11;

function backoff(failures: number, random: () => number): number {
  const whole = Math.min(FIRST_DELAY_MS * 2 ** Math.min(failures, SLOW), LONGEST_DELAY_MS);
  return whole * (0.5 + random() / 2);
}

function garbage(what: string): ShellstreamError {
  return new ShellstreamError('MALFORMED', `Quartermaster’s answer makes no sense: ${what}`);
}
