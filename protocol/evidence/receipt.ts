/**
 * Enforcement receipts: which level a node realised, when, and what it could not, signed with the key of its SVID. The log
 * says that the node said so then; the signature says it to who trusts the identity and not the log.
 */
import { ShellstreamError } from '../errors.ts';
import {
  type EnforcementReceipt,
  type EnforcementStatement,
  EnforcementStatementSchema,
} from '../gen/shellstream/evidence/v1/evidence_pb.ts';
import { isPostureLevel } from '../posture/level.ts';
import { parseExact } from '../wire/parse.ts';
import { concatBytes, utf8 } from './bytes.ts';

/** What is signed: no signature over it means anything in a handshake, or the other way round. */
export function signedReceipt(statement: Uint8Array): Uint8Array {
  return concatBytes([LABEL, statement]);
}

/** @throws ShellstreamError MALFORMED */
export function parseStatement({ statement }: Pick<EnforcementReceipt, 'statement'>): EnforcementStatement {
  const parsed = parseExact(EnforcementStatementSchema, statement, MAX_STATEMENT);
  const { nodeId, fromLevel, level, accordHash, notRealised } = parsed;
  const isFine =
    isPostureLevel(fromLevel) &&
    isPostureLevel(level) &&
    accordHash.length === 32 &&
    notRealised.length <= MAX_STEPS &&
    [nodeId, ...notRealised].every(({ length }) => length <= MAX_TEXT);
  if (!isFine) throw new ShellstreamError('MALFORMED', 'no statement of a receipt');
  return parsed;
}

const LABEL = utf8('shellstream/1 enforcement receipt\0');
const MAX_STATEMENT = 65_536;
const MAX_STEPS = 256;
const MAX_TEXT = 2_048;
