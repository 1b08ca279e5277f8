import { createHash } from 'node:crypto';
import { ShellstreamError } from '../../protocol/errors.ts';
import { parseSpiffeId, pathOf, type SpiffeId, trustDomainOf } from '../../protocol/identity/spiffe-id.ts';
import type { Reason } from '../../protocol/reasons.ts';
import type { TrustBundles } from './bundles.ts';
import { type Certificate, type PublicKey, parseCertificate } from './certificate.ts';
import { certificationPath } from './certification-path.ts';

declare const verified: unique symbol;

/** An X.509-SVID whose chain was verified: only `verifySvid` makes one. */
export interface VerifiedSvid {
  readonly [verified]: true;
  readonly spiffeId: SpiffeId;
  readonly trustDomain: string;
  /** Milliseconds since the epoch: the last moment at which every certificate of the path is valid. */
  readonly expiresAt: number;
  readonly publicKey: PublicKey;
  /** SHA-256 of the chain as hex, see `hashChain`. */
  readonly chainHash: string;
  /** Milliseconds since the epoch: the first moment at which every certificate of the path is valid. */
  readonly notBefore: number;
}

/**
 * Verifies an X.509-SVID (SPIFFE X509-SVID specification §5, RFC 5280 §6).
 * @param chain DER, leaf first, each issued by the next; the last by an authority of the leaf's trust domain.
 * @param now milliseconds since the epoch.
 * @throws ShellstreamError SVID_MALFORMED, SVID_EXPIRED, SVID_UNTRUSTED or NO_BUNDLE, with the refusing rule and
 *   the certificate's position in its fields.
 */
export function verifySvid(chain: readonly Uint8Array[], bundles: TrustBundles, now: number): VerifiedSvid {
  const [first, ...rest] = chain;
  if (first === undefined || chain.length > MAX_CHAIN) throw refused('SVID_MALFORMED', 'chain-length', 0);
  const leaf = parseCertificate(first);
  const intermediates = rest.map(parseCertificate);
  const certificates: readonly [Certificate, ...Certificate[]] = [leaf, ...intermediates];

  for (const { rule, refuses } of EVERY_CERTIFICATE)
    for (const [at, certificate] of certificates.entries())
      if (refuses(certificate)) throw refused('SVID_MALFORMED', rule, at);
  for (const { rule, refuses } of LEAF) if (refuses(leaf)) throw refused('SVID_MALFORMED', rule, 0);
  for (const { rule, refuses } of SIGNING)
    for (const [at, certificate] of intermediates.entries())
      if (refuses(certificate)) throw refused('SVID_MALFORMED', rule, at + 1);

  const spiffeId = leafId(leaf);
  if (spiffeId === undefined) throw refused('SVID_MALFORMED', 'leaf-one-spiffe-id', 0);
  const trustDomain = trustDomainOf(spiffeId);
  const bundle = bundles.x509.get(trustDomain);
  if (bundle === undefined || bundle.authorities.length === 0) throw refused('NO_BUNDLE', 'bundle-at-hand', 0);
  const path = certificationPath(certificates, bundle, now);

  return {
    spiffeId,
    trustDomain,
    expiresAt: Math.min(...path.map((certificate) => certificate.notAfter)),
    notBefore: Math.max(...path.map((certificate) => certificate.notBefore)),
    publicKey: leaf.publicKey,
    chainHash: hashChain(chain),
  } as VerifiedSvid;
}

/** SHA-256 over each certificate with its length in front: no two chains share bytes. Hex. */
export function hashChain(chain: readonly Uint8Array[]): string {
  const hash = createHash('sha256');
  for (const der of chain) {
    const length = Buffer.alloc(4);
    length.writeUInt32BE(der.length);
    hash.update(length).update(der);
  }
  return hash.digest('hex');
}

const MAX_CHAIN = 8;
const SERVER_AUTH = '1.3.6.1.5.5.7.3.1';
const CLIENT_AUTH = '1.3.6.1.5.5.7.3.2';

interface Refusal {
  readonly rule: string;
  readonly refuses: (certificate: Certificate) => boolean;
}

const EVERY_CERTIFICATE: readonly Refusal[] = [
  { rule: 'critical-extensions-understood', refuses: (c) => c.extensions.unknownCritical.length > 0 },
  { rule: 'validity-order', refuses: (c) => c.notAfter < c.notBefore },
];

const LEAF: readonly Refusal[] = [
  { rule: 'leaf-one-spiffe-id', refuses: (c) => leafId(c) === undefined },
  { rule: 'leaf-is-no-authority', refuses: (c) => c.extensions.basicConstraints?.ca === true },
  { rule: 'leaf-digital-signature', refuses: (c) => c.extensions.keyUsage?.has('digitalSignature') !== true },
  { rule: 'leaf-no-cert-sign', refuses: (c) => c.extensions.keyUsage?.has('keyCertSign') === true },
  { rule: 'leaf-no-crl-sign', refuses: (c) => c.extensions.keyUsage?.has('cRLSign') === true },
  // Both roles of a handshake sign the same way, so either purpose does; a purpose of another kind alone does not.
  {
    rule: 'leaf-authentication-purpose',
    refuses: ({ extensions: { extendedKeyUsage: usage } }) =>
      usage !== undefined && !usage.includes(SERVER_AUTH) && !usage.includes(CLIENT_AUTH),
  },
  { rule: 'leaf-constrains-no-names', refuses: (c) => c.extensions.nameConstraints !== undefined },
];

const SIGNING: readonly Refusal[] = [
  { rule: 'intermediate-is-authority', refuses: (c) => c.extensions.basicConstraints?.ca !== true },
  { rule: 'intermediate-cert-sign', refuses: (c) => c.extensions.keyUsage?.has('keyCertSign') !== true },
  // A signing certificate may have a SPIFFE ID, but never one with a path (§4.2): else it could sign handshakes too.
  {
    rule: 'intermediate-no-workload-id',
    refuses: (c) => c.extensions.names.uris.some((uri) => uri.startsWith('spiffe://') && !isTrustDomainId(uri)),
  },
];

function leafId(leaf: Certificate): SpiffeId | undefined {
  const [uri, ...more] = leaf.extensions.names.uris;
  const id = uri === undefined || more.length > 0 ? undefined : parseSpiffeId(uri);
  return id === undefined || pathOf(id) === '' ? undefined : id;
}

function isTrustDomainId(uri: string): boolean {
  const id = parseSpiffeId(uri);
  return id !== undefined && pathOf(id) === '';
}

function refused(reason: Reason, rule: string, position: number): ShellstreamError {
  return new ShellstreamError(reason, `rule ${rule}, certificate ${position}`, { fields: { rule, position } });
}
