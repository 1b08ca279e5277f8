import { createServer, type Http2Server } from 'node:http2';
import { join } from 'node:path';
import type { MessageInitShape } from '@bufbuild/protobuf';
import { connectNodeAdapter } from '@connectrpc/connect-node';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { hostile, type TrustDomain } from '../../certs-dev/index.ts';
import { SteppedClock, TemporaryDomains } from '../../certs-dev/testing.ts';
import { reasonOf } from '../../protocol/errors.ts';
import {
  type JWTBundlesResponseSchema,
  SpiffeWorkloadAPI,
  type X509SVIDResponseSchema,
} from '../../protocol/gen/spiffe/workload/workload_pb.ts';
import { connectWorkloadApi, type X509Context } from './workload-api.ts';

type X509Answer = MessageInitShape<typeof X509SVIDResponseSchema>;
type JwtAnswer = MessageInitShape<typeof JWTBundlesResponseSchema>;

const clock = new SteppedClock();
let domains: TemporaryDomains;
let domain: TrustDomain;
let socketPath: string;
let server: Http2Server | undefined;

beforeEach(async () => {
  domains = await TemporaryDomains.create(clock);
  domain = await domains.start('a.test');
  socketPath = join(domains.directory, 'fake.sock');
});
afterEach(async () => {
  server?.close();
  await domains[Symbol.asyncDispose]();
});

describe('an agent’s answer is refused', () => {
  test.each<[string, () => X509Answer]>([
    [
      'when the certificate is of another SPIFFE ID',
      () => ({ svids: [{ ...svid(), spiffeId: 'spiffe://a.test/owner' }] }),
    ],
    ['when the SPIFFE ID is a trust domain’s', () => ({ svids: [{ ...svid(), spiffeId: 'spiffe://a.test' }] })],
    ['when there is no certificate', () => ({ svids: [{ ...svid(), x509Svid: new Uint8Array() }] })],
    ['when there are nine certificates', () => ({ svids: [{ ...svid(), x509Svid: repeated(9) }] })],
    ['when there are 33 identities', () => ({ svids: Array.from({ length: 33 }, svid) })],
    ['when there are bundles of 257 domains', () => ({ svids: [svid()], federatedBundles: manyBundles(257) })],
    ['when it is larger than 4 MiB', () => ({ svids: [svid()], crl: [new Uint8Array(4 * 1024 * 1024)] })],
    ['when the key is none', () => ({ svids: [{ ...svid(), x509SvidKey: new Uint8Array(3) }] })],
  ])('%s', async (_why, answer) => {
    await serve(answer(), {});
    await expect(firstContext()).rejects.toThrow();
  });
});

describe('an agent’s answer', () => {
  test('without a usable federated bundle leaves that domain out and keeps the rest', async () => {
    const good = domain.authority.x509Bundle;
    const federatedBundles = {
      'spiffe://good.test': good,
      'spiffe://rubbish.test': new Uint8Array([1, 2, 3]),
      'spiffe://BAD': good,
    };
    await serve({ svids: [svid()], federatedBundles }, {});
    expect([...(await firstContext()).bundles.keys()].sort()).toEqual(['a.test', 'good.test']);
  });

  test('never lets a federated entry stand in for our own bundle', async () => {
    const other = await domains.start('b.test');
    await serve({ svids: [svid()], federatedBundles: { 'spiffe://a.test': other.authority.x509Bundle } }, {});
    const [authority] = (await firstContext()).bundles.get('a.test')?.authorities ?? [];
    expect(Buffer.from(authority?.der ?? [])).toEqual(Buffer.from(domain.authority.x509Bundle));
  });

  test('with an authority of a kind we do not verify with leaves that one out', async () => {
    const weak =
      hostile.issueShaped(domain, clock, '/x', { uris: ['spiffe://a.test/x\0'] }).chain[0] ?? new Uint8Array();
    await serve({ svids: [{ ...svid(), bundle: Buffer.concat([weak, domain.authority.x509Bundle]) }] }, {});
    expect((await firstContext()).bundles.get('a.test')?.authorities).toHaveLength(1);
  });

  test('with JWT keys takes public ones for signatures and leaves out the rest', async () => {
    const { keys } = JSON.parse(Buffer.from(domain.authority.jwtBundle).toString());
    const others = [
      { kty: 'oct', kid: 'symmetric', k: 'AAAA' },
      { ...keys[0], kid: 'encrypts', use: 'enc' },
      { ...keys[0], kid: 'x509', use: 'x509-svid' },
      { kty: 'RSA', kid: 'weak', n: Buffer.alloc(64, 0xff).toString('base64url'), e: 'AQAB' },
      { kty: 'RSA', kid: 'slow', n: Buffer.alloc(256, 0xff).toString('base64url'), e: 'AQAAAAE' },
      { kty: 'RSA', kid: 'large', n: Buffer.alloc(1025, 0xff).toString('base64url'), e: 'AQAB' },
    ];
    const set = (list: unknown): Uint8Array => Buffer.from(JSON.stringify({ keys: list }));
    const bundles = {
      'spiffe://a.test': set([...keys, ...others]),
      'spiffe://twice.test': set([...keys, ...keys]),
      'spiffe://nameless.test': set([{ ...keys[0], kid: undefined }]),
      'spiffe://rubbish.test': Buffer.from('{'),
    };
    await serve({}, { bundles });
    const api = connectWorkloadApi(socketPath, () => clock.now());
    for await (const received of api.jwtBundles(AbortSignal.timeout(20_000))) {
      expect([...received.keys()]).toEqual(['a.test']);
      expect([...(received.get('a.test')?.authorities.keys() ?? [])]).toEqual([keys[0].kid]);
      return;
    }
    expect.unreachable();
  });

  test('that validates a token but names no SPIFFE ID refuses it', async () => {
    await serve({}, {});
    const api = connectWorkloadApi(socketPath, () => clock.now());
    const outcome = await api.validateJwt('x', 'y', AbortSignal.timeout(20_000)).catch(reasonOf);
    expect(outcome).toBe('SAT_INVALID');
  });
});

/** An agent that gives exactly these answers. */
async function serve(x509: X509Answer, jwt: JwtAnswer): Promise<void> {
  const started = createServer(
    connectNodeAdapter({
      routes: (router) =>
        router.service(SpiffeWorkloadAPI, {
          async *fetchX509SVID() {
            yield x509;
          },
          async *fetchJWTBundles() {
            yield jwt;
          },
          validateJWTSVID: () => ({ spiffeId: '' }),
        }),
    }),
  );
  server = started;
  await new Promise<void>((resolve) => started.listen(socketPath, resolve));
}

async function firstContext(): Promise<X509Context> {
  const api = connectWorkloadApi(socketPath, () => clock.now());
  for await (const context of api.x509Contexts(AbortSignal.timeout(20_000))) return context;
  throw new Error('the stream ended without an answer');
}

function svid(): { spiffeId: string; x509Svid: Uint8Array; x509SvidKey: Uint8Array; bundle: Uint8Array } {
  const issued = domain.authority.issueSvid('spiffe://a.test/web', 3600_000);
  return {
    spiffeId: issued.spiffeId,
    x509Svid: Buffer.concat(issued.chain),
    x509SvidKey: issued.privateKey.export({ type: 'pkcs8', format: 'der' }),
    bundle: domain.authority.x509Bundle,
  };
}

function repeated(count: number): Uint8Array {
  return Buffer.concat(Array(count).fill(svid().x509Svid));
}

function manyBundles(count: number): Record<string, Uint8Array> {
  return Object.fromEntries(
    Array.from({ length: count }, (_, at) => [`spiffe://d${at}.test`, domain.authority.x509Bundle]),
  );
}
