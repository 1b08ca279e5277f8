import { createHash, createPublicKey, generateKeyPairSync, type KeyObject, randomBytes, sign } from 'node:crypto';
import { AsnConvert, OctetString } from '@peculiar/asn1-schema';
import {
  AlgorithmIdentifier,
  AttributeTypeAndValue,
  AttributeValue,
  AuthorityKeyIdentifier,
  BasicConstraints,
  Certificate,
  ExtendedKeyUsage,
  Extension,
  Extensions,
  GeneralName,
  id_ce_authorityKeyIdentifier,
  id_ce_basicConstraints,
  id_ce_extKeyUsage,
  id_ce_keyUsage,
  id_ce_subjectAltName,
  id_ce_subjectKeyIdentifier,
  id_kp_clientAuth,
  id_kp_serverAuth,
  KeyIdentifier,
  KeyUsage,
  KeyUsageFlags,
  Name,
  RelativeDistinguishedName,
  SubjectAlternativeName,
  SubjectKeyIdentifier,
  SubjectPublicKeyInfo,
  TBSCertificate,
  Validity,
  Version,
} from '@peculiar/asn1-x509';

/** A P-256 key and the certificate for it. */
export interface CertifiedKey {
  readonly privateKey: KeyObject;
  /** DER. */
  readonly certificate: Uint8Array;
  readonly subject: string;
}

/** What a certificate says. The defaults of `leafProfile` and `authorityProfile` follow the X509-SVID specification. */
export interface CertificateProfile {
  /** Common name of the subject. */
  readonly subject: string;
  readonly uris: readonly string[];
  readonly dns?: readonly string[];
  /** Milliseconds since the epoch. */
  readonly notBefore: number;
  readonly notAfter: number;
  /** Undefined: no such extension. */
  readonly ca: boolean | undefined;
  readonly pathLength?: number;
  /** Bits of `KeyUsageFlags`; undefined: no such extension. */
  readonly keyUsage: number | undefined;
  readonly extendedKeyUsage?: readonly string[];
  readonly extra?: readonly Extension[];
}

export function leafProfile(spiffeId: string, notBefore: number, notAfter: number): CertificateProfile {
  return {
    subject: 'workload',
    uris: [spiffeId],
    notBefore,
    notAfter,
    ca: false,
    keyUsage: KeyUsageFlags.digitalSignature | KeyUsageFlags.keyAgreement,
    extendedKeyUsage: [id_kp_serverAuth, id_kp_clientAuth],
  };
}

export function authorityProfile(trustDomain: string, notBefore: number, notAfter: number): CertificateProfile {
  return {
    // Unique for each authority: with equal names a verifier has to try every key of the bundle.
    subject: `${trustDomain} ${randomBytes(4).toString('hex')}`,
    uris: [`spiffe://${trustDomain}`],
    notBefore,
    notAfter,
    ca: true,
    keyUsage: KeyUsageFlags.keyCertSign | KeyUsageFlags.cRLSign,
  };
}

export function newKey(): KeyObject {
  return generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey;
}

/** A self-signed authority. */
export function issueAuthority(profile: CertificateProfile): CertifiedKey {
  const privateKey = newKey();
  const certificate = issueCertificate(profile, privateKey, { privateKey, subject: profile.subject });
  return { privateKey, certificate, subject: profile.subject };
}

/** A certificate for the public half of `key`, signed by the issuer with ECDSA and SHA-256 (or Ed25519, RSA by key type). */
export function issueCertificate(
  profile: CertificateProfile,
  key: KeyObject,
  issuer: { readonly privateKey: KeyObject; readonly subject: string },
): Uint8Array {
  const algorithm = signatureAlgorithm(issuer.privateKey);
  const tbs = new TBSCertificate({
    version: Version.v3,
    serialNumber: serialNumber(),
    signature: algorithm.identifier,
    issuer: commonName(issuer.subject),
    validity: new Validity({ notBefore: new Date(profile.notBefore), notAfter: new Date(profile.notAfter) }),
    subject: commonName(profile.subject),
    subjectPublicKeyInfo: publicKeyInfo(key),
    extensions: new Extensions(extensionsOf(profile, key, issuer.privateKey)),
  });
  const signature = sign(algorithm.hash, Buffer.from(AsnConvert.serialize(tbs)), issuer.privateKey);
  const certificate = new Certificate({
    tbsCertificate: tbs,
    signatureAlgorithm: algorithm.identifier,
    signatureValue: arrayBuffer(signature),
  });
  return new Uint8Array(AsnConvert.serialize(certificate));
}

function extensionsOf(profile: CertificateProfile, key: KeyObject, issuerKey: KeyObject): Extension[] {
  const { ca, pathLength, keyUsage, extendedKeyUsage, uris, dns = [], extra = [] } = profile;
  const names = [
    ...uris.map((uri) => new GeneralName({ uniformResourceIdentifier: uri })),
    ...dns.map((name) => new GeneralName({ dNSName: name })),
  ];
  const extensions: Extension[] = [];
  if (keyUsage !== undefined) extensions.push(extension(id_ce_keyUsage, true, new KeyUsage(keyUsage)));
  if (extendedKeyUsage !== undefined)
    extensions.push(extension(id_ce_extKeyUsage, false, new ExtendedKeyUsage([...extendedKeyUsage])));
  if (ca !== undefined)
    extensions.push(
      extension(
        id_ce_basicConstraints,
        true,
        new BasicConstraints({ cA: ca, ...(pathLength === undefined ? {} : { pathLenConstraint: pathLength }) }),
      ),
    );
  extensions.push(extension(id_ce_subjectKeyIdentifier, false, new SubjectKeyIdentifier(keyIdentifier(key))));
  extensions.push(
    extension(
      id_ce_authorityKeyIdentifier,
      false,
      new AuthorityKeyIdentifier({ keyIdentifier: new KeyIdentifier(keyIdentifier(issuerKey)) }),
    ),
  );
  if (names.length > 0) extensions.push(extension(id_ce_subjectAltName, false, new SubjectAlternativeName(names)));
  return [...extensions, ...extra];
}

/** An extension from its ASN.1 value. */
export function extension(id: string, critical: boolean, value: object): Extension {
  return new Extension({ extnID: id, critical, extnValue: new OctetString(AsnConvert.serialize(value)) });
}

const ALGORITHMS = {
  ec: { hash: 'sha256', identifier: new AlgorithmIdentifier({ algorithm: '1.2.840.10045.4.3.2' }) },
  ed25519: { hash: null, identifier: new AlgorithmIdentifier({ algorithm: '1.3.101.112' }) },
  rsa: {
    hash: 'sha256',
    identifier: new AlgorithmIdentifier({ algorithm: '1.2.840.113549.1.1.11', parameters: null }),
  },
} as const;

function signatureAlgorithm(key: KeyObject): (typeof ALGORITHMS)[keyof typeof ALGORITHMS] {
  const type = key.asymmetricKeyType;
  if (type === 'ec' || type === 'ed25519' || type === 'rsa') return ALGORITHMS[type];
  throw new Error(`no signature algorithm for keys of type ${type}`);
}

function commonName(text: string): Name {
  const attribute = new AttributeTypeAndValue({ type: '2.5.4.3', value: new AttributeValue({ utf8String: text }) });
  return new Name([new RelativeDistinguishedName([attribute])]);
}

function publicKeyInfo(key: KeyObject): SubjectPublicKeyInfo {
  return AsnConvert.parse(spki(key), SubjectPublicKeyInfo);
}

function keyIdentifier(key: KeyObject): ArrayBuffer {
  return arrayBuffer(createHash('sha256').update(spki(key)).digest().subarray(0, 20));
}

function spki(key: KeyObject): Buffer {
  return createPublicKey(key).export({ type: 'spki', format: 'der' });
}

/** 16 random bytes, positive and in shortest form. */
function serialNumber(): ArrayBuffer {
  const bytes = randomBytes(16);
  bytes[0] = ((bytes[0] ?? 0) & 0x3f) | 0x40;
  return arrayBuffer(bytes);
}

function arrayBuffer(bytes: Uint8Array): ArrayBuffer {
  return new Uint8Array(bytes).buffer;
}
