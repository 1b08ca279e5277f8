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
import type { Logger } from '../base/logger.ts';
import type { FlowTable } from '../dataplane/ports.ts';
import type { Standing } from '../enforcer/directory.ts';
import type { Admission, SessionId } from '../enforcer/ports.ts';
import type { StreamsAtEnd } from '../enforcer/stream-totals.ts';
import type { AnnouncedTransit, TransitEvidence } from '../enforcer/transit-evidence.ts';
import type { Moment, Recorded, Recording } from './recorder.ts';

export interface TransitParts {
  readonly record: (body: Recording, at?: Moment) => Promise<Recorded>;
  readonly moment: () => Moment;
  readonly flows: Pick<FlowTable, 'counters'>;
  readonly accordHash: Uint8Array;
  /** Our own SPIFFE ID. */
  readonly self: () => string;
  readonly log: Logger;
}

/** Announced and not over. */
interface OpenTransit {
  /** Of its intent, among all transits of the log. */
  readonly number: number | undefined;
  /** Absent for a session of a former run. */
  readonly admission?: Admission;
  /** Our SPIFFE ID, as its intent has it; absent for one of this run. */
  readonly self?: string;
}

type Transit = Exclude<MessageInitShape<typeof SessionTransitArtifactSchema>, SessionTransitArtifact>;

type Counted = NonNullable<Transit['counters']>[number];

export class Transits implements TransitEvidence {
  readonly #parts: TransitParts;
  readonly #open = new Map<SessionId, OpenTransit>();

  readonly #ends = new Set<Promise<void>>();

  constructor(parts: TransitParts) {
    this.#parts = parts;
  }

  /** Sessions of this run that are announced and not over, whether they stand already or not. */
  get announced(): readonly Admission[] {
    return [...this.#open.values()].flatMap(({ admission }) => admission ?? []);
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
    return { failed: (reason) => this.#tell(id, facts, reason, {}) };
  }

  ending(standing: Standing, reason: Reason, byPeer: boolean, streams: Promise<StreamsAtEnd>): () => void {
    const kernels = this.#kernelCounters(standing);
    // Its last word may come seconds later, at another level.
    const at = this.#parts.moment();
    return () => {
      const { id } = standing.admission;
      const end = this.#end(standing, { reason, endedByPeer: byPeer, at }, kernels, streams)
        .catch((error: unknown) => this.#untold(id, reason, error))
        .finally(() => this.#ends.delete(end));
      this.#ends.add(end);
    };
  }

  /** Every end so far was handed on to be recorded. */
  async settled(): Promise<void> {
    await Promise.all(this.#ends);
  }

  async #end(
    { admission, role, member }: Standing,
    { reason, endedByPeer, at }: { readonly reason: Reason; readonly endedByPeer: boolean; readonly at: Moment },
    kernels: Promise<Counted[]> | undefined,
    streams: Promise<StreamsAtEnd>,
  ): Promise<void> {
    const { isComplete, frames, ...totals } = await streams;
    // A tunnel without streams has no figure that only its terminator knows.
    const isNone = member !== undefined && totals.streams === 0;
    const told = { ...totals, countedBy: CountedBy.TERMINATOR, incomplete: !isComplete };
    const counters = [...((await kernels) ?? []), ...(isNone ? [] : [told])];
    const passed = frames === undefined ? {} : { payloadHash: frames.payloadHash, frameHeaders: frames.headers };
    const self = this.#open.get(admission.id)?.self ?? this.#parts.self();
    this.#tell(admission.id, this.#facts(admission, role, self), reason, { endedByPeer, counters, ...passed }, at);
  }

  /** Asked for before the flows go, and their slot to another session; of a session that has any. Never rejects. */
  #kernelCounters({ admission: { id }, member }: Standing): Promise<Counted[]> | undefined {
    if (member === undefined) return undefined;
    return this.#parts.flows.counters(member.session.sessionSlot).then(
      (counters): Counted[] => [{ ...counters, countedBy: CountedBy.KERNEL }],
      (error: unknown) => {
        this.#parts.log.warn('the counters of a session cannot be read', { session: id, error });
        return [];
      },
    );
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

export function tierToWire(tier: Tier | undefined): WireTier {
  return tier === undefined ? WireTier.UNSPECIFIED : TIER[tier];
}

const TIER: Readonly<Record<Tier, WireTier>> = {
  apprentice: WireTier.APPRENTICE,
  journeyman: WireTier.JOURNEYMAN,
  master: WireTier.MASTER,
  site_owner: WireTier.SITE_OWNER,
};
