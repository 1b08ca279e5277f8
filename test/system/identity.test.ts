/** What happens to live sessions when identities rotate, run out or go, and when tokens must be fresh. */
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { GATEWAY_B, GRANTED_TARGET, HOST, PORTS, TO_SITE_B } from '../lab/lab.ts';
import { labSuite, startBoth } from '../lab/lab-suite.ts';
import { watchMints } from '../lab/mints.ts';
import type { Site } from '../lab/site.ts';
import { bootTimeNs } from '../support/boot-time.ts';
import { dumpValues } from '../support/bpf-maps.ts';
import { Capture } from '../support/capture.ts';
import { eventually } from '../support/eventually.ts';
import { runHostile } from '../support/hostile/index.ts';
import { UDP } from '../support/pcap.ts';

labSuite('an SVID that rotates', {}, (lab) => {
  test('is attested again in the session; the tunnel shakes hands anew under the new key, and connections live on', async () => {
    const { a, b, directory } = lab();
    await using capture = await Capture.start(a.namespace, 'wan', join(directory, 'rotation.pcap'));
    const initiations = async (): Promise<number> =>
      (await capture.packets()).filter(({ ip }) => ip?.protocol === UDP && ip.payload[0] === 1).length;
    await using connection = a.inside('nc', [HOST, String(PORTS.granted)]);
    await connection.line(/^hello/);
    const before = await initiations();
    const [session] = await b.sessions('mesh');

    a.options.gateway.rotate();
    await a.gateway.line(/"msg":"session attested again"/);
    await b.gateway.line(/"msg":"session attested again"/);
    connection.write('still there\n');
    await connection.line(/^still there/);
    expect(await initiations()).toBeGreaterThan(before);
    expect((await b.sessions('mesh')).map(({ id }) => id)).toEqual([session?.id]);
  });

  test('of the responder leaves the session as it is', async () => {
    const { a, b } = lab();
    using console = await b.console();
    const svidEndsAt = async (): Promise<number | undefined> => (await console.status()).identity.svidExpiresAtMs;
    const [session] = await b.sessions('mesh');
    const before = await svidEndsAt();
    b.options.gateway.rotate();
    await eventually('site-b with the new SVID', async () => (await svidEndsAt()) !== before);
    expect(await eventually('the granted target', () => a.greeting(HOST, PORTS.granted))).toBe(
      `hello ${PORTS.granted}`,
    );
    expect((await a.sessions('mesh')).map(({ id }) => id)).toEqual([session?.id]);
  });

  test('of an operator is attested again by connect, which goes on carrying', async () => {
    const { a } = lab();
    const operator = await a.person({ path: '/people/rotating', tier: 'journeyman' });
    await using session = a.startConnect(operator, ...TO_SITE_B, ...GRANTED_TARGET, '--json');
    const port = JSON.parse(await session.line(/"listening"/))
      .listening.split(':')
      .at(-1);
    await using client = a.inside('nc', ['127.0.0.1', String(port)]);
    await client.line(/^hello/);
    operator.rotate();
    await session.line(/attested-again/);
    client.write('still there\n');
    await client.line(/^still there/);
  });
});

const SHORT_MS = 12_000;

labSuite('an SVID that runs out', { start: false, svidTtlMs: SHORT_MS }, (lab) => {
  test('because the agent died: the flows lapse at that time in the kernel, and the session ends as expired', async () => {
    const { a, b, domains } = lab();
    await startBoth(lab());
    await eventually('the granted target', () => a.greeting(HOST, PORTS.granted));
    await renewed(a, b);
    await domains.a.killAgent();
    // Stopped, the gateway does nothing about it: what ends the session is the deadline in the map.
    b.gateway.kill('SIGSTOP');
    const expiry = await expiryInKernel(b.pins);
    const left = expiry - (await bootTimeNs());
    expect(left).toBeGreaterThan(0n);
    expect(left).toBeLessThanOrEqual(BigInt(SHORT_MS) * 1_000_000n);
    await eventually('the deadline', async () => (await bootTimeNs()) > expiry, { withinMs: SHORT_MS + 5_000 });
    expect(await expiryInKernel(b.pins)).toBe(expiry);
    b.gateway.kill('SIGCONT');
    await b.gateway.line(/"reason":"EXPIRED".*"msg":"session ended"/);
    expect(await a.greeting(HOST, PORTS.granted)).toBeUndefined();
    // The terminator says so when its end begins; the enforcer takes the tunnel away.
    const routes = async (): Promise<string> => (await b.run('ip', 'route', 'show', 'proto', '83')).stdout;
    await eventually('no route to it', async () => (await routes()) === '');
    await domains.a.startAgent();
    await eventually('a session with a new SVID', () => a.greeting(HOST, PORTS.granted), { withinMs: 60_000 });
  });

  test('because its entry was deleted: no attestation renews the session, and it ends with the SVID at the latest', async () => {
    const { a, b } = lab();
    await eventually('a session', async () => (await b.sessions('mesh')).length === 1);
    await renewed(a, b);
    a.options.gateway.delete();
    const said = b.log.length;
    const expiry = await expiryInKernel(b.pins);
    const seen = new Set([expiry]);
    await eventually('the end of the session', async () => {
      const standing = await expiriesInKernel(b.pins);
      for (const one of standing) seen.add(one);
      return standing.length === 0 && (await b.sessions()).length === 0;
    });
    expect(seen).toEqual(new Set([expiry]));
    // Log lines leave some milliseconds after what they tell.
    await eventually('the log of it', () => b.log.slice(said).includes('"msg":"session ended"'));
    expect(b.log.slice(said)).toMatch(/"reason":"(NOT_AUTHENTICATED|EXPIRED)".*"msg":"session ended"/);
    expect(b.log.slice(said)).not.toContain('session attested again');
    expect(await a.greeting(HOST, PORTS.granted)).toBeUndefined();
  });
});

labSuite('an agent that restarts', {}, (lab) => {
  test.for(['a', 'b'] as const)('is waited for by a session that attests again: that of site %s', async (name) => {
    const { a, b, domains } = lab();
    await eventually('the granted target', () => a.greeting(HOST, PORTS.granted));
    const [session] = await b.sessions('mesh');
    const from = b.log.length;
    await domains[name].killAgent();
    // It has each session attest again, with a token that site-a's agent mints and site-b's confirms.
    await b.setPosture(3);
    await eventually('site-a to know', async () => (await a.sessions('mesh'))[0]?.effectiveLevel === 3);
    await domains[name].startAgent();
    await eventually('a renewal', () => b.log.slice(from).includes('"msg":"session attested again"'));
    expect(await b.sessions('mesh')).toMatchObject([{ id: session?.id, effectiveLevel: 3 }]);
    await b.setPosture(5);
  });
});

labSuite('a token', {}, (lab) => {
  test('at 5 is taken from the cache, so a handshake outlives the server; at 3 it must be fresh, and there is none', async () => {
    const { a, domains } = lab();
    const operator = await a.person({ path: '/people/cached', tier: 'journeyman' });
    const minted = watchMints(operator);
    expect((await a.connect(operator, ...TO_SITE_B, '--ping')).code).toBe(0);
    domains.a.server.away(true);
    try {
      expect((await a.connect(operator, ...TO_SITE_B, '--ping')).code).toBe(0);
      expect(new Set(minted)).toEqual(new Set([GATEWAY_B]));
      const atThree = await a.connect(operator, ...TO_SITE_B, '--posture', '3', '--ping');
      expect(atThree.code).toBe(1);
      expect(atThree.stderr).toContain('SAT_UNVERIFIABLE');
      // It was asked for this very handshake, under an audience that nobody could have had before.
      expect(minted.at(-1)).toMatch(new RegExp(`^${GATEWAY_B}#[A-Za-z0-9_-]{43}$`));
    } finally {
      domains.a.server.away(false);
    }
  });

  test('that is not bound to the handshake is refused while site-b is at 3', async () => {
    const { a, b } = lab();
    const operator = await a.person({ path: '/people/stale', tier: 'journeyman' });
    await b.setPosture(3);
    try {
      const visit = { workloadApi: operator.socketPath, url: 'ws://10.77.0.2:7843/', gatewayId: GATEWAY_B };
      const stolenToken = operator.identity.jwt([GATEWAY_B]);
      expect(await runHostile(a, 'stolen-token', { ...visit, stolenToken })).toMatchObject({ outcome: 'refused' });
      await b.gateway.line(/"reason":"SAT_NOT_FRESH".*"msg":"handshake refused"/);
      expect(await runHostile(a, 'stolen-token', visit)).toMatchObject({ outcome: 'granted' });
    } finally {
      await b.setPosture(5);
    }
  });
});

/** From here on the next renewal is due when half of the new SVID's life is over: none is under way. */
async function renewed(a: Site, b: Site): Promise<void> {
  const sites = [a, b].map((site) => ({ site, from: site.log.length }));
  a.options.gateway.rotate();
  for (const { site, from } of sites) {
    await eventually('a renewal', () => site.log.slice(from).includes('"msg":"session attested again"'));
  }
}

/** Of the one session in the map, BOOTTIME. */
async function expiryInKernel(pins: string): Promise<bigint> {
  const active = await expiriesInKernel(pins);
  expect(active).toHaveLength(1);
  return active[0] ?? 0n;
}

/** Of active sessions. */
async function expiriesInKernel(pins: string): Promise<readonly bigint[]> {
  const sessions = [...(await dumpValues(`${pins}/session_state`)).values()];
  return sessions.filter((session) => session.readUInt32LE(16) === 1).map((session) => session.readBigUInt64LE(8));
}
