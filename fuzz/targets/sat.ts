/**
 * Shell attestation tokens. The first byte: bit 0 signs the token anew with the key that its header names, bit 1 asks for a
 * fresh one, bit 2 lets the issuer's agent name somebody else.
 */
import { createHash, createPrivateKey, createPublicKey, type KeyObject, sign } from 'node:crypto';
import { p256 } from '@noble/curves/nist.js';
import { createLocalJWKSet, type JWK, jwtVerify } from 'jose';
import { parseSpiffeId } from '../../protocol/identity/spiffe-id.ts';
import { parseJwtBundle } from '../../src/identity/bundles.ts';
import { parseJwtSvid } from '../../src/identity/jwt-svid.ts';
import { SpireSatVerifier } from '../../src/identity/sat.ts';
import { jwt } from '../formats/json.ts';
import { behind } from '../formats/sequence.ts';
import { attempt, holds, judged, type OpenTarget, type Refusals } from '../target.ts';
import { ascii, fill } from './examples.ts';
import { DOMAIN, ed25519, ID, NOW } from './keys.ts';

const PLAIN = 'spiffe://site-b.test/gateway';
const BOUND = `${PLAIN}#bound`;
const OTHER = 'spiffe://site-a.test/other';

export const open: OpenTarget = async () => {
  const keys = new Map<string, KeyObject>([
    ['ec', ecKey()],
    ['ed', ed25519(4)],
  ]);
  const jwks = [...keys].map(([kid, key]): JWK => ({ ...createPublicKey(key).export({ format: 'jwk' }), kid }));
  const bundle = parseJwtBundle(DOMAIN, ascii(JSON.stringify({ keys: jwks })), NOW);
  const elsewhere = createLocalJWKSet({ keys: jwks });
  const [subject, other] = [parseSpiffeId(ID), parseSpiffeId(OTHER)];
  if (subject === undefined || other === undefined) throw new Error('no SPIFFE ID');
  const seconds = NOW / 1000;
  const token = (kid: string, claims: object): Uint8Array => {
    const head = encode({ alg: kid === 'ec' ? 'ES256' : 'EdDSA', kid, typ: 'JWT' });
    const usual = { aud: [BOUND], exp: seconds + 300, iat: seconds, sub: ID };
    return ascii(signed(`${head}.${encode({ ...usual, ...claims })}`, keys));
  };
  const tokens = [
    token('ed', {}),
    token('ec', { aud: PLAIN, tier: 'master', scopes: ['a', 'b'] }),
    token('ed', { aud: [PLAIN], nbf: seconds, scopes: 'read write', tier: 'apprentice' }),
    token('ed', { sub: OTHER, exp: seconds - 1 }),
  ];
  const genuine = new Set(tokens.map((one) => inputOf(Buffer.from(one).toString('latin1'))));

  return {
    about: 'tokens: only for their subject, audience and time; jose verifies what we do; nothing of them in errors',
    covers: [
      'src/identity/jwt-svid.ts',
      'src/identity/sat.ts',
      'src/identity/sat-cache.ts',
      'src/identity/unique-json.ts',
    ],
    maxBytes: 9_000,
    format: behind(1, jwt),
    dictionary: [
      'none',
      'HS256',
      'ES256',
      'EdDSA',
      'alg',
      'kid',
      'typ',
      'crit',
      'aud',
      'exp',
      'sub',
      'tier',
      'scopes',
      'site_owner',
      '__proto__',
      PLAIN,
      ID,
      '.',
      '=',
      '"aud":',
      '\u00e9',
    ],
    seeds: [0, 1, 2, 3, 7].flatMap((flags) => tokens.map((one) => Uint8Array.of(flags, ...one))),
    async run(input) {
      const flags = input[0] ?? 0;
      const given = Buffer.from(input.subarray(1)).toString('latin1');
      const text = (flags & 1) === 1 ? signed(given, keys) : given;
      const [, payload = '', signature = ''] = text.split('.');
      const secrets = [payload, signature].filter((part) => part.length > 16);
      const refusals: Refusals = { reasons: REASONS, secrets, longest: 600 };
      const parsed = attempt({ ...refusals, reasons: ['SAT_INVALID'] }, () => parseJwtSvid(text));
      if ('value' in parsed) checkParsed(text);
      const source = {
        bundles: { x509: new Map(), jwt: new Map([[DOMAIN, bundle]]) },
        validateSat: async () => ((flags & 4) === 4 ? other : subject),
      };
      const verifier = new SpireSatVerifier({ source });
      const fresh = (flags & 2) === 2;
      const request = { token: text, subject, audiences: { plain: PLAIN, bound: BOUND }, fresh, now: NOW };
      try {
        const sat = await verifier.verify(request);
        const again = await verifier.verify(request);
        holds(JSON.stringify(sat) === JSON.stringify(again), 'a cached token says something else');
        holds(sat.subject === ID && sat.expiresAt > NOW, 'a token of another, or expired');
        holds(!fresh || (sat.bound && (flags & 4) === 0), 'fresh without being bound, or against the agent');
        holds(sat.tokenId === createHash('sha256').update(inputOf(text)).digest('hex'), 'another token id');
        if ((flags & 1) === 0) holds(genuine.has(inputOf(text)), 'a forged token verifies');
        const audience = sat.bound ? BOUND : PLAIN;
        await jwtVerify(text, elsewhere, { audience, subject: ID, currentDate: new Date(NOW), clockTolerance: 60 });
        return `${flags & 7} verified ${sat.tier} ${sat.scopes.length} ${sat.bound}`;
      } catch (error) {
        return `${flags & 7} ${judged(refusals, error)}`;
      }
    },
  };
};

const REASONS = ['SAT_INVALID', 'SAT_EXPIRED', 'SAT_WRONG_SUBJECT', 'SAT_WRONG_AUDIENCE', 'SAT_NOT_FRESH'] as const;

/** Each part has one spelling, so that a token has one id. */
function checkParsed(text: string): void {
  const parts = text.split('.');
  holds(parts.length === 3 && text.length <= 8_192, 'not three parts');
  for (const part of parts) holds(Buffer.from(part, 'base64url').toString('base64url') === part, 'a second spelling');
}

/** The token with the signature of the key that its header names. */
function signed(text: string, keys: ReadonlyMap<string, KeyObject>): string {
  const [head = '', payload = ''] = text.split('.');
  const input = `${head}.${payload}`;
  const kid = /"kid":"(ec|ed)"/.exec(Buffer.from(head, 'base64url').toString('latin1'))?.[1];
  const key = keys.get(kid ?? 'ed');
  if (key === undefined) return text;
  const signature =
    kid === 'ec'
      ? p256.sign(Buffer.from(input, 'latin1'), fill(6), { format: 'compact', lowS: false })
      : sign(null, Buffer.from(input, 'latin1'), key);
  return `${input}.${Buffer.from(signature).toString('base64url')}`;
}

function inputOf(text: string): string {
  return text.split('.').slice(0, 2).join('.');
}

function encode(value: object): string {
  return Buffer.from(JSON.stringify(value)).toString('base64url');
}

function ecKey(): KeyObject {
  const point = p256.getPublicKey(fill(6), false);
  const part = (bytes: Uint8Array): string => Buffer.from(bytes).toString('base64url');
  const key = {
    kty: 'EC',
    crv: 'P-256',
    x: part(point.subarray(1, 33)),
    y: part(point.subarray(33)),
    d: part(fill(6)),
  };
  return createPrivateKey({ key, format: 'jwk' });
}
