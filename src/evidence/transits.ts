/**
 * Session transits: the intent before anything of a session stands, the outcome when nothing of it is left. A session that
 * attests again goes on with the transit that it began with.
 */
import type { MessageInitShape } from '@bufbuild/protobuf';
import type { Tier } from '../../protocol/capability/model.ts';
import { sessionIdBytes } from '../../protocol/evidence/index.ts';
import {
  CountedBy,
  Phase,
  type SessionTransitArtifact,
  type SessionTransitArtifactSchema,
  Tier as WireTier,
} from '../../protocol/gen/shellstream/evidence/v1/evidence_pb.ts';
import type { Role } from '../../protocol/handshake/index.ts';
import { REASONS, type Reason } from '../../protocol/reasons.ts';
import { capabilitiesToWire, modeToWire, sessionTypeToWire, targetToWire } from '../../protocol/wire/convert.ts';
import type { Clock } from '../base/clock.ts';
import type { Logger } from '../base/logger.ts';
import type { FlowTable } from '../dataplane/ports.ts';
import type { Standing } from '../enforcer/directory.ts';
import type { Member } from '../enforcer/member.ts';
import type { Admission, SessionId } from '../enforcer/ports.ts';
import { NO_STREAMS, type StreamsAtEnd } from '../enforcer/stream-totals.ts';
import type { AnnouncedTransit, EndingTransit, TransitEvidence } from '../enforcer/transit-evidence.ts';
import { EndsInTurn, type Holds } from './ends-in-turn.ts';
import type { Moment, Recorded, Recording } from './recorder.ts';

export interface TransitParts {
  readonly record: (body: Recording, at?: Moment) => Promise<Recorded>;
  readonly moment: () => Moment;
  readonly flows: Pick<FlowTable, 'counters'>;
  readonly accordHash: Uint8Array;
  /** Our own SPIFFE ID. */
  readonly self: () => string;
  readonly log: Logger;
  readonly clock: Pick<Clock, 'monotonic' | 'after'>;
  readonly holds: Holds;
}

/** Announced and not over. */
interface OpenTransit {
  /** Of its intent, among all transits of the log. */
  readonly number: number | undefined;
  /** Absent for a session of a former run. */
  readonly admission?: Admission;
  /** Our SPIFFE ID, as its intent has it; absent for one of this run. */
  readonly self?: string;
  /** It is about to be gone, or is: see `leaving`. */
  isEnding?: boolean;
}

type Transit = Exclude<MessageInitShape<typeof SessionTransitArtifactSchema>, SessionTransitArtifact>;

type Counted = NonNullable<Transit['counters']>[number];

/** Told when all of it is known. Ten thousand wait at once, so what can be made of it then is not made before. */
interface Ended {
  readonly standing: Standing;
  readonly reason: Reason;
  readonly byPeer: boolean;
  /** Its last word may come seconds later, at another level. */
  readonly at: Moment;
  streams: StreamsAtEnd | undefined;
  kernels: readonly Counted[] | undefined;
  isGone: boolean;
}

export class Transits implements TransitEvidence {
  readonly #parts: TransitParts;
  readonly #open = new Map<SessionId, OpenTransit>();
  /** Ended, and something of it may still be there. */
  readonly #leaving = new Set<Ended>();
  /** Gone, and of which something is not known yet. */
  readonly #unknown = new Set<Ended>();
  #allKnown: PromiseWithResolvers<void> | undefined;
  readonly #turns: EndsInTurn<() => void>;

  constructor(parts: TransitParts) {
    this.#parts = parts;
    this.#turns = new EndsInTurn(parts.clock, (tell) => tell(), parts.holds);
  }

  /** Sessions of this run that are announced and did not end, whether they stand already or not. */
  get announced(): readonly Admission[] {
    return [...this.#open.values()].flatMap(({ admission, isEnding }) => (isEnding ? [] : (admission ?? [])));
  }

  /** Sessions that ended, and of which something may still be there. */
  get leaving(): readonly Standing[] {
    return [...this.#leaving].map(({ standing }) => standing);
  }

  /** Whether its outcome is to come. */
  isOpen(session: SessionId): boolean {
    return this.#open.has(session);
  }

  /** A session of a former run that goes on; `number` is that of its transit, `self` our own SPIFFE ID in it. */
  resume(session: SessionId, number: number | undefined, self: string): void {
    this.#open.set(session, { number, self });
  }

  async announce(admission: Admission, role: Role): Promise<AnnouncedTransit> {
    const { id } = admission;
    const facts = this.#facts(admission, role, this.#parts.self());
    this.#open.set(id, { number: undefined, admission });
    try {
      const value = { ...facts, phase: Phase.INTENT };
      const { transit } = await this.#parts.record({ case: 'sessionTransit', value });
      this.#open.set(id, { number: transit, admission });
    } catch (error) {
      this.#open.delete(id);
      throw error;
    }
    return {
      failed: (reason) => {
        const at = this.#parts.moment();
        this.#markEnding(id);
        this.#turns.take(() => this.#tell(id, facts, reason, {}, at));
      },
    };
  }

  ending(standing: Standing, reason: Reason, byPeer: boolean): EndingTransit {
    const { admission, member } = standing;
    const kernels = member === undefined ? NO_COUNTERS : undefined;
    const at = this.#parts.moment();
    this.#markEnding(admission.id);
    const end: Ended = { standing, reason, byPeer, at, streams: undefined, kernels, isGone: false };
    this.#leaving.add(end);
    if (member !== undefined) void this.#readKernel(end, admission.id, member);
    return {
      counted: (streams) => {
        end.streams = streams;
        this.#take(end);
      },
      gone: () => {
        end.isGone = true;
        this.#leaving.delete(end);
        this.#unknown.add(end);
        this.#take(end);
      },
    };
  }

  /** Every end so far was handed on to be recorded, and from here on each is at once: the node stops. */
  async settled(): Promise<void> {
    while (this.#unknown.size > 0) {
      this.#allKnown ??= Promise.withResolvers();
      await this.#allKnown.promise;
    }
    this.#turns.close();
  }

  #markEnding(id: SessionId): void {
    const open = this.#open.get(id);
    if (open !== undefined) open.isEnding = true;
  }

  #take(end: Ended): void {
    if (!end.isGone || end.streams === undefined || end.kernels === undefined) return;
    this.#unknown.delete(end);
    this.#turns.take(() => this.#tellEnd(end));
    if (this.#unknown.size > 0) return;
    this.#allKnown?.resolve();
    this.#allKnown = undefined;
  }

  #tellEnd({ standing, reason, byPeer, at, streams = NOT_COUNTED, kernels = NO_COUNTERS }: Ended): void {
    const { admission, role, member } = standing;
    const { isComplete, frames, ...totals } = streams;
    // A tunnel without streams has no figure that only its terminator knows.
    const isNone = member !== undefined && totals.streams === 0;
    const told = { ...totals, countedBy: CountedBy.TERMINATOR, incomplete: !isComplete };
    const counters = [...kernels, ...(isNone ? [] : [told])];
    const passed = frames === undefined ? {} : { payloadHash: frames.payloadHash, frameHeaders: frames.headers };
    try {
      const self = this.#open.get(admission.id)?.self ?? this.#parts.self();
      const facts = this.#facts(admission, role, self);
      this.#tell(admission.id, facts, reason, { endedByPeer: byPeer, counters, ...passed }, at);
    } catch (error) {
      this.#untold(admission.id, reason, error);
    }
  }

  /** Asked for before the flows go, and their slot to another session. Never rejects. */
  async #readKernel(end: Ended, session: SessionId, { session: { sessionSlot } }: Member): Promise<void> {
    const { flows, log } = this.#parts;
    try {
      end.kernels = [{ ...(await flows.counters(sessionSlot)), countedBy: CountedBy.KERNEL }];
    } catch (error) {
      log.warn('the counters of a session cannot be read', { session, error });
      end.kernels = NO_COUNTERS;
    }
    this.#take(end);
  }

  #tell(id: SessionId, facts: Transit, reason: Reason, more: Transit, at?: Moment): void {
    const number = this.#open.get(id)?.number;
    const intent = number === undefined ? {} : { intent: BigInt(number) };
    const value = { ...facts, ...more, ...intent, phase: Phase.OUTCOME, endReason: REASONS[reason].code };
    this.#parts.record({ case: 'sessionTransit', value }, at).then(
      () => this.#open.delete(id),
      (error: unknown) => this.#untold(id, reason, error),
    );
  }

  /** Its intent stays open: when the spool is whole again a compensation says what is not known. */
  #untold(id: SessionId, reason: Reason, error: unknown): void {
    this.#open.delete(id);
    this.#parts.log.error('the end of a session is not recorded', { session: id, reason, error });
  }

  #facts(admission: Admission, role: Role, self: string): Transit {
    const { id, peer, offer, grant, offered = [], effectiveLevel, expiresAt } = admission;
    const [initiatorId, responderId] = role === 'initiator' ? [self, peer.spiffeId] : [peer.spiffeId, self];
    return {
      sessionId: sessionIdBytes(id),
      postureLevelAtTransit: effectiveLevel,
      accordHash: this.#parts.accordHash,
      initiatorId,
      responderId,
      tier: tierToWire(peer.tier),
      sessionType: sessionTypeToWire(offer.sessionType),
      mode: modeToWire(grant.mode),
      capabilities: capabilitiesToWire(grant.capabilities),
      targets: grant.targets.map(targetToWire),
      offered: offered.map(targetToWire),
      expiresAtMs: BigInt(Math.floor(expiresAt)),
    };
  }
}

const NO_COUNTERS: readonly Counted[] = [];
const NOT_COUNTED: StreamsAtEnd = { ...NO_STREAMS, isComplete: false };

export function tierToWire(tier: Tier | undefined): WireTier {
  return tier === undefined ? WireTier.UNSPECIFIED : TIER[tier];
}

const TIER: Readonly<Record<Tier, WireTier>> = {
  apprentice: WireTier.APPRENTICE,
  journeyman: WireTier.JOURNEYMAN,
  master: WireTier.MASTER,
  site_owner: WireTier.SITE_OWNER,
};
