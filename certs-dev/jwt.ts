import { createPublicKey, type KeyObject, randomBytes, sign } from 'node:crypto';

/** A key that signs JWT-SVIDs, and the id by which verifiers find it. */
export interface JwtSigningKey {
  readonly keyId: string;
  readonly privateKey: KeyObject;
}

export function jwtSigningKey(privateKey: KeyObject): JwtSigningKey {
  return { keyId: randomBytes(16).toString('base64url'), privateKey };
}

/** A JWS in compact form with ES256. Members of `header` replace the usual ones. */
export function signJwt(key: JwtSigningKey, claims: object, header: object = {}): string {
  const head = { alg: 'ES256', kid: key.keyId, typ: 'JWT', ...header };
  const input = `${encode(head)}.${encode(claims)}`;
  const signature = sign('sha256', Buffer.from(input), { key: key.privateKey, dsaEncoding: 'ieee-p1363' });
  return `${input}.${signature.toString('base64url')}`;
}

/** The JWK set of a JWT bundle. */
export function jwkSet(keys: readonly JwtSigningKey[]): Uint8Array {
  const jwks = keys.map(({ keyId, privateKey }) => ({
    ...createPublicKey(privateKey).export({ format: 'jwk' }),
    kid: keyId,
  }));
  return Buffer.from(JSON.stringify({ keys: jwks }));
}

function encode(value: object): string {
  return Buffer.from(JSON.stringify(value)).toString('base64url');
}
