import { createPublicKey, type KeyObject, verify } from 'node:crypto';
import { ShellstreamError } from '../../protocol/errors.ts';
import { type Extensions, parseExtensions } from './certificate-extensions.ts';
import { contextTag, type DerElement, DerReader, TAG } from './der.ts';

/**
 * An X.509 certificate (RFC 5280 §4.1) as far as an SVID verifier needs it, decoded strictly and judged by nobody yet.
 * Names are kept as their encoding: they are only ever compared byte by byte.
 */
export interface Certificate {
  /** The whole certificate, DER. */
  readonly der: Uint8Array;
  readonly issuer: Uint8Array;
  readonly subject: Uint8Array;
  /** Milliseconds since the epoch, both inclusive. */
  readonly notBefore: number;
  readonly notAfter: number;
  readonly publicKey: PublicKey;
  readonly extensions: Extensions;
  /** Whether `key` signed this certificate. */
  isSignedBy(key: PublicKey): boolean;
}

/** A key of a type and strength that SVIDs and authorities may have. */
export interface PublicKey {
  readonly type: KeyType;
  readonly object: KeyObject;
}

export type KeyType = 'P-256' | 'P-384' | 'RSA' | 'Ed25519';

/** Throws SVID_MALFORMED for bytes that are no certificate, and for keys and algorithms that are not allowed. */
export function parseCertificate(der: Uint8Array): Certificate {
  if (der.length > MAX_CERTIFICATE_BYTES) throw refused('certificate-size', `${der.length} bytes`);
  const outer = new DerReader(der);
  const certificate = outer.expect(TAG.sequence).children();
  outer.end();
  const tbs = certificate.expect(TAG.sequence);
  const algorithm = certificate.expect(TAG.sequence);
  const signature = certificate.expect(TAG.bitString).wholeBits();
  certificate.end();

  const fields = tbs.children();
  const version = fields.optional(contextTag(0, 'constructed'))?.children();
  if (version?.expect(TAG.integer).smallInteger() !== 2) throw refused('version-3', 'not a version 3 certificate');
  version.end();
  const serial = fields.expect(TAG.integer).integer();
  if (serial.length > MAX_SERIAL_BYTES) throw refused('serial-size', `${serial.length} bytes`);
  // The algorithm inside the signed part must be the one outside it, else an attacker chooses how we verify.
  if (!sameBytes(fields.expect(TAG.sequence).encoded, algorithm.encoded))
    throw refused('one-signature-algorithm', 'the algorithms inside and outside differ');
  const issuer = parseName(fields.expect(TAG.sequence));
  const validity = fields.expect(TAG.sequence).children();
  const notBefore = parseTime(validity.next());
  const notAfter = parseTime(validity.next());
  validity.end();
  const subject = parseName(fields.expect(TAG.sequence));
  const publicKey = parsePublicKey(fields.expect(TAG.sequence).encoded);
  fields.optional(contextTag(1, 'primitive'));
  fields.optional(contextTag(2, 'primitive'));
  const extensions = parseExtensions(fields.optional(contextTag(3, 'constructed')));
  fields.end();

  const scheme = signatureScheme(algorithm);
  return {
    der,
    issuer,
    subject,
    notBefore,
    notAfter,
    publicKey,
    extensions,
    isSignedBy: (key) => scheme.keys.includes(key.type) && verify(scheme.hash, tbs.encoded, key.object, signature),
  };
}

/** A subject public key info (RFC 5280 §4.1.2.7) of an allowed type. */
export function parsePublicKey(spki: Uint8Array): PublicKey {
  let object: KeyObject;
  try {
    object = createPublicKey({ key: Buffer.from(spki), format: 'der', type: 'spki' });
  } catch (cause) {
    throw new ShellstreamError('SVID_MALFORMED', 'the public key does not parse', {
      cause,
      fields: { rule: 'key-allowed' },
    });
  }
  const type = keyTypeOf(object);
  if (type === undefined) throw refused('key-allowed', 'a key type, curve or size that is not allowed');
  if ((type === 'P-256' || type === 'P-384') && !startsWith(spki, PLAIN_POINT[type]))
    throw refused('key-allowed', 'an elliptic curve without its name, or a point that is not uncompressed');
  return { type, object };
}

function startsWith(bytes: Uint8Array, head: Uint8Array): boolean {
  return sameBytes(bytes.subarray(0, head.length), head);
}

/** P-256, P-384, RSA of 2048 to 8192 bits with an exponent of at most 32 bits, Ed25519; undefined for anything else. */
export function keyTypeOf(key: KeyObject): KeyType | undefined {
  const details = key.asymmetricKeyDetails ?? {};
  switch (key.asymmetricKeyType) {
    case 'ec':
      return CURVES.get(details.namedCurve ?? '');
    case 'rsa': {
      const { modulusLength: bits = 0, publicExponent: exponent = 0n } = details;
      const isAllowed = bits >= MIN_RSA_BITS && bits <= MAX_RSA_BITS && exponent >= 3n && exponent <= MAX_RSA_EXPONENT;
      return isAllowed ? 'RSA' : undefined;
    }
    case 'ed25519':
      return 'Ed25519';
    default:
      return undefined;
  }
}

export function sameBytes(a: Uint8Array, b: Uint8Array): boolean {
  return Buffer.compare(a, b) === 0;
}

const MAX_CERTIFICATE_BYTES = 16 * 1024;
const MAX_SERIAL_BYTES = 21;
const MIN_RSA_BITS = 2048;
/** Verifying with larger moduli or exponents costs milliseconds each: a way to burn our CPU. */
const MAX_RSA_BITS = 8192;
const MAX_RSA_EXPONENT = 2n ** 32n;
const CURVES: ReadonlyMap<string, KeyType> = new Map([
  ['prime256v1', 'P-256'],
  ['secp384r1', 'P-384'],
]);

/**
 * How a key begins that names its curve and gives both coordinates. OpenSSL also takes the point at infinity, for which
 * anybody can sign; points in the hybrid form that RFC 5480 forbids; and parameters written out in place of a name.
 */
const PLAIN_POINT = {
  'P-256': Buffer.from('3059301306072a8648ce3d020106082a8648ce3d03010703420004', 'hex'),
  'P-384': Buffer.from('3076301006072a8648ce3d020106052b8104002203620004', 'hex'),
} as const;

interface SignatureScheme {
  readonly keys: readonly KeyType[];
  readonly hash: string | null;
  /** RFC 4055 §5 wants NULL as the parameters of RSA, RFC 5758 and 8410 want none elsewhere. */
  readonly parameters: 'null' | 'absent';
}

const EC: readonly KeyType[] = ['P-256', 'P-384'];
const SIGNATURE_SCHEMES: ReadonlyMap<string, SignatureScheme> = new Map<string, SignatureScheme>([
  ['1.2.840.10045.4.3.2', { keys: EC, hash: 'sha256', parameters: 'absent' }],
  ['1.2.840.10045.4.3.3', { keys: EC, hash: 'sha384', parameters: 'absent' }],
  ['1.2.840.10045.4.3.4', { keys: EC, hash: 'sha512', parameters: 'absent' }],
  ['1.2.840.113549.1.1.11', { keys: ['RSA'], hash: 'sha256', parameters: 'null' }],
  ['1.2.840.113549.1.1.12', { keys: ['RSA'], hash: 'sha384', parameters: 'null' }],
  ['1.2.840.113549.1.1.13', { keys: ['RSA'], hash: 'sha512', parameters: 'null' }],
  ['1.3.101.112', { keys: ['Ed25519'], hash: null, parameters: 'absent' }],
]);

function signatureScheme(algorithm: DerElement): SignatureScheme {
  const reader = algorithm.children();
  const scheme = SIGNATURE_SCHEMES.get(reader.expect(TAG.oid).oid());
  if (scheme === undefined) throw refused('signature-algorithm', 'an algorithm that is not allowed');
  if (scheme.parameters === 'null' && reader.expect(TAG.null).contents.length > 0)
    throw refused('signature-algorithm', 'parameters that do not belong there');
  reader.end();
  return scheme;
}

/** The encoding of a Name (RFC 5280 §4.1.2.4) that is built like one: others refuse what is not, so a name must not hide it. */
function parseName(element: DerElement): Uint8Array {
  const list = element.children();
  while (!list.atEnd) {
    const set = list.expect(TAG.set).children();
    do {
      const attribute = set.expect(TAG.sequence).children();
      attribute.expect(TAG.oid).oid();
      attribute.next();
      attribute.end();
    } while (!set.atEnd);
  }
  return element.encoded;
}

/** RFC 5280 §4.1.2.5: seconds are given, the zone is Z, years up to 2049 are UTCTime. */
function parseTime(element: DerElement): number {
  const digits = element.ascii();
  const short = element.tag === TAG.utcTime && /^\d{12}Z$/.test(digits);
  const long = element.tag === TAG.generalizedTime && /^\d{14}Z$/.test(digits);
  if (!short && !long) throw refused('validity-form', 'a time that is not RFC 5280’s');
  const full = short ? `${Number(digits.slice(0, 2)) < 50 ? '20' : '19'}${digits}` : digits;
  const iso = full.replace(/^(....)(..)(..)(..)(..)(..)Z$/, '$1-$2-$3T$4:$5:$6.000Z');
  const time = Date.parse(iso);
  // Date.parse takes 30 February for 1 March; a time that does not read back is none.
  if (Number.isNaN(time) || new Date(time).toISOString() !== iso) throw refused('validity-form', 'no such time');
  return time;
}

function refused(rule: string, detail: string): ShellstreamError {
  return new ShellstreamError('SVID_MALFORMED', detail, { fields: { rule } });
}
