/** Attacks on what a gateway has little of: places, processor time, memory, descriptors, map entries. Beside each an honest peer. */
import { mkdir, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { beforeAll, expect, test } from 'vitest';
import { hostile } from '../../certs-dev/index.ts';
import { systemClock } from '../../src/base/clock.ts';
import { GATEWAY_B, HOST, PORTS, TO_SITE_B } from '../lab/lab.ts';
import { labSuite } from '../lab/lab-suite.ts';
import { eventually } from '../support/eventually.ts';
import { startHostile } from '../support/hostile/index.ts';
import { processorMs, residentBytes, treeOf } from '../support/process-tree.ts';
import { attempt, run } from '../support/processes.ts';

const MEBIBYTE = 1_048_576;
const CROWD = { host: '10.77.0.2', port: 7843 } as const;
const VISIT = { url: 'ws://10.77.0.2:7843/', gatewayId: GATEWAY_B } as const;
const WITHOUT_END = 1_000_000_000;
/** For a process: about as many as one terminator has open by itself, and a hundred. */
const FEW_DESCRIPTORS = 200;
/** Whoever came in may stay. */
const PATIENT = {
  pendingHandshakes: 10_000,
  handshakeSeconds: 60,
  perPrefixRate: { perSecond: 10_000, burst: 10_000 },
  handshakeBudget: { millisecondsPerSecond: 10_000, meshPercent: 25, meshSources: ['10.77.0.1/32'] },
};
const METRICS = '127.0.0.1:9843';

labSuite('a gateway with an honest peer, under', { start: false }, (lab) => {
  beforeAll(async () => {
    const { a, b } = lab();
    // The crowd comes from 256 networks behind the wire.
    await a.run('ip', 'route', 'add', 'local', '10.66.0.0/16', 'dev', 'lo');
    await b.run('ip', 'route', 'add', '10.66.0.0/16', 'via', '10.77.0.1');
    await b.start({
      limits: {
        pendingHandshakes: 64,
        handshakeSeconds: 2,
        silenceSeconds: 5,
        perPrefixRate: { perSecond: 10_000, burst: 10_000 },
        handshakeBudget: { millisecondsPerSecond: 100, meshPercent: 25, meshSources: ['10.77.0.1/32'] },
      },
      metrics: { address: METRICS },
    });
    await a.start();
    await eventually('the granted target', () => a.greeting(HOST, PORTS.granted));
  });

  /** The peer's session was ended, and it gets another one, with packets through the tunnel. */
  async function servesThePeer(): Promise<void> {
    const { a, b } = lab();
    const [former] = await b.sessions('mesh');
    if (former !== undefined) {
      const { code } = await b.shellstream('sessions', 'end', former.id);
      // Five silent seconds end a session here; under load it may have ended by itself.
      if (code !== 0) expect((await b.sessions('mesh')).map(({ id }) => id)).not.toContain(former.id);
    }
    await eventually(
      'another session of the peer',
      async () => {
        const [session] = await b.sessions('mesh');
        return session !== undefined && session.id !== former?.id;
      },
      { withinMs: 60_000 },
    );
    await eventually('the granted target', () => a.greeting(HOST, PORTS.granted), { withinMs: 60_000 });
  }

  async function grownBy(before: number): Promise<number> {
    return Math.round((await residentBytes(lab().b.gateway.pid)) / MEBIBYTE - before / MEBIBYTE);
  }

  async function refused(reason: string): Promise<number> {
    const { stdout } = await lab().b.run('curl', '-s', `http://${METRICS}/metrics`);
    const line = new RegExp(`^shellstream_connections_refused_total\\{reason="${reason}"\\} (\\d+)$`, 'm').exec(stdout);
    return Number(line?.[1] ?? 0);
  }

  test.for(['silent', 'half-open'] as const)('10,000 connections that are %s', async (what) => {
    const { a, b } = lab();
    const before = await residentBytes(b.gateway.pid);
    const refusedBefore = await refused('OVERLOADED');
    await using crowd = startHostile(a, 'crowd', { what, ...CROWD, count: 10_000 });
    const counts = JSON.parse((await crowd.line(/^all /, 120_000)).slice(4));
    await servesThePeer();
    expect(counts.connected).toBeGreaterThan(9_900);
    await eventually('refusals in the metrics', async () => (await refused('OVERLOADED')) > refusedBefore);
    const grown = await grownBy(before);
    expect(grown).toBeLessThan(400);
  });

  test('a flood of valid ATTEST-INITs: its budget is spent, the mesh has its own', async () => {
    const { a, b } = lab();
    const before = await residentBytes(b.gateway.pid);
    const refusedBefore = await refused('OVERLOADED');
    await using crowd = startHostile(a, 'crowd', { what: 'inits', ...CROWD, count: WITHOUT_END });
    await eventually('refusals in the metrics', async () => (await refused('OVERLOADED')) > refusedBefore);
    await servesThePeer();
    await crowd.line(/"verified":[1-9]/);
    crowd.kill();
    const grown = await grownBy(before);
    expect(grown).toBeLessThan(200);
  });

  test('bytes that drip, in the upgrade and in a record: each has the time of its step and no more', async () => {
    const { a } = lab();
    await using drip = startHostile(a, 'crowd', { what: 'drip', ...CROWD, count: 2 });
    await drip.line(/^cut in the record$/);
    await servesThePeer();
    await drip.line(/^cut in the upgrade$/);
  });

  test('a peer that asks a hundred thousand times and never reads: no answers are kept for it, and it ends as silent', async () => {
    const { a, b } = lab();
    const before = await residentBytes(b.gateway.pid);
    const person = await a.person({ path: '/people/silent', tier: 'apprentice' });
    await using silent = startHostile(a, 'never-reads', { ...VISIT, workloadApi: person.socketPath });
    await silent.line(/^asked/);
    await servesThePeer();
    await b.gateway.line(/"reason":"PEER_SILENT".*"msg":"session ended"/);
    const grown = await grownBy(before);
    expect(grown).toBeLessThan(200);
  });

  test('forged tokens under a valid SVID: all are refused with one word', async () => {
    const { a, b, domains } = lab();
    const person = await a.person({ path: '/people/forger', tier: 'apprentice' });
    const forged = (shape: hostile.SatShape): string =>
      hostile.mintShaped(domains.a, systemClock, '/people/forger', GATEWAY_B, shape);
    const seconds = Math.floor(systemClock.now() / 1000);
    const good = forged({ claims: { tier: 'apprentice' } });
    const [header, payload] = good.split('.');
    const none = Buffer.from(JSON.stringify({ alg: 'none', typ: 'JWT' })).toString('base64url');
    const tokens = {
      none: `${none}.${payload}.`,
      cut: `${header}.${payload}.`,
      hmac: forged({ header: { alg: 'HS256' } }),
      expired: forged({ claims: { exp: seconds - 1 } }),
      'of tomorrow': forged({ claims: { iat: seconds + 86_400 } }),
      'for another gateway': forged({ claims: { aud: ['spiffe://site-b.test/other'] } }),
      'of another subject': forged({ claims: { sub: 'spiffe://site-a.test/people/owner' } }),
      'of another issuer': forged({ otherSigner: true }),
      'of another domain': hostile.mintShaped(domains.b, systemClock, '/people/forger', GATEWAY_B),
    };
    const options = { ...VISIT, workloadApi: person.socketPath, tokens: [...Object.values(tokens), good] };
    await using forger = startHostile(a, 'tokens', options);
    const { stdout } = await forger.finished;
    const outcomes = stdout.trim().split('\n');
    expect(outcomes).toEqual([...Object.values(tokens).map(() => 'NOT_AUTHENTICATED'), 'granted']);
    for (const token of Object.values(tokens)) expect(b.log).not.toContain(token);
    await servesThePeer();
  });

  test('no descriptors left: nothing spins, live sessions carry on, and peers come back after', async () => {
    const { a, b } = lab();
    const late = await a.person({ path: '/people/late', tier: 'apprentice' });
    await b.stop();
    await b.start({ limits: PATIENT }, { before: ['prlimit', `--nofile=${FEW_DESCRIPTORS}:${FEW_DESCRIPTORS}`] });
    await eventually('the granted target', () => a.greeting(HOST, PORTS.granted), { withinMs: 60_000 });
    await using crowd = startHostile(a, 'crowd', { what: 'silent', ...CROWD, count: 1_000 });
    await crowd.line(/^all /);
    await b.gateway.line(/"reason":"OVERLOADED".*"msg":"connections turned away"/);
    expect(await eventually('the granted target', () => a.greeting(HOST, PORTS.granted))).toBe(
      `hello ${PORTS.granted}`,
    );
    await eventually('a gateway that rests', async () => {
      const [began, spent] = [systemClock.monotonic(), await processorMs(b.gateway.pid)];
      // From where the mesh comes, for which some are kept.
      expect((await a.connect(late, ...TO_SITE_B, '--ping')).code).toBe(0);
      // Of the time that this took. When the crowd is turned away it is less; one that spun would have a whole core for ever.
      return ((await processorMs(b.gateway.pid)) - spent) / (systemClock.monotonic() - began) < 0.7;
    });
    await servesThePeer();
  });

  test('a full map of flows: the session that does not fit is refused and told so, nothing of it stays', async () => {
    const { a, b, directory } = lab();
    const pin = `${b.pins}/flow_policy`;
    const operator = await a.person({ path: '/people/streams', tier: 'apprentice' });
    const entries = Array.from({ length: 65_536 }, (_, i) => filler(pin, i));
    const batch = async (name: string, lines: readonly string[]): Promise<void> => {
      const file = join(directory, name);
      await writeFile(file, `${lines.join('\n')}\n`);
      await run('bpftool', ['batch', 'file', file], { timeoutMs: 120_000 });
    };
    const { id } = await eventually('a session', async () => (await b.sessions('mesh'))[0]);
    const dialler = await treeOf(a.gateway.pid);
    // While it stands still, the places of its former session are filled as well.
    for (const pid of dialler) process.kill(pid, 'SIGSTOP');
    expect((await b.shellstream('sessions', 'end', id)).code).toBe(0);
    await batch(
      'fill',
      entries.map(({ update }) => update),
    );
    for (const pid of dialler) process.kill(pid, 'SIGCONT');
    try {
      await b.gateway.line(/"reason":"DATAPLANE_FULL".*"msg":"handshake refused"/);
      await a.gateway.line(/"reason":"OVERLOADED".*"msg":"dialling failed"/);
      expect(await b.sessions('mesh')).toEqual([]);
      expect((await b.run('ip', 'route', 'show', 'proto', '83')).stdout).toBe('');
      expect((await b.run('wg', 'show', b.interfaceName, 'peers')).stdout).toBe('');
      // Streams need no entry.
      expect((await a.connect(operator, ...TO_SITE_B, '--ping')).code).toBe(0);
    } finally {
      await batch(
        'empty',
        entries.map(({ remove }) => remove),
      );
    }
    await eventually('the granted target', () => a.greeting(HOST, PORTS.granted), { withinMs: 60_000 });
  });

  test('a full disk under log and state: the gateway goes on, peers are served, and lost lines are told after', async () => {
    const { a, b, directory } = lab();
    for (const site of [a, b]) await site.stop();
    const disk = join(directory, 'disk');
    const [log, filler] = [join(disk, 'gateway.log'), join(disk, 'filler')];
    await mkdir(disk);
    await run('mount', ['-t', 'tmpfs', '-o', 'size=64k', 'tmpfs', disk]);
    try {
      // Evidence has a place of its own: without one no session would open, as it must be.
      const evidence = { directory: join(directory, 'evidence') };
      await b.configure({ log: { file: log }, stateDirectory: join(disk, 'state'), evidence });
      await using gateway = b.startGateway();
      await eventually('the console', () => b.sessions());
      await a.start();
      await eventually('the granted target', () => a.greeting(HOST, PORTS.granted));
      await attempt('dd', ['if=/dev/zero', `of=${filler}`, 'bs=1k', 'count=128']);
      const length = (await readFile(log)).length;
      // Each is logged: more than the file's last page has room for.
      for (let i = 0; i < 60; i++) await b.setPosture(5);
      await servesThePeer();
      expect((await readFile(log)).length - length).toBeLessThan(4_096);
      expect(gateway.sofar().code).toBeNull();
      await rm(filler);
      await servesThePeer();
      await eventually('the number of lost lines', async () =>
        (await readFile(log, 'utf8')).includes('"msg":"log lines lost"'),
      );
    } finally {
      await run('umount', ['--lazy', disk]);
    }
  });
});

/** An entry of an interface that there is not. Layout: struct policy_key and struct policy of native/bpf/layout.h. */
function filler(pin: string, number: number): { readonly update: string; readonly remove: string } {
  const key = Buffer.alloc(28);
  key.writeUInt32LE(0x7fff_0000, 0);
  key.writeUInt32LE(number, 24);
  const hexOf = (bytes: Buffer): string => [...bytes].map((byte) => byte.toString(16).padStart(2, '0')).join(' ');
  const at = `pinned ${pin} key hex ${hexOf(key)}`;
  return { update: `map update ${at} value hex ${hexOf(Buffer.alloc(12))}`, remove: `map delete ${at}` };
}
