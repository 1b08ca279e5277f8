import { readdirSync, statSync } from 'node:fs';
import { connect } from 'node:net';
import { join } from 'node:path';
import { type Client, Code, ConnectError, createClient } from '@connectrpc/connect';
import { createGrpcTransport } from '@connectrpc/connect-node';
import { decodeJwt, decodeProtectedHeader } from 'jose';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { SpiffeWorkloadAPI } from '../protocol/gen/spiffe/workload/workload_pb.ts';
import { type Entry, federate, startTrustDomain, type TrustDomain } from './index.ts';
import { SteppedClock, TemporaryDomains } from './testing.ts';

let clock: SteppedClock;
let domains: TemporaryDomains;
let domain: TrustDomain;
let entry: Entry;

beforeEach(async () => {
  clock = new SteppedClock();
  domains = await TemporaryDomains.create(clock);
  domain = await domains.start('a.test');
  entry = await domain.register({ path: '/web', tier: 'master', scopes: ['net'] });
});
afterEach(() => domains[Symbol.asyncDispose]());

describe('as SPIRE’s agent was seen to do, certs-dev', () => {
  test('answers code 3 without the security header, on every method', async () => {
    const client = connectTo(entry.socketPath, {});
    const calls = [
      () => first(client.fetchX509SVID({})),
      () => first(client.fetchX509Bundles({})),
      () => first(client.fetchJWTBundles({})),
      () => client.fetchJWTSVID({ audience: ['x'] }),
      () => client.validateJWTSVID({ audience: 'x', svid: 'x' }),
    ];
    for (const call of calls) expect(await codeOf(call)).toBe(Code.InvalidArgument);
  });

  test('answers code 7 to callers that are not registered, and validates tokens for them', async () => {
    const client = connectTo(domain.agentSocket);
    expect(await codeOf(() => first(client.fetchX509SVID({})))).toBe(Code.PermissionDenied);
    expect(await codeOf(() => client.fetchJWTSVID({ audience: ['x'] }))).toBe(Code.PermissionDenied);
    const answer = await client.validateJWTSVID({ audience: 'x', svid: entry.identity.jwt(['x']) });
    expect(answer.spiffeId).toBe(entry.spiffeId);
  });

  test('ends streams with code 7 when the entry goes', async () => {
    const stream = connectTo(entry.socketPath).fetchX509SVID({})[Symbol.asyncIterator]();
    await stream.next();
    entry.delete();
    expect(await codeOf(() => stream.next())).toBe(Code.PermissionDenied);
  });

  test('ends streams with code 1 when the agent dies, then nothing listens', async () => {
    const client = connectTo(entry.socketPath);
    const stream = client.fetchX509SVID({})[Symbol.asyncIterator]();
    await stream.next();
    const end = codeOf(() => stream.next());
    await domain.killAgent();
    expect(await end).toBe(Code.Canceled);
    expect([Code.Internal, Code.Unavailable]).toContain(await codeOf(() => first(client.fetchX509SVID({}))));
  });

  test('a token still validates after its entry was deleted', async () => {
    const svid = entry.identity.jwt(['x']);
    entry.delete();
    await connectTo(entry.socketPath).validateJWTSVID({ audience: 'x', svid });
  });

  test('answers code 3 for a wrong audience, an expired token and no token', async () => {
    const client = connectTo(entry.socketPath);
    const svid = entry.identity.jwt(['x']);
    expect(await codeOf(() => client.validateJWTSVID({ audience: 'y', svid }))).toBe(Code.InvalidArgument);
    expect(await codeOf(() => client.validateJWTSVID({ audience: 'x', svid: 'x.y.z' }))).toBe(Code.InvalidArgument);
    expect(await codeOf(() => client.validateJWTSVID({ audience: 'x', svid: '' }))).toBe(Code.InvalidArgument);
    expect(await codeOf(() => client.fetchJWTSVID({ audience: [] }))).toBe(Code.InvalidArgument);
    clock.advance(300_000);
    expect(await codeOf(() => client.validateJWTSVID({ audience: 'x', svid }))).toBe(Code.InvalidArgument);
  });

  test('strips the claims of foreign domains outside the allow-list', async () => {
    const open = await domains.start('open.test', { foreignClaims: ['a.test'] });
    const closed = await domains.start('closed.test');
    const svid = entry.identity.jwt(['x']);
    const claims: unknown[] = [];
    for (const other of [domain, open, closed]) {
      if (other !== domain) federate(other, domain);
      claims.push((await connectTo(other.agentSocket).validateJWTSVID({ audience: 'x', svid })).claims?.tier);
    }
    expect(claims).toEqual(['master', 'master', undefined]);
  });

  test('caches a token per audience until half of its life, and mints new audiences at the server only', async () => {
    const token = entry.identity.jwt(['x']);
    clock.advance(149_000);
    expect(entry.identity.jwt(['x'])).toBe(token);
    clock.advance(1_000);
    const renewed = entry.identity.jwt(['x']);
    expect(renewed).not.toBe(token);
    domain.server.away(true);
    clock.advance(200_000);
    expect(entry.identity.jwt(['x'])).toBe(renewed);
    expect(await codeOf(async () => entry.identity.jwt(['y']))).toBe(Code.Unavailable);
    clock.advance(100_000);
    expect(await codeOf(async () => entry.identity.jwt(['x']))).toBe(Code.Unavailable);
  });

  test('mints aud, exp, iat, sub and what a credential composer adds, and no jti', () => {
    const token = entry.identity.jwt(['x']);
    const iat = clock.now() / 1000;
    expect(decodeJwt(token)).toEqual({
      aud: ['x'],
      exp: iat + 300,
      iat,
      sub: 'spiffe://a.test/web',
      tier: 'master',
      scopes: ['net'],
    });
    expect(decodeProtectedHeader(token)).toMatchObject({ alg: 'ES256', typ: 'JWT' });
  });
});

test('nothing rotates while the server is away, and what is due does when it is back', async () => {
  const { expiresAt } = entry.identity.x509();
  domain.server.away(true);
  clock.advance(3000_000);
  expect(entry.identity.x509().expiresAt).toBe(expiresAt);
  domain.server.away(false);
  clock.advance(0);
  expect(entry.identity.x509().expiresAt).toBe(expiresAt + 3000_000);
});

test('keys are readable by their owner only, and a restarted domain is the same one', async () => {
  const directory = join(domains.directory, 'a.test');
  const modes = readdirSync(directory)
    .filter((name) => !name.endsWith('.sock'))
    .map((name) => statSync(join(directory, name)).mode & 0o777);
  expect(modes).toEqual([0o600]);
  const bundle = domain.bundle();
  await domain.stop();
  await using again = await startTrustDomain({ name: 'a.test', directory, clock });
  expect(again.bundle()).toEqual(bundle);
  const { chain } = again.authority.issueSvid('spiffe://a.test/x', 3600_000);
  expect(chain).toHaveLength(1);
});

function connectTo(
  socketPath: string,
  headers: Record<string, string> = { 'workload.spiffe.io': 'true' },
): Client<typeof SpiffeWorkloadAPI> {
  const transport = createGrpcTransport({
    baseUrl: 'http://localhost',
    nodeOptions: { createConnection: () => connect(socketPath) },
    interceptors: [
      (next) => (request) => {
        for (const [name, value] of Object.entries(headers)) request.header.set(name, value);
        return next(request);
      },
    ],
  });
  return createClient(SpiffeWorkloadAPI, transport);
}

/** The first message of a stream, which then stays open until its connection goes. */
async function first<T>(stream: AsyncIterable<T>): Promise<IteratorResult<T>> {
  return await stream[Symbol.asyncIterator]().next();
}

async function codeOf(call: () => Promise<unknown>): Promise<Code | undefined> {
  try {
    await call();
    return undefined;
  } catch (error) {
    return ConnectError.from(error).code;
  }
}
