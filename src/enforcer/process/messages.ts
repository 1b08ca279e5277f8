/**
 * The messages of shellstream.enforcer.v1 as bytes. What comes from a terminator is parsed like a stranger's: closed
 * schema, every length bounded, every word from its closed list.
 */
import type { MessageInitShape } from '@bufbuild/protobuf';
import { reasonOf, ShellstreamError } from '../../../protocol/errors.ts';
import {
  type Failed,
  type ToEnforcer,
  ToEnforcerSchema,
  type ToTerminator,
  ToTerminatorSchema,
} from '../../../protocol/gen/shellstream/enforcer/v1/enforcer_pb.ts';
import { REASONS, type Reason, reasonFromWire } from '../../../protocol/reasons.ts';
import { parseExact } from '../../../protocol/wire/parse.ts';
import { writeMessage } from '../../../protocol/wire/write.ts';

/** A body that is set: the generated union has an empty member besides. */
export type ToEnforcerBody = Extract<ToEnforcer['body'], { case: string }>;
export type ToTerminatorBody = Extract<ToTerminator['body'], { case: string }>;

export interface Message<Body> {
  /** Of a question or its answer; 0 for what is answered by nobody. */
  readonly id: number;
  readonly body: Body;
}

/** What is made of a body: its messages may be given as plain fields. */
export type ToEnforcerInit = NonNullable<MessageInitShape<typeof ToEnforcerSchema>['body']> & { case: string };
export type ToTerminatorInit = NonNullable<MessageInitShape<typeof ToTerminatorSchema>['body']> & { case: string };

/** Evidence at its largest, and what a question says besides. */
export const LARGEST_TO_ENFORCER = 66_560;
/** The site's accord goes over in one piece. */
export const LARGEST_TO_TERMINATOR = 1_048_576;

export function encodeToEnforcer(id: number, body: ToEnforcerInit): Uint8Array {
  return writeMessage(ToEnforcerSchema, { id, body });
}

export function encodeToTerminator(id: number, body: ToTerminatorInit): Uint8Array {
  return writeMessage(ToTerminatorSchema, { id, body });
}

/** @throws ShellstreamError MALFORMED */
export function decodeToEnforcer(bytes: Uint8Array): Message<ToEnforcerBody> {
  const { id, body } = parseExact(ToEnforcerSchema, bytes, LARGEST_TO_ENFORCER);
  if (body.case === undefined) throw new ShellstreamError('MALFORMED', 'a message that says nothing');
  return { id, body };
}

/** @throws ShellstreamError MALFORMED */
export function decodeToTerminator(bytes: Uint8Array): Message<ToTerminatorBody> {
  const { id, body } = parseExact(ToTerminatorSchema, bytes, LARGEST_TO_TERMINATOR);
  if (body.case === undefined) throw new ShellstreamError('MALFORMED', 'a message that says nothing');
  return { id, body };
}

const MAX_DETAIL = 512;

export function failed(
  error: unknown,
): MessageInitShape<typeof import('../../../protocol/gen/shellstream/enforcer/v1/enforcer_pb.ts').FailedSchema> {
  const detail = (error instanceof Error ? error.message : String(error)).slice(0, MAX_DETAIL);
  const byPeer = error instanceof ShellstreamError && error.fields.byPeer === true;
  return { reason: reasonCode(reasonOf(error)), detail, byPeer };
}

export function failure({ reason, detail, byPeer }: Failed): ShellstreamError {
  const known = reasonFromWire(reason);
  // The text names the reason already.
  const text = detail.slice(0, MAX_DETAIL).replace(`${known}: `, '');
  return new ShellstreamError(known, text, byPeer ? { fields: { byPeer } } : {});
}

/** The exact code, where the public wire has a coarser one. */
export function reasonCode(reason: Reason): number {
  return REASONS[reason].code;
}
