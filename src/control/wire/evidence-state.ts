/** How evidence stands, on the control socket's wire, there and back. */
import type { MessageInitShape } from '@bufbuild/protobuf';
import type {
  Evidence,
  EvidenceSchema,
  Quartermaster,
  QuartermasterSchema,
} from '../../../protocol/gen/shellstream/control/v1/control_pb.ts';
import {
  EVIDENCE_STATES,
  type EvidenceView,
  FORWARDING_STATES,
  QUARTERMASTER_PLACES,
  type QuartermasterView,
} from '../evidence-desk.ts';
import { word } from './words.ts';

export function encodeEvidence(evidence: EvidenceView): MessageInitShape<typeof EvidenceSchema> {
  const {
    entries,
    published,
    leftOut,
    usedBytes,
    budgetBytes,
    verifierKeys,
    witnesses,
    firstEntry,
    quartermaster,
    ...rest
  } = evidence;
  return {
    ...rest,
    verifierKeys: [...verifierKeys],
    entries: BigInt(entries),
    published: BigInt(published),
    leftOut: BigInt(leftOut),
    usedBytes: BigInt(usedBytes),
    budgetBytes: BigInt(budgetBytes),
    firstEntry: BigInt(firstEntry),
    witnesses: witnesses.map(({ name, size, problem }) => ({
      name,
      size: size === undefined ? undefined : BigInt(size),
      problem,
    })),
    quartermaster: quartermaster && encodeQuartermaster(quartermaster),
  };
}

export function decodeEvidence(evidence: Evidence): EvidenceView {
  const { state, detail, origin, verifierKeys, openIntents, isReserveHeld, quorum, slowestCommitMs, retentionHeld } =
    evidence;
  return {
    state: word(EVIDENCE_STATES, state),
    detail,
    origin,
    verifierKeys,
    entries: Number(evidence.entries),
    published: Number(evidence.published),
    leftOut: Number(evidence.leftOut),
    openIntents,
    usedBytes: Number(evidence.usedBytes),
    budgetBytes: Number(evidence.budgetBytes),
    isReserveHeld,
    quorum,
    firstEntry: Number(evidence.firstEntry),
    slowestCommitMs,
    retentionHeld,
    quartermaster: evidence.quartermaster && decodeQuartermaster(evidence.quartermaster),
    witnesses: evidence.witnesses.map(({ name, size, problem }) => ({
      name,
      size: size === undefined ? undefined : Number(size),
      problem,
    })),
  };
}

function encodeQuartermaster(view: QuartermasterView): MessageInitShape<typeof QuartermasterSchema> {
  const { acknowledged, behind, behindBytes, awaySinceMs, ...rest } = view;
  return {
    ...rest,
    acknowledged: BigInt(acknowledged),
    behind: BigInt(behind),
    behindBytes: BigInt(behindBytes),
    awaySinceMs: awaySinceMs === undefined ? undefined : BigInt(Math.floor(awaySinceMs)),
  };
}

function decodeQuartermaster({ place, state, awaySinceMs, problem, forgotten, ...counts }: Quartermaster) {
  return {
    place: word(QUARTERMASTER_PLACES, place),
    state: word(FORWARDING_STATES, state),
    acknowledged: Number(counts.acknowledged),
    behind: Number(counts.behind),
    behindBytes: Number(counts.behindBytes),
    awaySinceMs: awaySinceMs === undefined ? undefined : Number(awaySinceMs),
    problem,
    forgotten,
  };
}
