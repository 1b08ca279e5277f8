import { createSocket } from 'node:dgram';
import { once } from 'node:events';
import { writeFile } from 'node:fs/promises';
import { type AddressInfo, createServer } from 'node:net';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';
import { SteppedClock, TemporaryDomains } from '../../../certs-dev/testing.ts';
import type { Tier } from '../../../protocol/capability/index.ts';
import { ShellstreamError } from '../../../protocol/errors.ts';
import { parseSpiffeIdPattern } from '../../../protocol/identity/spiffe-id.ts';
import { DEFAULT_ACCORD_FILE, loadAccord } from '../../base/accord-file.ts';
import { systemClock } from '../../base/clock.ts';
import { parseConfig } from '../../base/config.ts';
import { nodeCrypto } from '../../base/crypto-node.ts';
import { silentLogger } from '../../base/logger.ts';
import { FACTS, ManualClock, temporaryFolder } from '../../control/fixtures.ts';
import { MemoryGateway } from '../../control/memory-view.ts';
import type { Finding } from '../../control/ports.ts';
import { startControl } from '../../control/server.ts';
import { FakeWorld } from '../fixtures.ts';
import type { Host } from './host.ts';
import { realHost } from './real-host.ts';

const EXAMPLE_ACCORD = fileURLToPath(new URL('../../../protocol/accords/example-site.yaml', import.meta.url));
const NOW = Date.UTC(2027, 0, 15, 8);
const CAPABLE = 'CapEff:\t000001ffffffffff\n';

describe('on a host that has everything', () => {
  it('nothing is missing: exit code 0', async () => {
    const { code, findings } = await diagnose({});
    expect(findings.filter(({ state }) => state === 'missing')).toEqual([]);
    expect(code).toBe(0);
    expect(findings.map(({ name }) => name)).toEqual([
      'node',
      'kernel',
      'privileges',
      'bpffs',
      'btf',
      'packet hooks',
      'tun',
      'wireguard',
      'native kernel',
      'native bpf',
      'native sandbox',
      'jail',
      'native crypto',
      'configuration',
      'accord',
      'workload api',
      'clock',
      'session port',
      'tunnel port',
      'gateway',
    ]);
  });
});

describe('each missing piece is named with what mends it', () => {
  it.each<[string, Partial<Host>, string, 'warning' | 'missing', RegExp, RegExp]>([
    ['no sandbox', unbuilt('sandbox'), 'native sandbox', 'missing', /not built/, /native\/build\.sh sandbox/],
    ['no bubblewrap', { whyNotJailed: async () => 'ENOENT' }, 'jail', 'warning', /ENOENT/, /bubblewrap/],
    ['an old Node', { nodeVersion: 'v20.20.2' }, 'node', 'missing', /v20/, /install Node 24/],
    ['an old kernel', { kernelRelease: '5.4.0-9-amd64' }, 'kernel', 'missing', /5\.4/, /linux-image-amd64/],
    [
      'an untested kernel',
      { kernelRelease: '5.15.0', ...files({ '/proc/modules': 'sch_ingress 16384 0\n' }) },
      'kernel',
      'warning',
      /tested from 6\.1/,
      /linux-image/,
    ],
    [
      'no capabilities',
      files({ '/proc/self/status': 'CapEff:\t0000000000000000\n' }),
      'privileges',
      'missing',
      /CAP_NET_ADMIN, CAP_BPF, CAP_PERFMON/,
      /as root/,
    ],
    [
      'CAP_SYS_ADMIN without CAP_NET_ADMIN',
      files({ '/proc/self/status': 'CapEff:\t0000000000200000\n' }),
      'privileges',
      'missing',
      /^without CAP_NET_ADMIN$/,
      /systemctl enable --now shellstream@main/,
    ],
    [
      'bpffs elsewhere',
      files({ '/proc/mounts': 'bpf /mnt bpf rw 0 0\n' }),
      'bpffs',
      'warning',
      /not mounted/,
      /mount -t/,
    ],
    ['no BTF', files({ '/sys/kernel/btf/vmlinux': undefined }), 'btf', 'warning', /none/, /linux-image/],
    ['no packet hook', { kernelRelease: '6.1.0' }, 'packet hooks', 'missing', /neither/, /modprobe sch_ingress/],
    ['no TUN', { whyNotOpen: async () => 'ENOENT' }, 'tun', 'warning', /ENOENT/, /modprobe tun/],
    [
      'no tunnel driver',
      { probeTunnel: async () => ({ driver: 'none', why: 'neither' }) },
      'wireguard',
      'missing',
      /neither/,
      /modprobe wireguard/,
    ],
    ['no kernel addon', unbuilt('kernel'), 'native kernel', 'missing', /not built/, /sh native\/build\.sh kernel/],
    ['no eBPF object', unbuilt('bpf'), 'native bpf', 'missing', /not built/, /sh native\/build\.sh bpf/],
    ['no crypto addon', unbuilt('crypto'), 'native crypto', 'warning', /stands in/, /sh native\/build\.sh crypto/],
    [
      'no configuration',
      { loadConfig: () => Promise.reject(new ShellstreamError('INTERNAL', '/x: ENOENT')) },
      'configuration',
      'missing',
      /ENOENT/,
      /^shellstream init --out \/etc\/shellstream --instance main$/,
    ],
    [
      'a configuration with an error',
      { loadConfig: () => Promise.reject(new ShellstreamError('MALFORMED', '/x:3:1: no such key')) },
      'configuration',
      'missing',
      /^\/x:3:1: no such key$/,
      /^mend .*explains every key/,
    ],
    [
      'an accord that widens',
      { loadAccord: () => Promise.reject(new ShellstreamError('MALFORMED', '/a:9:2: looser')) },
      'accord',
      'missing',
      /^\/a:9:2/,
      /mend .*accord/,
    ],
    [
      'no accord',
      { loadAccord: () => Promise.reject(new ShellstreamError('INTERNAL', '/a: ENOENT')) },
      'accord',
      'missing',
      /ENOENT/,
      /^shellstream init --trust-domain alpha\.test/,
    ],
    [
      'no agent',
      { workloadIdentity: () => Promise.reject(new Error('connect ENOENT')) },
      'workload api',
      'missing',
      /ENOENT/,
      /start the SPIRE agent/,
    ],
    [
      'an agent that does not know us',
      { workloadIdentity: () => Promise.reject(new Error('[permission_denied] no identity issued')) },
      'workload api',
      'missing',
      /no identity issued/,
      /spire-server entry create/,
    ],
    ['a clock that is ahead', expiring(NOW - 60_000), 'clock', 'missing', /ended 1 min ago/, /timedatectl/],
    ['a session port that is taken', taken('tcp'), 'session port', 'missing', /EADDRINUSE/, /ss -lnp --tcp/],
    ['a tunnel port that is taken', taken('udp'), 'tunnel port', 'warning', /EADDRINUSE/, /ss -lnp --udp/],
  ])('%s', async (_, lacks, name, state, detail, mend) => {
    const { code, findings } = await diagnose(lacks);
    const finding = findings.find((candidate) => candidate.name === name);
    expect(finding).toMatchObject({ name, state });
    expect(finding?.detail).toMatch(detail);
    expect(finding?.mend).toMatch(mend);
    expect(code).toBe(state === 'missing' ? 1 : 0);
  });

  it('a clock before this version was made, where no SVID can measure it', async () => {
    const noAgent = { workloadIdentity: () => Promise.reject(new Error('connect ENOENT')) };
    const { findings } = await diagnose(noAgent, 0);
    expect(findings.find(({ name }) => name === 'clock')).toMatchObject({ state: 'missing' });
  });

  it('people get a table, and below it what mends', async () => {
    const world = fakeWorld({ ...unbuilt('kernel') });
    const { code, out, err } = await world.run('doctor', '--socket', '/nowhere/control.sock');
    expect({ code, err }).toEqual({ code: 1, err: '' });
    expect(out).toMatch(/^MISSING +native kernel +not built \(needed for the data plane\)$/m);
    expect(out).toMatch(
      /\nto mend:\nnative kernel: in a checkout: sh native\/build\.sh kernel; installed: take a package/,
    );
  });
});

describe('with a running gateway', () => {
  it('its own findings and problems are there, and its ports are not missed', async () => {
    await using folder = await temporaryFolder();
    const path = join(folder.path, 'test', 'control.sock');
    const view = new MemoryGateway(new ManualClock(), FACTS);
    view.findings = [{ name: 'spool', state: 'missing', detail: 'full', mend: 'make room' }];
    await using _server = await startControl({
      path,
      view,
      clock: systemClock,
      access: { siteOwners: new Set([0]) },
      log: silentLogger,
      credentialsOf: () => ({ uid: 0, gid: 0, pid: 1 }),
    });
    const world = fakeWorld(taken('tcp'));
    world.clock = systemClock;
    const { code, out } = await world.run('doctor', '--json', '--socket', path);
    const { findings, healthy } = JSON.parse(out);
    expect({ code, healthy }).toEqual({ code: 1, healthy: false });
    expect(findings.some(({ name }: Finding) => name === 'session port')).toBe(false);
    expect(findings.slice(-3)).toMatchObject([
      { name: 'gateway', state: 'ok' },
      { name: 'gateway', state: 'warning', detail: expect.stringContaining('beta.test is stale') },
      { name: 'spool', state: 'missing', mend: 'make room' },
    ]);
  });
});

describe('this host', () => {
  const host = realHost(systemClock);

  it('reads, opens and tells what is not there', async () => {
    expect(await host.readText('/proc/self/status')).toMatch(/^CapEff:/m);
    expect(await host.readText('/nowhere/at/all')).toBeUndefined();
    expect(await host.whyNotOpen('/dev/null')).toBeUndefined();
    expect(await host.whyNotOpen('/nowhere/at/all')).toMatch(/ENOENT/);
  });

  it('tells a port that is taken from one that is free, and leaves it free', async () => {
    // Where no other test takes a port that was just given up.
    const OURS = '127.0.0.4';
    await using stack = new AsyncDisposableStack();
    const tcp = createServer().listen(0, OURS);
    stack.defer(() => void tcp.close());
    await once(tcp, 'listening');
    const udp = createSocket('udp4').bind(0, OURS);
    stack.defer(() => void udp.close());
    await once(udp, 'listening');
    const tcpPort = (tcp.address() as AddressInfo).port;
    expect(await host.whyNotBound('tcp', OURS, tcpPort)).toMatch(/EADDRINUSE/);
    expect(await host.whyNotBound('udp', OURS, udp.address().port)).toMatch(/EADDRINUSE/);
    tcp.close();
    await once(tcp, 'close');
    expect(await host.whyNotBound('tcp', OURS, tcpPort)).toBeUndefined();
    expect(await host.whyNotBound('tcp', OURS, tcpPort)).toBeUndefined();
  });

  it('says that no agent is there in the kernel’s words', async () => {
    await expect(host.workloadIdentity('/nowhere/agent.sock')).rejects.toThrow(/ENOENT/);
  });

  it('tells the identity and bundles that an agent gives, and its refusal once the entry is gone', async () => {
    const clock = new SteppedClock();
    await using domains = await TemporaryDomains.create(clock);
    const domain = await domains.start('a.test');
    const entry = await domain.register({ path: '/gateway', tier: 'master' });
    const stepped = realHost(clock);
    const found = await stepped.workloadIdentity(entry.socketPath);
    expect(found).toMatchObject({ spiffeIds: [entry.spiffeId], trustDomains: ['a.test'] });
    expect(found.expiresAtMs).toBeGreaterThan(clock.now());
    entry.delete();
    await expect(stepped.workloadIdentity(entry.socketPath)).rejects.toThrow(/permission_denied/);
  });

  it('gives up on an agent that accepts and says nothing', async () => {
    await using folder = await temporaryFolder();
    const path = join(folder.path, 'agent.sock');
    const silent = createServer(() => {}).listen(path);
    await once(silent, 'listening');
    const clock = new ManualClock();
    const asked = realHost(clock).workloadIdentity(path);
    const outcome = asked.then(String, String);
    await once(silent, 'connection');
    await new Promise((resolve) => setImmediate(resolve));
    clock.advance(3_000);
    expect(await outcome).toMatch(/no answer within 3000 ms/);
    silent.close();
  });

  it('reads a configuration that is wrong with its line', async () => {
    await using folder = await temporaryFolder();
    const path = join(folder.path, 'x.yaml');
    await writeFile(path, 'apiVersion: shellstream/v1\nsite: { trustDomain: alpha.test }\nnonsense: 1\n');
    await expect(host.loadConfig(path)).rejects.toThrow(/x\.yaml:3/);
  });
});

function fakeWorld(changes: Partial<Host>, nowMs = NOW): FakeWorld {
  const world = new FakeWorld();
  world.clock = { ...systemClock, now: () => nowMs };
  world.makeHost = () => ({ ...WHOLE, ...changes });
  return world;
}

async function diagnose(changes: Partial<Host>, nowMs = NOW): Promise<{ code: number; findings: Finding[] }> {
  const { code, out } = await fakeWorld(changes, nowMs).run('doctor', '--json', '--socket', '/nowhere/control.sock');
  return { code, findings: JSON.parse(out).findings };
}

describe('where packets of others are to pass through', () => {
  const between = (changes: Readonly<Record<string, string>>): Partial<Host> => ({
    ...files(changes),
    loadConfig: async () =>
      parseConfig(`apiVersion: shellstream/v1
site: { trustDomain: alpha.test }
advertise: ['fd00:1::/48']
mesh:
  peers:
    - { name: a, spiffeId: 'spiffe://a.test/g' }
    - { name: b, spiffeId: 'spiffe://b.test/g', request: { targets: [{ prefix: 10.2.0.0/24 }] } }
  forward: [{ from: a, to: b }]
`),
  });
  const forwarding = async (changes: Readonly<Record<string, string>>) =>
    (await diagnose(between(changes))).findings.filter(({ name }) => name === 'forwarding');

  it('a kernel that passes none on is told, with what mends it', async () => {
    expect((await forwarding({})).map(({ state, mend }) => [state, mend])).toEqual([
      ['warning', 'sysctl -w net.ipv4.ip_forward=1'],
      ['warning', 'sysctl -w net.ipv6.conf.all.forwarding=1'],
    ]);
  });

  it('each family by itself', async () => {
    const found = await forwarding({ '/proc/sys/net/ipv4/ip_forward': '1\n' });
    expect(found.map(({ state }) => state)).toEqual(['ok', 'warning']);
  });
});

describe('what is offered to a peer that we dial', () => {
  const ANCHOR = 'spiffe://beta.example/gateway/one';
  const config = parseConfig(`apiVersion: shellstream/v1
site: { trustDomain: alpha.example }
advertise: [10.1.0.0/24]
mesh: { peers: [{ name: beta, spiffeId: '${ANCHOR}', address: '192.0.2.2:7843', offer: [{ prefix: 10.1.0.9, port: 443 }] }] }
`);
  const offered = async (tier: Tier | undefined) => {
    const loaded = await loadAccord(EXAMPLE_ACCORD, nodeCrypto.sha256);
    const pattern = parseSpiffeIdPattern(ANCHOR);
    if (pattern === undefined) throw new Error('no pattern');
    const tiers = { ...loaded.accord.tiers, assigned: tier === undefined ? [] : [{ pattern, tier }] };
    const loadAccordOfSite = async () => ({ ...loaded, accord: { ...loaded.accord, tiers } });
    const { findings } = await diagnose({ loadConfig: async () => config, loadAccord: loadAccordOfSite });
    return findings.filter(({ name }) => name === 'offer').map(({ state, detail }) => `${state} ${detail}`);
  };

  it('is looked for in the accord, as the dial would', async () => {
    expect(await offered('master')).toEqual(['ok beta may have what mesh.peers offers it']);
    expect(await offered('apprentice')).toEqual([expect.stringMatching(/^missing beta: .*TYPE_NOT_AUTHORISED/)]);
    expect(await offered(undefined)).toEqual([expect.stringMatching(/^missing beta: .*TIER_UNKNOWN/)]);
  });
});

const FILES: Readonly<Record<string, string | undefined>> = {
  '/proc/self/status': CAPABLE,
  '/proc/mounts': 'none / ext4 rw 0 0\nnone /sys/fs/bpf bpf rw 0 0\n',
  '/sys/kernel/btf/vmlinux': 'BTF',
};

const WHOLE: Host = {
  kernelRelease: '6.12.9',
  nodeVersion: 'v24.21.0',
  readText: async (path) => FILES[path],
  whyNotOpen: async () => undefined,
  whyNotBound: async () => undefined,
  loadConfig: async () => parseConfig('apiVersion: shellstream/v1\nsite: { trustDomain: alpha.test }\n'),
  loadAccord: () => loadAccord(DEFAULT_ACCORD_FILE, nodeCrypto.sha256),
  workloadIdentity: async () => ({
    spiffeIds: ['spiffe://alpha.test/gateway'],
    expiresAtMs: NOW + 3_600_000,
    trustDomains: ['alpha.test', 'beta.test'],
  }),
  whyNotLoaded: async () => undefined,
  whyNotJailed: async () => undefined,
  probeTunnel: async () => ({ driver: 'kernel', why: 'the kernel has WireGuard' }),
};

function files(changes: Readonly<Record<string, string | undefined>>): Partial<Host> {
  return { readText: async (path) => ({ ...FILES, ...changes })[path] };
}

function unbuilt(part: string): Partial<Host> {
  return { whyNotLoaded: async (asked) => (asked === part ? 'not built' : undefined) };
}

function taken(kind: string): Partial<Host> {
  return { whyNotBound: async (asked) => (asked === kind ? 'EADDRINUSE' : undefined) };
}

function expiring(expiresAtMs: number): Partial<Host> {
  return {
    workloadIdentity: async () => ({ spiffeIds: ['spiffe://alpha.test/gateway'], expiresAtMs, trustDomains: [] }),
  };
}
