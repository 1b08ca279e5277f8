import { createHash } from 'node:crypto';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { type Entry, federate, hostile, memorySource, type TrustDomain } from '../../certs-dev/index.ts';
import { SteppedClock, TemporaryDomains } from '../../certs-dev/testing.ts';
import { ShellstreamError } from '../../protocol/errors.ts';
import { parseSpiffeId, type SpiffeId } from '../../protocol/identity/spiffe-id.ts';
import { type SatRequest, SpireSatVerifier, type VerifiedSat } from './sat.ts';

const GATEWAY = 'spiffe://home.test/gateway';
const audiences = { plain: GATEWAY, bound: `${GATEWAY}#handshake` };
const subject = id('spiffe://away.test/ops');

let clock: SteppedClock;
let domains: TemporaryDomains;
let home: TrustDomain;
let away: TrustDomain;
let peer: Entry;
let source: ReturnType<typeof memorySource>;
let validations: number;
let verifier: SpireSatVerifier;

beforeEach(async () => {
  clock = new SteppedClock();
  domains = await TemporaryDomains.create(clock);
  home = await domains.start('home.test');
  away = await domains.start('away.test');
  federate(home, away);
  peer = await away.register({ path: '/ops', tier: 'master', scopes: ['net:read'] });
  source = memorySource(home, await home.register({ path: '/gateway' }), clock);
  validations = 0;
  const counted: ConstructorParameters<typeof SpireSatVerifier>[0]['source'] = {
    get bundles() {
      return source.bundles;
    },
    validateSat(token, audience, signal) {
      validations += 1;
      return source.validateSat(token, audience, signal);
    },
  };
  verifier = new SpireSatVerifier({ source: counted, cacheCapacity: 2 });
});
afterEach(() => domains[Symbol.asyncDispose]());

describe('a SAT is verified', () => {
  test('with its tier, scopes, times and an id over what is signed', async () => {
    const token = peer.identity.jwt([GATEWAY]);
    expect(await verify({ token })).toEqual({
      tokenId: createHash('sha256')
        .update(token.slice(0, token.lastIndexOf('.')))
        .digest('hex'),
      subject,
      tier: 'master',
      scopes: ['net:read'],
      issuedAt: clock.now(),
      expiresAt: clock.now() + 300_000,
      bound: false,
    });
    expect(validations).toBe(0);
  });

  test('when fresh by the agent too, every time, and only with the bound audience', async () => {
    const token = peer.identity.jwt([audiences.bound]);
    expect(await verify({ token, fresh: true })).toMatchObject({ bound: true, tier: 'master' });
    await verify({ token, fresh: true });
    expect(validations).toBe(2);
  });

  test('with the bound audience where none was asked for', async () => {
    expect(await verify({ token: peer.identity.jwt([audiences.bound]) })).toMatchObject({ bound: true });
  });

  test('with no tier and no scopes when it has none', async () => {
    expect(await verify({ token: mint() })).toMatchObject({ tier: undefined, scopes: [] });
  });

  test('with scopes in one string', async () => {
    expect(await verify({ token: mint({ claims: { scopes: 'a  b' } }) })).toMatchObject({ scopes: ['a', 'b'] });
  });

  test('when its issuer’s clock is 60 s ahead, and not when 61', async () => {
    const now = clock.now() / 1000;
    await verify({ token: mint({ claims: { iat: now + 60 } }) });
    expect(await refusal({ token: mint({ claims: { iat: now + 61 } }) })).toBe('SAT_INVALID');
    expect(await refusal({ token: mint({ claims: { nbf: now + 61 } }) })).toBe('SAT_INVALID');
  });
});

describe('a SAT is refused', () => {
  const seconds = Math.floor(new SteppedClock().now() / 1000);
  test.each<[string, string, hostile.SatShape]>([
    ['of another subject: a stolen token', 'SAT_WRONG_SUBJECT', { claims: { sub: 'spiffe://away.test/owner' } }],
    ['of another domain’s subject', 'SAT_WRONG_SUBJECT', { claims: { sub: 'spiffe://home.test/ops' } }],
    ['for another audience', 'SAT_WRONG_AUDIENCE', { claims: { aud: ['spiffe://home.test/other'] } }],
    ['bound to another handshake', 'SAT_WRONG_AUDIENCE', { claims: { aud: [`${GATEWAY}#another`] } }],
    [
      'for two audiences, each of which could present it to the other',
      'SAT_INVALID',
      { claims: { aud: [GATEWAY, 'x'] } },
    ],
    ['for no audience', 'SAT_INVALID', { claims: { aud: [] } }],
    ['that has expired this very moment', 'SAT_EXPIRED', { claims: { exp: seconds } }],
    ['without an expiry', 'SAT_INVALID', { claims: { exp: undefined } }],
    ['with an expiry in a string', 'SAT_INVALID', { claims: { exp: String(seconds + 9) } }],
    ['with an infinite expiry', 'SAT_INVALID', { claims: { exp: 1e300 } }],
    ['without a time of issue, which a cutoff needs', 'SAT_INVALID', { claims: { iat: undefined } }],
    ['signed by a key of no bundle under a known key id', 'SAT_INVALID', { otherSigner: true }],
    ['with an unknown key id', 'SAT_INVALID', { header: { kid: 'other' } }],
    ['without a key id', 'SAT_INVALID', { header: { kid: undefined } }],
    ['that says it is not signed', 'SAT_INVALID', { header: { alg: 'none' } }],
    ['that names HMAC, with the public key as secret', 'SAT_INVALID', { header: { alg: 'HS256' } }],
    ['that names another curve’s algorithm', 'SAT_INVALID', { header: { alg: 'ES384' } }],
    ['with a critical header we do not know', 'SAT_INVALID', { header: { crit: ['b64'], b64: false } }],
    ['of another type', 'SAT_INVALID', { header: { typ: 'at+jwt' } }],
    ['with a tier that is none', 'SAT_INVALID', { claims: { tier: 'root' } }],
    ['with a tier in a list', 'SAT_INVALID', { claims: { tier: ['apprentice', 'site_owner'] } }],
    ['with scopes that are no words', 'SAT_INVALID', { claims: { scopes: [1] } }],
    ['with more scopes than 64', 'SAT_INVALID', { claims: { scopes: Array(65).fill('x') } }],
    ['of more than 8 KiB', 'SAT_INVALID', { claims: { pad: 'x'.repeat(8192) } }],
  ])('%s', async (_attack, expected, shape) => {
    expect(await refusal({ token: mint(shape) })).toBe(expected);
  });

  test.each([
    ['empty', () => ''],
    ['two parts', (token: string) => token.slice(0, token.lastIndexOf('.'))],
    ['without a signature', (token: string) => token.slice(0, token.lastIndexOf('.') + 1)],
    ['four parts', (token: string) => `${token}.e30`],
    ['with padding', (token: string) => `${token}=`],
    ['in base64 that is not for URLs', (token: string) => token.replace('.', '+.')],
    ['with a newline behind it', (token: string) => `${token}\n`],
  ])('when it is %s', async (_form, change) => expect(await refusal({ token: change(mint()) })).toBe('SAT_INVALID'));

  test('when a claim is named twice, as agents and gateways may read different ones', async () => {
    const [header, , signature] = mint().split('.');
    const payload = Buffer.from(`{"sub":"${subject}","aud":"x","aud":"${GATEWAY}","exp":1,"iat":1}`).toString(
      'base64url',
    );
    expect(await refusal({ token: `${header}.${payload}.${signature}` })).toBe('SAT_INVALID');
  });

  test('when a fresh one is asked for and it is not bound to the handshake', async () => {
    const token = mint();
    await verify({ token });
    expect(await refusal({ token, fresh: true })).toBe('SAT_NOT_FRESH');
  });

  test('when no bundle of its domain is at hand', async () => {
    home.distrust('away.test');
    source.refresh();
    expect(await refusal({ token: mint() })).toBe('SAT_UNVERIFIABLE');
  });

  test('when fresh and the agent has already dropped the authority that the stream still shows', async () => {
    const token = peer.identity.jwt([audiences.bound]);
    away.rotateAuthorities({ forget: true });
    expect(await refusal({ token, fresh: true })).toBe('SAT_INVALID');
  });

  test('when fresh and the agent names another subject', async () => {
    const token = peer.identity.jwt([audiences.bound]);
    const validateSat = async (): Promise<SpiffeId> => id('spiffe://away.test/owner');
    const doubting = new SpireSatVerifier({ source: { bundles: source.bundles, validateSat } });
    const request = { token, subject, audiences, fresh: true, now: clock.now() };
    await expect(doubting.verify(request)).rejects.toThrow('SAT_WRONG_SUBJECT');
  });

  test('when fresh and the wait was given up', async () => {
    const token = peer.identity.jwt([audiences.bound]);
    expect(await refusal({ token, fresh: true, signal: AbortSignal.abort() })).toBe('SAT_UNVERIFIABLE');
  });
});

describe('what is remembered', () => {
  test('does not let the same claims pass with any signature at all', async () => {
    const token = mint();
    await verify({ token });
    const forged = `${token.slice(0, token.lastIndexOf('.'))}.${Buffer.alloc(64, 1).toString('base64url')}`;
    expect(await refusal({ token: forged })).toBe('SAT_INVALID');
  });

  test('does not serve another subject or audience', async () => {
    const token = mint();
    await verify({ token });
    expect(await refusal({ token, subject: id('spiffe://away.test/owner') })).toBe('SAT_WRONG_SUBJECT');
    expect(await refusal({ token, audiences: { plain: 'x', bound: 'y' } })).toBe('SAT_WRONG_AUDIENCE');
  });

  test('ends with the token', async () => {
    const token = mint();
    await verify({ token });
    clock.advance(300_000);
    expect(await refusal({ token })).toBe('SAT_EXPIRED');
  });

  test('ends when the bundle changes', async () => {
    const token = mint();
    await verify({ token });
    away.rotateAuthorities({ forget: true });
    source.refresh();
    expect(await refusal({ token })).toBe('SAT_INVALID');
  });

  test('a token changed into its other valid signature keeps its id', async () => {
    const token = mint();
    const [first, second] = [await verify({ token }), await verify({ token: hostile.malleate(token) })];
    expect(second.tokenId).toBe(first.tokenId);
  });
});

function mint(shape: hostile.SatShape = {}): string {
  return hostile.mintShaped(away, clock, '/ops', GATEWAY, shape);
}

function verify(request: Partial<SatRequest> & { token: string }): Promise<VerifiedSat> {
  return verifier.verify({ subject, audiences, fresh: false, now: clock.now(), ...request });
}

async function refusal(request: Partial<SatRequest> & { token: string }): Promise<string> {
  try {
    await verify(request);
    return 'accepted';
  } catch (error) {
    return error instanceof ShellstreamError ? error.reason : `not ours: ${error}`;
  }
}

function id(text: string): SpiffeId {
  const parsed = parseSpiffeId(text);
  if (parsed === undefined) throw new Error(text);
  return parsed;
}
