/** Enforcement receipts: signed with the SVID of the node, checked against the bundles that the reader trusts. */
import type { MessageInitShape } from '@bufbuild/protobuf';
import { ShellstreamError } from '../../protocol/errors.ts';
import { parseStatement, signedReceipt } from '../../protocol/evidence/index.ts';
import {
  type EnforcementReceipt,
  type EnforcementReceiptSchema,
  type EnforcementStatement,
  EnforcementStatementSchema,
} from '../../protocol/gen/shellstream/evidence/v1/evidence_pb.ts';
import { writeMessage } from '../../protocol/wire/write.ts';
import { parseCertificate } from '../identity/certificate.ts';
import { type TrustBundles, verifyEvidenceSignature, verifySvid, type X509Identity } from '../identity/index.ts';

export type SignedReceipt = Exclude<MessageInitShape<typeof EnforcementReceiptSchema>, EnforcementReceipt>;

export function signReceipt(
  { chain, sign }: Pick<X509Identity, 'chain' | 'sign'>,
  said: MessageInitShape<typeof EnforcementStatementSchema>,
): SignedReceipt {
  const statement = writeMessage(EnforcementStatementSchema, said);
  return { statement, signature: sign(signedReceipt(statement)), chain: [...chain] };
}

/**
 * The statement, if the node that it names signed it. The chain is judged at the time that the statement says: an SVID lives
 * for an hour, a receipt for years. @throws ShellstreamError MALFORMED, or a reason of range 2xx
 */
export function verifyReceipt(receipt: EnforcementReceipt, bundles: TrustBundles): EnforcementStatement {
  const statement = parseStatement(receipt);
  const svid = verifySvid(receipt.chain, bundles, Number(statement.atMs));
  verifyEvidenceSignature(svid, signedReceipt(receipt.statement), receipt.signature);
  if (svid.spiffeId !== statement.nodeId) {
    throw new ShellstreamError('WRONG_IDENTITY', `${svid.spiffeId} signed a receipt of ${statement.nodeId}`);
  }
  return statement;
}

/**
 * What a receipt says, and whether the key of the certificate that it carries signed it, for the node that the certificate
 * names. Whose certificate that is, only `verifyReceipt` can tell. @throws ShellstreamError MALFORMED
 */
export function readReceipt(receipt: EnforcementReceipt): {
  readonly statement: EnforcementStatement;
  readonly isSigned: boolean;
} {
  const statement = parseStatement(receipt);
  try {
    const leaf = parseCertificate(receipt.chain[0] ?? new Uint8Array());
    verifyEvidenceSignature(leaf, signedReceipt(receipt.statement), receipt.signature);
    return { statement, isSigned: leaf.extensions.names.uris.join() === statement.nodeId };
  } catch (error) {
    if (error instanceof ShellstreamError) return { statement, isSigned: false };
    throw error;
  }
}
