/** Revocation on two gateways: signed at one, heard by the other, and what it leaves in the kernel. */
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { parseSpiffeId } from '../../protocol/identity/spiffe-id.ts';
import { nodeCrypto } from '../../src/base/crypto-node.ts';
import { createRevocationKey } from '../../src/identity/revocation-keys.ts';
import { GATEWAY_B, GRANTED_TARGET, HOST, type Lab, PORTS, TO_SITE_B } from '../lab/lab.ts';
import { labSuite } from '../lab/lab-suite.ts';
import type { Site } from '../lab/site.ts';
import { dumpNumbers } from '../support/bpf-maps.ts';
import { eventually } from '../support/eventually.ts';

const ISSUER = 'spiffe://site-b.test/revocation';
const GATEWAY_A = 'spiffe://site-a.test/gateway';
const FEED = { host: '10.77.0.2', port: 7844 };

interface Listed {
  readonly issuers: readonly { readonly issuer: string; readonly last: number; readonly stale?: string }[];
  readonly statements: readonly { readonly number: number }[];
}

labSuite('revocation', { start: false }, (lab) => {
  test('by identity ends stream, tunnel and flows at once, bars the way back, and outlives SIGKILL', async () => {
    const { a, b } = lab();
    const key = await startWithFeed(lab());
    const operator = await a.person({ path: '/people/operator', tier: 'journeyman' });
    await using connected = a.startConnect(operator, ...TO_SITE_B, ...GRANTED_TARGET, '--json');
    const { listening }: { listening: string } = JSON.parse(await connected.line(/"listening"/));
    await using stream = a.startClient(Number(listening.split(':').at(-1)));
    await stream.line(/^hello/);
    await eventually('the tunnel', () => a.greeting(HOST, PORTS.granted));
    expect(await flowsOf(b)).toBeGreaterThan(0);

    await revoke(b, key, 'identity', 'spiffe://site-a.test/people/operator');
    expect((await stream.finished).stdout).toContain('broken ECONNRESET');
    expect((await connected.finished).code).toBe(1);
    const back = await a.connect(operator, ...TO_SITE_B, '--ping');
    expect(back).toMatchObject({ code: 1 });
    expect(back.stderr).toContain('NOT_AUTHENTICATED');
    await b.gateway.line(/"reason":"REVOKED".*"msg":"handshake refused"/);
    await eventually('the tunnel still', () => a.greeting(HOST, PORTS.granted));

    await revoke(b, key, 'identity', GATEWAY_A);
    // It has answered: nothing is waited for.
    expect(await flowsOf(b)).toBe(0);
    expect((await b.run('wg', 'show', b.interfaceName, 'peers')).stdout.trim()).toBe('');
    expect(await recorded(b)).toMatchObject([
      { subject: 'spiffe://site-a.test/people/operator', kind: 'identity', endedSessions: 1 },
      { subject: GATEWAY_A, kind: 'identity', endedSessions: 1 },
    ]);
    await b.kill();
    expect(await a.greeting(HOST, PORTS.granted)).toBeUndefined();
    await b.start(await serving(lab(), key));
    // Site-a dials the more seldom the longer it is refused.
    await b.gateway.line(/"reason":"REVOKED".*"msg":"handshake refused"/, 60_000);
    expect(await b.sessions()).toEqual([]);
    expect((await b.run('wg', 'show', b.interfaceName, 'peers')).stdout.trim()).toBe('');
    expect(await flowsOf(b)).toBe(0);
    const { issuers, statements } = await b.json<Listed>('revocations', 'list');
    expect(statements.map(({ number }) => number)).toEqual([1, 2]);
    expect(issuers).toMatchObject([{ issuer: ISSUER, last: 2 }]);
  });

  test('signed at site-b is heard and held to by site-a; with the feed silent, level 3 lets nobody new in', async () => {
    const { a, b } = lab();
    const listed = await eventually('both statements at site-a', async () => {
      const list = await a.json<Listed>('revocations', 'list');
      return list.statements.length === 2 && list.issuers[0]?.stale === undefined && list;
    });
    expect(listed.issuers).toMatchObject([{ issuer: ISSUER, last: 2 }]);
    await b.stop();
    await eventually('a feed that has gone silent', async () => {
      const list = await a.json<Listed>('revocations', 'list');
      return list.issuers[0]?.stale === 'silent';
    });
    await a.setPosture(3);
    const operator = await a.person({ path: '/people/someone', tier: 'master' });
    const refused = await a.connect(operator, '--gateway', '10.77.0.1:7843', '--gateway-id', GATEWAY_A, '--ping');
    expect(refused.stderr).toContain('NOT_AUTHENTICATED');
    await a.gateway.line(/"reason":"REVOCATIONS_STALE".*"msg":"handshake refused"/);
  });
});

async function startWithFeed(made: Lab): Promise<string> {
  const { a, b } = made;
  const key = join(made.directory, 'revocation.key');
  const publicKey = await createRevocationKey(key, spiffeId(ISSUER), nodeCrypto.randomBytes);
  publicKeys.set(key, publicKey);
  await b.start(await serving(made, key));
  const keys = [{ issuer: ISSUER, publicKey }];
  const feeds = [{ address: `${FEED.host}:${FEED.port}`, spiffeId: GATEWAY_B }];
  await a.start({ revocation: { keys, staleSeconds: 3, feeds } });
  await Promise.all([a, b].map((site) => site.gateway.line(/"msg":"session opened"/)));
  return key;
}

const publicKeys = new Map<string, string>();

async function serving(_: Lab, keyFile: string): Promise<object> {
  return {
    revocation: {
      keys: [{ issuer: ISSUER, publicKey: publicKeys.get(keyFile) }],
      heartbeat: { keyFile, seconds: 1 },
      serve: { address: `${FEED.host}:${FEED.port}`, allow: [GATEWAY_A] },
    },
  };
}

async function revoke(site: Site, key: string, ...what: readonly string[]): Promise<void> {
  await site.json('revoke', ...what, '--key', key, '--reason', 'drill');
}

/** Revocations in the evidence of a gateway, oldest first. */
async function recorded(site: Site): Promise<readonly object[]> {
  const { stdout } = await site.shellstream('evidence', 'list', '--kind', 'revocation', '--json');
  const lines: { artifact: { revocation: object } }[] = stdout
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line));
  return lines.map(({ artifact }) => artifact.revocation);
}

/** Entries of the policy map in the kernel. */
async function flowsOf(site: Site): Promise<number> {
  return (await dumpNumbers(`${site.pins}/flow_policy`)).size;
}

function spiffeId(text: string) {
  const id = parseSpiffeId(text);
  if (id === undefined) throw new Error(text);
  return id;
}
