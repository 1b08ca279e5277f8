/** Tokens whose header chooses how they are checked, forged with what everybody knows: the public key. */
import { createHmac, createPublicKey } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { hostile, type TrustDomain } from '../../certs-dev/index.ts';
import { SteppedClock, TemporaryDomains } from '../../certs-dev/testing.ts';
import { reasonOf, ShellstreamError } from '../../protocol/errors.ts';
import { parseSpiffeId, type SpiffeId } from '../../protocol/identity/spiffe-id.ts';
import { parseJwtBundle, type TrustBundles } from './bundles.ts';
import { SpireSatVerifier } from './sat.ts';
import { SvidVerifier } from './svid-verifier.ts';

const GATEWAY = 'spiffe://home.test/gateway';
const clock = new SteppedClock();
let domains: TemporaryDomains;
let away: TrustDomain;

beforeAll(async () => {
  domains = await TemporaryDomains.create(clock);
  away = await domains.start('away.test');
});
afterAll(() => domains[Symbol.asyncDispose]());

describe('a token for which nobody held a private key', () => {
  const secrets: readonly (readonly [string, () => string | Buffer])[] = [
    ['PEM', () => publicKey().export({ type: 'spki', format: 'pem' })],
    ['DER', () => publicKey().export({ type: 'spki', format: 'der' })],
    ['JWK', () => JSON.stringify(publicKey().export({ format: 'jwk' }))],
    ['the bundle as it is published', () => Buffer.from(away.authority.jwtBundle)],
    ['its bare point', () => publicKey().export({ type: 'spki', format: 'der' }).subarray(-65)],
    ['nothing', () => ''],
  ];

  test.each(secrets)('HS256 keyed with the public key as %s is refused', async (_form, secret) => {
    const input = signingInput({ alg: 'HS256' });
    const mac = createHmac('sha256', secret()).update(input).digest('base64url');
    expect(await verdict(`${input}.${mac}`)).toBe('SAT_INVALID');
  });

  test.each(['none', 'None', 'NONE', 'nOnE', '', 'ES256K', 'RS1', 'dir'])(
    'with algorithm %j is refused, signature or not',
    async (alg) => {
      const input = signingInput({ alg });
      for (const signature of ['', 'AA', Buffer.alloc(64).toString('base64url')])
        expect(await verdict(`${input}.${signature}`)).toBe('SAT_INVALID');
    },
  );

  test('that brings its own key in the header is refused, wherever it says the key is', async () => {
    const jwk = publicKey().export({ format: 'jwk' });
    for (const header of [
      { jwk },
      { jku: 'https://away.test/keys' },
      { x5u: 'https://away.test/x' },
      { x5c: ['MIIB'] },
    ]) {
      const token = hostile.mintShaped(away, clock, '/ops', GATEWAY, { otherSigner: true, header });
      expect(await verdict(token)).toBe('SAT_INVALID');
    }
  });

  test('and the same claims under the domain’s own key are taken', async () => {
    expect(await verdict(hostile.mintShaped(away, clock, '/ops', GATEWAY))).toBe('accepted');
  });
});

describe('without any trust bundle', () => {
  const nothing: TrustBundles = { x509: new Map(), jwt: new Map() };

  test('no chain is believed, not even one that is right in itself', () => {
    const svids = new SvidVerifier({ bundles: () => nothing, clock });
    const { chain } = away.authority.issueSvid('spiffe://away.test/ops', 3_600_000);
    expect(() => svids.verify(chain)).toThrow('NO_BUNDLE');
  });

  test('no token is believed', async () => {
    expect(await verdict(hostile.mintShaped(away, clock, '/ops', GATEWAY), nothing)).toBe('SAT_UNVERIFIABLE');
  });
});

function publicKey(): ReturnType<typeof createPublicKey> {
  return createPublicKey(away.authority.jwt.privateKey);
}

function signingInput(header: object): string {
  const seconds = Math.floor(clock.now() / 1000);
  const claims = { sub: 'spiffe://away.test/ops', aud: [GATEWAY], iat: seconds, exp: seconds + 300 };
  const head = { kid: away.authority.jwt.keyId, typ: 'JWT', ...header };
  return [head, claims].map((part) => Buffer.from(JSON.stringify(part)).toString('base64url')).join('.');
}

async function verdict(token: string, bundles = ownBundles()): Promise<string> {
  const source = { bundles, validateSat: () => Promise.reject(new ShellstreamError('SAT_INVALID')) };
  const verifier = new SpireSatVerifier({ source });
  const audiences = { plain: GATEWAY, bound: `${GATEWAY}#x` };
  return await verifier
    .verify({ token, subject: id('spiffe://away.test/ops'), audiences, fresh: false, now: clock.now() })
    .then(() => 'accepted', reasonOf);
}

function ownBundles(): TrustBundles {
  const jwt = parseJwtBundle('away.test', away.authority.jwtBundle, clock.now());
  return { x509: new Map(), jwt: new Map([['away.test', jwt]]) };
}

function id(text: string): SpiffeId {
  const parsed = parseSpiffeId(text);
  if (parsed === undefined) throw new Error(text);
  return parsed;
}
