/** One certificate, against OpenSSL's reading of it. */
import { X509Certificate } from 'node:crypto';
import { newKey } from '../../certs-dev/x509.ts';
import { parseCertificate } from '../../src/identity/certificate.ts';
import { der } from '../formats/der.ts';
import { treeFormat } from '../formats/tree.ts';
import { alike, attempt, holds, type OpenTarget } from '../target.ts';
import { repositoryFile } from './examples.ts';
import { authorityCertificate, intermediate, leaf, leafKey } from './keys.ts';

export const open: OpenTarget = async () => ({
  about: 'certificates: what is taken has one encoding, and OpenSSL reads the same from it',
  covers: ['src/identity/certificate.ts', 'src/identity/certificate-extensions.ts', 'src/identity/der.ts'],
  maxBytes: 17_000,
  format: treeFormat(der),
  dictionary: [
    Buffer.from('0603551d', 'hex'),
    Buffer.from('0101ff', 'hex'),
    Buffer.from('06032b6570', 'hex'),
    Buffer.from('0500', 'hex'),
    Buffer.from('3080', 'hex'),
    'spiffe://',
    '20500101000000Z',
    '491231235959Z',
  ],
  seeds: [
    leaf(leafKey),
    leaf(newKey()),
    authorityCertificate,
    intermediate({ pathLength: 1, dns: ['a.test'] }),
    ...pem('good-leaf-only.pem'),
    ...pem('good-leaf-and-intermediate.pem'),
  ],
  run(input) {
    const read = attempt({ reasons: ['SVID_MALFORMED'] }, () => parseCertificate(input));
    if ('refusal' in read) return read.refusal;
    const { notBefore, notAfter, publicKey, extensions, issuer, subject } = read.value;
    holds(input.length <= 16_384, 'a certificate over the limit');
    const other = readElsewhere(input);
    // It also reads the text in names, which we only compare.
    if (other === undefined) return 'OpenSSL does not read it';
    holds(alike(Uint8Array.from(other.raw), Uint8Array.from(input)), 'OpenSSL writes it differently');
    holds(other.validFromDate.getTime() === notBefore, `valid from ${other.validFrom} elsewhere`);
    holds(other.validToDate.getTime() === notAfter, `valid to ${other.validTo} elsewhere`);
    holds(other.publicKey.equals(publicKey.object), 'another key');
    // OpenSSL also refuses authorities for extensions that we do not read.
    holds(!other.ca || extensions.basicConstraints?.ca === true, 'an authority there and none here');
    const uris = (other.subjectAltName ?? '').split(', ').filter((name) => name.startsWith('URI:'));
    const plain = extensions.names.uris.every((uri) => !/[",\\]|[^\x20-\x7e]/.test(uri));
    // Of forms that we do not judge OpenSSL reads the contents too, and none of the names when one does not parse.
    const isRead = extensions.names.others.length === 0 || other.subjectAltName !== undefined;
    if (plain && isRead && !other.subjectAltName?.includes('"')) {
      holds(
        alike(
          uris,
          extensions.names.uris.map((uri) => `URI:${uri}`),
        ),
        `other names: ${uris.join()}`,
      );
    }
    holds(input.includes(issuer[0] ?? 0) && subject.length > 0, 'names from nowhere');
    const reencoded = der.encode(der.decode(input) ?? []);
    holds(alike(Buffer.from(reencoded), Buffer.from(input)), 'there is a shorter encoding of it');
    return `taken ${publicKey.type} ${extensions.names.uris.length} ${extensions.unknownCritical.length} ${extensions.nameConstraints !== undefined}`;
  },
});

function readElsewhere(der: Uint8Array): X509Certificate | undefined {
  try {
    return new X509Certificate(der);
  } catch {
    return undefined;
  }
}

function pem(name: string): readonly Uint8Array[] {
  const text = Buffer.from(repositoryFile(`protocol/vectors/x509-svid/${name}`)).toString('latin1');
  return [...text.matchAll(/-----BEGIN CERTIFICATE-----([^-]*)-----END/g)].map(([, base64 = '']) =>
    Buffer.from(base64, 'base64'),
  );
}
