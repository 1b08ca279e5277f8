/**
 * What the rest of the daemon records with. Artifacts of one moment share one transaction (group commit); at posture 2 and
 * below each has its own, and is anchored by a signed checkpoint before its promise is kept. Which session transits are
 * notarised and which are left out is the sampling key's choice, not ours.
 *
 * The order for whoever calls: `await record(intent)`, then touch the kernel, then `record(outcome)`.
 */

import { assertNever, reasonOf, ShellstreamError } from '../../protocol/errors.ts';
import { type ArtifactInit, type ArtifactKind, encodeArtifact, isSampled } from '../../protocol/evidence/index.ts';
import { Phase } from '../../protocol/gen/shellstream/evidence/v1/evidence_pb.ts';
import type { CryptoProvider } from '../../protocol/noise/crypto.ts';
import type { PostureLevel } from '../../protocol/posture/level.ts';
import { Backwards } from '../../protocol/wire/backwards.ts';
import type { Clock, Timer } from '../base/clock.ts';
import { SamplingDays } from './sampling-days.ts';
import type { Spool } from './spool.ts';
import type { IntentMark, Place, SpoolItem } from './spool-items.ts';

export interface RecorderParts {
  readonly spool: Spool;
  readonly clock: Clock;
  readonly crypto: Pick<CryptoProvider, 'sha256' | 'hmacSha256' | 'randomBytes'>;
  /** The accord's row P5 for a level. */
  readonly notarisation: (level: PostureLevel) => Notarisation;
  /** For every artifact's head. */
  readonly posture: () => Posture;
  /** After something became durable: the time to publish, forward, and tell witnesses. Must not throw. */
  readonly onDurable: () => void;
  /** The spool takes nothing any more, whoever asked for it: the time to open it again. Must not throw. */
  readonly onFailed?: (error: unknown) => void;
  readonly limits?: Partial<RecorderLimits>;
}

export interface Notarisation {
  readonly transitPercent: number;
  readonly anchoring: 'batched' | 'at-once' | 'per-record';
}

export interface RecorderLimits {
  /** How long the first artifact of a batch waits for others. */
  readonly batchMs: number;
  /** The same for the ends of sessions. */
  readonly endsMs: number;
  /** Artifacts that wait for one commit; then it is made at once. */
  readonly batchArtifacts: number;
  /** How long left-out records wait for a batch root, at the most. */
  readonly leftOutBatchMs: number;
}

/** What is to be recorded: the body alone; time, level, epoch and transit number are put in here. */
export type Recording = NonNullable<ArtifactInit['body']>;

/** Where it is; of a session transit its number too. */
export interface Recorded extends Place {
  readonly transit?: number;
}

/** The last of several that are one, made from the SHA-256 of each record before it. */
export type Seal = (recordHashes: readonly Uint8Array[]) => Recording;

/** The effective level and its epoch. */
interface Posture {
  readonly level: PostureLevel;
  readonly epoch: bigint;
}

/** When something was, and at which posture. */
export interface Moment {
  /** Wall time, milliseconds. */
  readonly atMs: number;
  readonly posture: Posture;
}

interface Waiting {
  readonly body: Recording;
  readonly seal?: Seal;
  readonly atMs: number;
  /** Absent: that of the commit. */
  readonly posture?: Posture;
  readonly keep: (recorded: Recorded) => void;
  readonly refuse: (error: unknown) => void;
}

export class Recorder {
  readonly #parts: RecorderParts;
  readonly #limits: RecorderLimits;
  readonly #days: SamplingDays;
  /** Where records stand until they are durable. */
  readonly #encoded = new Backwards();
  #waiting: Waiting[] = [];
  #timer: Timer | undefined;
  #endsTimer: Timer | undefined;
  #leftOutTimer: Timer | undefined;

  /** Commits to the sampling keys of today and tomorrow if that was not done: nothing is recorded before. */
  constructor(parts: RecorderParts) {
    this.#parts = parts;
    this.#limits = { ...DEFAULT_LIMITS, ...parts.limits };
    this.#days = new SamplingDays(parts.spool, parts.crypto);
    this.#days.turnTo(parts.clock.now());
  }

  /**
   * Resolves when it is durable. @throws ShellstreamError EVIDENCE_FULL or EVIDENCE_FAILED: what it was to precede must then
   * not be done. @param at of what is over for a while; absent: now
   */
  record(body: Recording, at?: Moment): Promise<Recorded> {
    return new Promise((keep, refuse) => {
      const { atMs, posture } = at ?? momentOf(this.#parts);
      const waiting: Waiting = { body, atMs, keep, refuse, ...(at === undefined ? {} : { posture }) };
      if (this.#parts.notarisation(posture.level).anchoring !== 'batched') {
        this.flush();
        this.#commit([waiting]);
        return;
      }
      this.#waiting.push(waiting);
      if (this.#waiting.length >= this.#limits.batchArtifacts) this.flush();
      else this.#waitFor(body);
    });
  }

  /**
   * Several that are one: all durable or none, in this order, next to each other in the log. `seal` adds a last one that
   * vouches for the others.
   */
  recordAll(bodies: readonly Recording[], seal?: Seal): Promise<Place[]> {
    this.flush();
    const atMs = this.#parts.clock.now();
    const all: { readonly body: Recording; readonly seal?: Seal }[] = bodies.map((body) => ({ body }));
    if (seal !== undefined) all.push({ body: seal([]), seal });
    const places = all.map((one) => {
      return new Promise<Place>((keep, refuse) => this.#waiting.push({ ...one, atMs, keep, refuse }));
    });
    const together = Promise.all(places);
    this.flush();
    return together;
  }

  /** An end waits longer than an intent, and goes along with the next one: nobody waits for it, and a crash finds its intent. */
  #waitFor(body: Recording): void {
    const { clock } = this.#parts;
    const { batchMs, endsMs } = this.#limits;
    if (isEnd(body)) this.#endsTimer ??= clock.after(endsMs, () => this.flush());
    else this.#timer ??= clock.after(batchMs, () => this.flush());
  }

  /** Commits what waits to go together. */
  flush(): void {
    this.#timer?.cancel();
    this.#timer = undefined;
    this.#endsTimer?.cancel();
    this.#endsTimer = undefined;
    if (this.#waiting.length === 0) return;
    const batch = this.#waiting;
    this.#waiting = [];
    this.#commit(batch);
  }

  /** Puts left-out records under a batch root now; reveals the keys of days that are over. */
  closeBatches(): void {
    this.#leftOutTimer?.cancel();
    this.#leftOutTimer = undefined;
    this.#days.closeBatches();
    this.#days.turnTo(this.#parts.clock.now());
    this.#parts.onDurable();
  }

  close(): void {
    this.flush();
    this.#leftOutTimer?.cancel();
    this.#leftOutTimer = undefined;
  }

  #commit(batch: readonly Waiting[]): void {
    try {
      this.#days.turnTo(this.#parts.clock.now());
      this.#append(batch, false);
    } catch (error) {
      this.#commitInReserve(batch, error);
    }
    this.#parts.onDurable();
  }

  /** What may be refused is; what may not has the reserve. */
  #commitInReserve(batch: readonly Waiting[], error: unknown): void {
    const isFull = reasonOf(error) === 'EVIDENCE_FULL';
    if (!isFull) this.#parts.onFailed?.(error);
    const kept = batch.filter(({ body }) => isFull && mayUseReserve(body));
    for (const waiting of batch) if (!kept.includes(waiting)) waiting.refuse(error);
    if (kept.length === 0) return;
    try {
      this.#append(kept, true);
    } catch (again) {
      if (reasonOf(again) !== 'EVIDENCE_FULL') this.#parts.onFailed?.(again);
      for (const { refuse } of kept) refuse(again);
    }
  }

  #append(batch: readonly Waiting[], inReserve: boolean): void {
    const { spool } = this.#parts;
    let { transit } = spool.counters;
    const first = transit;
    const items: SpoolItem[] = [];
    for (const { body, atMs, seal, posture = this.#parts.posture() } of batch) {
      items.push(this.#item(seal === undefined ? body : seal(this.#hashesOf(items)), atMs, transit, posture));
      if (body.case === 'sessionTransit') transit += 1;
    }
    const places = spool.append(items, { transit }, inReserve);
    transit = first;
    for (const [i, { keep, body }] of batch.entries()) {
      const place = places[i] ?? NOWHERE;
      if (body.case !== 'sessionTransit') keep(place);
      else keep({ in: place.in, at: place.at, transit: transit++ });
    }
    if (items.some(({ to }) => to === 'left-out')) this.#waitForBatch();
  }

  #hashesOf(items: readonly SpoolItem[]): Uint8Array[] {
    return items.flatMap((item) => (item.to === 'public' ? [] : [this.#parts.crypto.sha256(item.record)]));
  }

  #waitForBatch(): void {
    this.#leftOutTimer ??= this.#parts.clock.after(this.#limits.leftOutBatchMs, () => this.#closeBatchesInTime());
  }

  #closeBatchesInTime(): void {
    try {
      this.closeBatches();
    } catch (error) {
      this.#parts.onFailed?.(error);
    }
  }

  #item(body: Recording, atMs: number, transit: number, { level, epoch }: Posture): SpoolItem {
    const intent = intentOf(body);
    if (body.case !== 'sessionTransit') {
      const record = this.#encode(body, atMs, level, epoch);
      return { to: 'log', record, kind: KIND[kindOf(body)], level: undefined, intent };
    }
    const { postureLevelAtTransit = level, sessionId = NO_BYTES } = body.value;
    const value = { ...body.value, transit: BigInt(transit), postureLevelAtTransit };
    const record = this.#encode({ case: 'sessionTransit', value }, atMs, level, epoch);
    // The stricter of the two: what began at 5 and ends at 3 is evidence of 3.
    const strict = Math.min(level, postureLevelAtTransit);
    const { transitPercent } = this.#parts.notarisation(toLevel(strict));
    if (isSampled(this.#parts.crypto.hmacSha256, this.#days.today.key, sessionId, transitPercent)) {
      return { to: 'log', record, kind: KIND.sessionTransit, level: postureLevelAtTransit, intent };
    }
    return { to: 'left-out', record, day: this.#days.today.day, level: postureLevelAtTransit, intent };
  }

  #encode(body: Recording, atMs: number, postureLevel: number, postureEpoch: bigint): Uint8Array {
    return encodeArtifact({ atMs: BigInt(atMs), postureLevel, postureEpoch, body }, this.#encoded);
  }
}

export function momentOf({ clock, posture }: Pick<RecorderParts, 'clock' | 'posture'>): Moment {
  // What says the posture says another one later.
  const { level, epoch } = posture();
  return { atMs: clock.now(), posture: { level, epoch } };
}

/** Numbers of the kinds in the spool; 0 is a public entry. */
export const KIND: Readonly<Record<ArtifactKind, number>> = {
  sessionTransit: 1,
  networkMutation: 2,
  postureChange: 3,
  forensicSnapshot: 4,
  snapshotPart: 5,
  consoleUse: 6,
  enforcementReceipt: 7,
  holdChange: 8,
  revocation: 9,
};

const DEFAULT_LIMITS: RecorderLimits = { batchMs: 1, endsMs: 1, batchArtifacts: 512, leftOutBatchMs: 60_000 };
const NO_BYTES = new Uint8Array(0);
const NOWHERE: Place = { in: 'log', at: -1 };

function kindOf({ case: kind }: Recording): ArtifactKind {
  if (kind === undefined) throw new ShellstreamError('INTERNAL', 'an artifact without a body');
  return kind;
}

/** The console never waits for room, and neither does what posture does to the node. */
function mayUseReserve(body: Recording): boolean {
  switch (body.case) {
    case 'consoleUse':
      // Whoever may only look must not use up the room of who gives orders.
      return body.value.look !== true;
    case 'postureChange':
    case 'forensicSnapshot':
    case 'snapshotPart':
    case 'enforcementReceipt':
    case 'holdChange':
    case 'revocation':
      return true;
    case 'sessionTransit':
    case 'networkMutation':
      // What has been done already must be told; what has not, need not be done.
      return body.value.phase !== Phase.INTENT;
    case undefined:
      return false;
    default:
      return assertNever(body);
  }
}

function isEnd(body: Recording): boolean {
  return body.case === 'sessionTransit' && body.value.phase === Phase.OUTCOME;
}

function intentOf(body: Recording): IntentMark | undefined {
  if (body.case !== 'sessionTransit' && body.case !== 'networkMutation') return undefined;
  const { phase } = body.value;
  const id = body.case === 'sessionTransit' ? body.value.sessionId : body.value.mutationId;
  if (id === undefined || phase === undefined) return undefined;
  return { kind: KIND[body.case], id, opens: phase === Phase.INTENT };
}

function toLevel(value: number): PostureLevel {
  switch (value) {
    case 5:
    case 4:
    case 3:
    case 2:
      return value;
    default:
      return 1;
  }
}
