/**
 * Chains against a fixed authority at a fixed time. The first piece's lowest bit says whether every certificate is signed
 * anew by whoever should have: then what was changed is judged by the rules, not by the signature.
 */
import { X509Certificate } from 'node:crypto';
import { unknownCriticalExtension } from '../../certs-dev/hostile.ts';
import { verifySvid } from '../../src/identity/x509-svid.ts';
import { der } from '../formats/der.ts';
import { joined, pieces, sequenceOf } from '../formats/sequence.ts';
import { treeFormat } from '../formats/tree.ts';
import { attempt, holds, type OpenTarget } from '../target.ts';
import {
  authorityCertificate,
  authorityKey,
  bundles,
  DOMAIN,
  intermediate,
  intermediateKey,
  leaf,
  leafKey,
  lowerLeaf,
  NOW,
  publicKey,
  resigned,
} from './keys.ts';

export const open: OpenTarget = async () => {
  const chains = [
    [leaf(leafKey)],
    [lowerLeaf(), intermediate()],
    [leaf(leafKey), authorityCertificate],
    [leaf(leafKey, { uris: [`spiffe://${DOMAIN}/a`, `spiffe://${DOMAIN}/b`], dns: ['a.test'] })],
    [leaf(leafKey, { ca: true, extra: [unknownCriticalExtension()] })],
    [lowerLeaf(), intermediate({ pathLength: 0, uris: [] }), authorityCertificate],
  ];
  const genuine = new Set(chains.flat().map((one) => Buffer.from(one).toString('hex')));
  return {
    about: 'chains: only honest ones verify, also when every signature is right',
    covers: [
      'src/identity/x509-svid.ts',
      'src/identity/certification-path.ts',
      'src/identity/name-constraints.ts',
      'src/identity/certificate-extensions.ts',
    ],
    maxBytes: 12_000,
    format: treeFormat(sequenceOf(der)),
    dictionary: [
      'spiffe://',
      `spiffe://${DOMAIN}/x`,
      DOMAIN,
      Buffer.from('0603551d1e', 'hex'),
      Buffer.from('0101ff', 'hex'),
      '.test',
      'a.test',
    ],
    seeds: [0, 1].flatMap((flag) => chains.map((chain) => joined([Uint8Array.of(flag), ...chain]))),
    run(input) {
      const [flags, ...given] = pieces(input);
      const signsAnew = ((flags?.[0] ?? 0) & 1) === 1;
      const chain = signsAnew ? given.map((one, at) => resigned(one, keyFor(at, given.length)) ?? one) : given;
      const read = attempt({ reasons: ['SVID_MALFORMED', 'SVID_EXPIRED', 'SVID_UNTRUSTED', 'NO_BUNDLE'] }, () =>
        verifySvid(chain, bundles, NOW),
      );
      if ('refusal' in read) return `${signsAnew} ${read.refusal}`;
      const { spiffeId, trustDomain, notBefore, expiresAt } = read.value;
      if (!signsAnew) {
        holds(
          chain.every((one) => genuine.has(Buffer.from(one).toString('hex'))),
          'a changed certificate verifies',
        );
      }
      holds(
        trustDomain === DOMAIN && spiffeId.startsWith(`spiffe://${DOMAIN}/`),
        `${spiffeId} by the authority of ${DOMAIN}`,
      );
      holds(notBefore <= NOW && NOW <= expiresAt, 'outside its validity');
      const certificates = readElsewhere(chain);
      // OpenSSL also reads the text in names, which we only compare.
      if (certificates !== undefined) checkElsewhere(certificates, spiffeId);
      return `${signsAnew} verified ${chain.length}`;
    },
  };
};

/** The last is signed by the authority, unless it is the authority; the others by the intermediate. */
function keyFor(at: number, length: number) {
  return at === length - 1 || (length === 3 && at === 1) ? authorityKey : intermediateKey;
}

function readElsewhere(chain: readonly Uint8Array[]): readonly X509Certificate[] | undefined {
  try {
    return chain.map((one) => new X509Certificate(one));
  } catch {
    return undefined;
  }
}

function checkElsewhere(certificates: readonly X509Certificate[], spiffeId: string): void {
  const [first] = certificates;
  holds(first !== undefined && !first.ca, 'an authority as a leaf');
  const uris = (first.subjectAltName ?? '').split(', ').filter((name) => name.startsWith('URI:'));
  // Where a name of a form that we do not judge does not parse, OpenSSL reads none.
  if (first.subjectAltName !== undefined)
    holds(uris.length === 1 && uris[0] === `URI:${spiffeId}`, `other names: ${first.subjectAltName}`);
  for (const [at, one] of certificates.entries()) {
    holds(one.validFromDate.getTime() <= NOW && NOW <= one.validToDate.getTime(), 'OpenSSL says it is not valid');
    const issuer = certificates[at + 1];
    holds(one.verify(issuer?.publicKey ?? publicKey(authorityKey)), 'OpenSSL does not verify it');
  }
}
