/**
 * After a crash: intents without an outcome. Kernel state is in no transaction with the spool, so nobody knows whether the
 * kernel was touched; the enforcer removes whatever carries our mark and no live session, and then each such intent gets a
 * record that says so.
 */
import { ShellstreamError } from '../../protocol/errors.ts';
import { parseArtifact } from '../../protocol/evidence/index.ts';
import { type Artifact, Phase } from '../../protocol/gen/shellstream/evidence/v1/evidence_pb.ts';
import { REASONS, type Reason } from '../../protocol/reasons.ts';
import type { Recorder, Recording } from './recorder.ts';
import type { OpenIntent, SpoolReader } from './spool-reader.ts';

/** An intent that a crash left undecided, as its record has it. */
export interface UndecidedIntent {
  readonly intent: OpenIntent;
  readonly body: Artifact['body'];
}

/** @throws ShellstreamError EVIDENCE_FAILED when an open intent has no record: the spool was changed. */
export function undecidedIntents(reader: SpoolReader): UndecidedIntent[] {
  return reader.openIntents().map((intent) => {
    const [row] =
      intent.in === 'log' ? reader.entries(intent.at, intent.at + 1) : reader.leftOut(intent.at, intent.at + 1);
    if (row?.opening === undefined) {
      throw new ShellstreamError(
        'EVIDENCE_FAILED',
        `the record of the open intent ${intent.in} ${intent.at} is missing`,
      );
    }
    return { intent, body: parseArtifact(row.opening.record).body };
  });
}

/**
 * Call when the kernel holds nothing of theirs any more. Returns how many there were. @param isLive of what they are about
 * something still stands, and its outcome is to come
 */
export async function compensate(
  recorder: Recorder,
  reader: SpoolReader,
  reason: Reason,
  isLive: (intent: OpenIntent) => boolean = () => false,
): Promise<number> {
  const undecided = undecidedIntents(reader).filter(({ intent }) => !isLive(intent));
  if (undecided.length === 0) return 0;
  const { code } = REASONS[reason];
  await recorder.recordAll(undecided.map(({ intent, body }) => compensation(intent, body, code)));
  return undecided.length;
}

function compensation({ at }: OpenIntent, body: Artifact['body'], code: number): Recording {
  switch (body.case) {
    case 'sessionTransit': {
      const intent = body.value.transit ?? 0n;
      return { case: 'sessionTransit', value: { ...body.value, phase: Phase.COMPENSATION, intent, endReason: code } };
    }
    case 'networkMutation': {
      return {
        case: 'networkMutation',
        value: { ...body.value, phase: Phase.COMPENSATION, intent: BigInt(at), reason: code },
      };
    }
    default:
      throw new ShellstreamError('EVIDENCE_FAILED', `an open intent of kind ${body.case}`);
  }
}
