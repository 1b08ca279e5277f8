import { createPrivateKey, type KeyObject, X509Certificate } from 'node:crypto';
import { chmodSync, existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Clock } from '../src/base/clock.ts';
import { type JwtSigningKey, jwkSet, jwtSigningKey, signJwt } from './jwt.ts';
import { authorityProfile, type CertifiedKey, issueAuthority, issueCertificate, leafProfile, newKey } from './x509.ts';

/** An X.509-SVID with its key, as the Workload API hands it out. */
export interface IssuedSvid {
  readonly spiffeId: string;
  /** DER, leaf first. */
  readonly chain: readonly Uint8Array[];
  readonly privateKey: KeyObject;
  /** Milliseconds since the epoch. */
  readonly expiresAt: number;
}

/**
 * The signing keys of a trust domain: one P-256 authority for X.509-SVIDs, one P-256 key for JWT-SVIDs. After a rotation
 * the former ones stay in the bundle, so that what they signed still verifies. Keys are kept in the directory, readable
 * by its owner only, so that a restarted domain is the same domain.
 */
export class Authority {
  readonly trustDomain: string;
  readonly #clock: Clock;
  readonly #directory: string;
  /** Newest last; the last one signs. */
  #x509: readonly [...CertifiedKey[], CertifiedKey];
  #jwt: readonly [...JwtSigningKey[], JwtSigningKey];

  constructor(options: { trustDomain: string; directory: string; clock: Clock }) {
    this.trustDomain = options.trustDomain;
    this.#clock = options.clock;
    this.#directory = options.directory;
    mkdirSync(options.directory, { recursive: true, mode: 0o700 });
    const kept = this.#load();
    this.#x509 = [kept?.x509 ?? this.#newX509()];
    this.#jwt = [kept?.jwt ?? jwtSigningKey(newKey())];
    this.#save();
  }

  /** The key and certificate that sign X.509-SVIDs now. */
  get x509(): CertifiedKey {
    return this.#x509[this.#x509.length - 1] ?? this.#x509[0];
  }

  get jwt(): JwtSigningKey {
    return this.#jwt[this.#jwt.length - 1] ?? this.#jwt[0];
  }

  /** Concatenated DER. */
  get x509Bundle(): Uint8Array {
    return Buffer.concat(this.#x509.map(({ certificate }) => certificate));
  }

  /** A JWK set. */
  get jwtBundle(): Uint8Array {
    return jwkSet(this.#jwt);
  }

  /** New keys for both kinds. @param forget drops the former ones from the bundle: what they signed ends. */
  rotate(forget: boolean): void {
    const x509 = this.#newX509();
    const jwt = jwtSigningKey(newKey());
    this.#x509 = forget ? [x509] : [...this.#x509, x509];
    this.#jwt = forget ? [jwt] : [...this.#jwt, jwt];
    this.#save();
  }

  /** A fresh key and certificate for a workload. */
  issueSvid(spiffeId: string, ttlMs: number): IssuedSvid {
    const now = this.#clock.now();
    const privateKey = newKey();
    // Whole seconds, as certificates have them; a little before now, as SPIRE does, for clocks that lag.
    const notAfter = Math.floor((now + ttlMs) / 1000) * 1000;
    const profile = leafProfile(spiffeId, now - BACKDATE_MS, notAfter);
    return { spiffeId, chain: [issueCertificate(profile, privateKey, this.x509)], privateKey, expiresAt: notAfter };
  }

  issueJwt(claims: object): string {
    return signJwt(this.jwt, claims);
  }

  #newX509(): CertifiedKey {
    const now = this.#clock.now();
    return issueAuthority(authorityProfile(this.trustDomain, now - BACKDATE_MS, now + AUTHORITY_TTL_MS));
  }

  #load(): { x509: CertifiedKey; jwt: JwtSigningKey } | undefined {
    const file = join(this.#directory, FILE);
    if (!existsSync(file)) return undefined;
    const kept: Record<string, string> = JSON.parse(readFileSync(file, 'utf8'));
    const certificate = new X509Certificate(kept.certificate ?? '');
    if (Date.parse(certificate.validTo) < this.#clock.now() + AUTHORITY_TTL_MS / 2) return undefined;
    return {
      x509: {
        privateKey: createPrivateKey(kept.x509Key ?? ''),
        certificate: new Uint8Array(certificate.raw),
        subject: certificate.subject.replace(/^CN=/, ''),
      },
      jwt: { keyId: kept.jwtKeyId ?? '', privateKey: createPrivateKey(kept.jwtKey ?? '') },
    };
  }

  #save(): void {
    const file = join(this.#directory, FILE);
    const content = {
      certificate: new X509Certificate(this.x509.certificate).toString(),
      x509Key: this.x509.privateKey.export({ type: 'pkcs8', format: 'pem' }),
      jwtKeyId: this.jwt.keyId,
      jwtKey: this.jwt.privateKey.export({ type: 'pkcs8', format: 'pem' }),
    };
    writeFileSync(file, JSON.stringify(content, undefined, 2), { mode: 0o600 });
    // The mode above counts for new files only.
    chmodSync(file, 0o600);
  }
}

const FILE = 'authority.json';
const BACKDATE_MS = 10_000;
const AUTHORITY_TTL_MS = 7 * 24 * 3600 * 1000;
