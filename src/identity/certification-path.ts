import { ShellstreamError } from '../../protocol/errors.ts';
import type { Reason } from '../../protocol/reasons.ts';
import type { X509Bundle } from './bundles.ts';
import { type Certificate, sameBytes } from './certificate.ts';
import { violatesNameConstraints } from './name-constraints.ts';

/**
 * The chain with the authority that anchors it, after RFC 5280 §6: every link signed, every certificate within its
 * validity, path lengths and name constraints kept. The order is the sender's; no other order is searched for, since
 * path building is where verifiers differ and where attackers make them work.
 * @throws SVID_EXPIRED, SVID_UNTRUSTED
 */
export function certificationPath(
  chain: readonly [Certificate, ...Certificate[]],
  bundle: X509Bundle,
  now: number,
): readonly Certificate[] {
  for (const [at, certificate] of chain.entries())
    if (!isValidAt(certificate, now)) throw refused('SVID_EXPIRED', 'validity', at);

  // From the authority downwards: a key verifies nothing before it was vouched for itself. The other way round anybody
  // could make us work through a chain of large keys of his own.
  const last = chain.at(-1) ?? chain[0];
  const anchors = bundle.authorities.filter((one) => sameBytes(one.der, last.der) || issued(one, last));
  if (anchors.length === 0) throw refused('SVID_UNTRUSTED', 'issued-by-an-authority', chain.length - 1);
  const anchor = anchors.find((authority) => isValidAt(authority, now));
  if (anchor === undefined) throw refused('SVID_EXPIRED', 'authority-validity', chain.length);
  for (const [at, issuer] of [...chain.entries()].slice(1).reverse()) {
    const subject = chain[at - 1];
    if (subject === undefined || !issued(issuer, subject))
      throw refused('SVID_UNTRUSTED', 'issued-by-the-next', at - 1);
  }

  const path = sameBytes(anchor.der, last.der) ? chain : [...chain, anchor];
  for (const [at, { extensions }] of path.entries()) {
    const below = path.slice(0, at);
    const intermediates = Math.max(at - 1, 0);
    if (intermediates > (extensions.basicConstraints?.pathLength ?? intermediates))
      throw refused('SVID_UNTRUSTED', 'path-length', at);
    const constraints = extensions.nameConstraints;
    if (constraints !== undefined && below.some((c) => violatesNameConstraints(c.extensions.names, constraints)))
      throw refused('SVID_UNTRUSTED', 'name-constraints', at);
  }
  return path;
}

/** Both inclusive (RFC 5280 §4.1.2.5). */
function isValidAt(certificate: Certificate, now: number): boolean {
  return certificate.notBefore <= now && now <= certificate.notAfter;
}

/** The signature comes last: it is what costs. */
function issued(issuer: Certificate, subject: Certificate): boolean {
  const { basicConstraints, keyUsage, unknownCritical } = issuer.extensions;
  return (
    sameBytes(issuer.subject, subject.issuer) &&
    basicConstraints?.ca === true &&
    (keyUsage === undefined || keyUsage.has('keyCertSign')) &&
    unknownCritical.length === 0 &&
    subject.isSignedBy(issuer.publicKey)
  );
}

function refused(reason: Reason, rule: string, position: number): ShellstreamError {
  return new ShellstreamError(reason, `rule ${rule}, certificate ${position}`, { fields: { rule, position } });
}
