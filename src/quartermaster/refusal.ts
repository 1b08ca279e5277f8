/** Refusals on their way over gRPC and back: the status for everybody's client, the reason itself as a detail for ours. */
import { Code, ConnectError } from '@connectrpc/connect';
import { ShellstreamError } from '../../protocol/errors.ts';
import { RefusalSchema } from '../../protocol/gen/shellstream/quartermaster/v1/quartermaster_pb.ts';
import { type Fault, REASONS, type Reason, reasonFromWire } from '../../protocol/reasons.ts';

/** What is not ours tells nothing of itself. */
export function toConnectError(error: unknown): ConnectError {
  if (error instanceof ConnectError) return error;
  if (!(error instanceof ShellstreamError)) return new ConnectError('a fault of this side', Code.Internal);
  const { expected } = error.fields;
  const value = {
    reason: REASONS[error.reason].code,
    ...(typeof expected === 'number' ? { expected: BigInt(expected) } : {}),
  };
  const code = CODE_OF_REASON[error.reason] ?? CODE_OF_FAULT[error.fault];
  return new ConnectError(error.message.slice(0, LONGEST_TEXT), code, undefined, [{ desc: RefusalSchema, value }]);
}

/** @param what was asked, for an error without a reason of Quartermaster's. */
export function fromConnectError(error: unknown, what: string): ShellstreamError {
  if (error instanceof ShellstreamError) return error;
  const refused = ConnectError.from(error);
  const [refusal] = refused.findDetails(RefusalSchema);
  if (refusal === undefined)
    return new ShellstreamError('CONNECTION_LOST', `${what}: ${refused.message}`, { cause: error });
  const expected = refusal.expected === undefined ? {} : { fields: { expected: Number(refusal.expected) } };
  return new ShellstreamError(reasonFromWire(refusal.reason), refused.rawMessage.replace(/^[A-Z_]+: /, ''), {
    cause: error,
    ...expected,
  });
}

const LONGEST_TEXT = 1_024;

const CODE_OF_FAULT: Readonly<Record<Fault, Code>> = {
  PEER_MISBEHAVED: Code.FailedPrecondition,
  PEER_INCOMPATIBLE: Code.Unimplemented,
  INVALID_MESSAGE: Code.InvalidArgument,
  POLICY_DENIED: Code.PermissionDenied,
  UNAVAILABLE: Code.Unavailable,
  INTERNAL: Code.Internal,
  NONE: Code.Aborted,
};

const CODE_OF_REASON: Readonly<Partial<Record<Reason, Code>>> = {
  NOT_AUTHENTICATED: Code.Unauthenticated,
  WRONG_IDENTITY: Code.PermissionDenied,
  REQUEST_TOKEN_INVALID: Code.PermissionDenied,
  REQUEST_TOKEN_EXPIRED: Code.PermissionDenied,
  REQUEST_TOKEN_SPENT: Code.PermissionDenied,
  EVIDENCE_FORK: Code.AlreadyExists,
  EVIDENCE_FULL: Code.ResourceExhausted,
  OVERLOADED: Code.ResourceExhausted,
};
