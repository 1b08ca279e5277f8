/** How evidence stands, on the control socket's wire, there and back. */
import type { MessageInitShape } from '@bufbuild/protobuf';
import { ShellstreamError } from '../../../protocol/errors.ts';
import type { Evidence, EvidenceSchema } from '../../../protocol/gen/shellstream/control/v1/control_pb.ts';
import { EVIDENCE_STATES, type EvidenceView } from '../evidence-desk.ts';

export function encodeEvidence(evidence: EvidenceView): MessageInitShape<typeof EvidenceSchema> {
  const { entries, published, leftOut, usedBytes, budgetBytes, verifierKeys, witnesses, firstEntry, ...rest } =
    evidence;
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
  };
}

export function decodeEvidence(evidence: Evidence): EvidenceView {
  const { state, detail, origin, verifierKeys, openIntents, isReserveHeld, quorum } = evidence;
  const known = EVIDENCE_STATES.find((word) => word === state);
  if (known === undefined) throw new ShellstreamError('MALFORMED', 'evidence in a state that is not known');
  return {
    state: known,
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
    witnesses: evidence.witnesses.map(({ name, size, problem }) => ({
      name,
      size: size === undefined ? undefined : Number(size),
      problem,
    })),
  };
}
