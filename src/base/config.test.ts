import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { parse } from 'yaml';
import { z } from 'zod';
import { DEFAULT_ACCORD_FILE, loadAccord } from './accord-file.ts';
import { interfacePrefix, loadConfig, parseConfig } from './config.ts';
import { configSchema } from './config-schema.ts';

const EXAMPLE = new URL('../../deploy/shellstream.example.yaml', import.meta.url).pathname;
const EXAMPLE_ACCORD = new URL('../../protocol/accords/example-site.yaml', import.meta.url).pathname;
const LEAST = 'apiVersion: shellstream/v1\nsite: { trustDomain: alpha.example }\n';

test('the least configuration gets every default, its instance in each name', () => {
  const config = parseConfig(`${LEAST}instance: two\n`);
  expect(config).toMatchObject({
    listen: { address: '::', port: 7843 },
    wireguard: { driver: 'auto', interface: 'shstwo-0', port: 51840, mtu: 1420, addresses: [] },
    posture: { initial: 5, isolate: 'all-but-loopback', allowAtLockdown: [], leaseSeconds: 10 },
    control: { socket: '/run/shellstream/two/control.sock', siteOwners: [0] },
    stateDirectory: '/var/lib/shellstream/two',
    runtimeDirectory: '/run/shellstream/two',
    pinDirectory: '/sys/fs/bpf/shellstream/two',
    metrics: {},
  });
});

test('the control socket lies in the runtime directory that was set', () => {
  expect(parseConfig(`${LEAST}runtimeDirectory: /srv/x\n`).control.socket).toBe('/srv/x/control.sock');
});

test('the links of one instance are never taken for another’s', () => {
  expect('shsab-0'.startsWith(interfacePrefix('a'))).toBe(false);
  expect(`${interfacePrefix('abcdefghij')}0`).toHaveLength(15);
});

test('the example parses, and documents every key of the schema', async () => {
  const config = await loadConfig(EXAMPLE);
  expect(config.mesh.peers[0]).toMatchObject({
    spiffeId: 'spiffe://beta.example/gateway/one',
    address: { host: 'gateway.beta.example', port: 7843 },
    request: { capabilities: ['OBSERVE', 'CONNECT'] },
  });
  const written = keysOf(parse(await readFile(EXAMPLE, 'utf8')));
  const known = schemaKeys(z.toJSONSchema(configSchema, { io: 'input', unrepresentable: 'any' }));
  expect(known.size).toBeGreaterThan(60);
  expect([...known].filter((key) => !written.has(key))).toEqual([]);
  expect([...written].filter((key) => !known.has(key))).toEqual([]);
});

test('the example shows the defaults where it says so', async () => {
  const [shown, defaults] = [await loadConfig(EXAMPLE), parseConfig(LEAST)];
  for (const key of ['instance', 'listen', 'limits', 'workloadApi', 'accord', 'control', 'shutdownSeconds'] as const) {
    expect(shown[key]).toEqual(defaults[key]);
  }
});

test.each<readonly [string, string, RegExp]>([
  ['an unknown key', 'wireguard:\n  privateKeyFile: /x\n', /x\.yaml:4:3: wireguard\.privateKeyFile: no such key/],
  ['a level that is none', 'posture: { initial: 0 }\n', /x\.yaml:3:12: posture\.initial: a level from 1 to 5/],
  ['an instance that would leave its directory', 'instance: ../../etc\n', /x\.yaml:3:1: instance/],
  ['an interface name that is not ours', 'wireguard: { interface: eth0 }\n', /wireguard\.interface/],
  ['a host name to listen on', 'listen: { address: localhost }\n', /listen\.address: not an IP address/],
  ['a default route to advertise', 'advertise: [0.0.0.0/0]\n', /x\.yaml:3:13: advertise\.0/],
  ['metrics for everybody', 'metrics: { address: "0.0.0.0:9843" }\n', /metrics\.address: only a loopback address/],
  ['a relative path', 'stateDirectory: var\n', /stateDirectory: an absolute path/],
  ['a socket path that does not fit', `control: { socket: /${'x'.repeat(107)} }\n`, /control\.socket/],
  [
    'a peer that is no identity',
    'mesh: { peers: [{ name: b, spiffeId: b.example }] }\n',
    /mesh\.peers\.0\.spiffeId: not a SPIFFE ID/,
  ],
  [
    'one identity under two names',
    `mesh: { peers: [${peer('b')}, ${peer('c')}] }\n`,
    /mesh\.peers\.1\.spiffeId: one identity is one peer/,
  ],
  [
    'a forward to nobody',
    `mesh: { peers: [${peer('b')}], forward: [{ from: b, to: c }] }\n`,
    /mesh\.forward\.0\.to: no peer has this name/,
  ],
  [
    'a forward back to whom it comes from',
    `mesh: { peers: [${peer('b')}], forward: [{ from: b, to: b }] }\n`,
    /mesh\.forward\.0\.to: the peer that it comes from/,
  ],
  [
    'a tunnel that is to be carried when UDP is blocked, without keepalives to notice by',
    `mesh: { peers: [${dialled('carry: auto, keepaliveSeconds: 0')}] }\n`,
    /mesh\.peers\.0\.carry: without keepalives nobody notices/,
  ],
  [
    'an offer to a peer that dials us',
    `advertise: [10.1.0.0/24]\nmesh: { peers: [{ name: b, spiffeId: "spiffe://b/g", offer: [{ prefix: 10.1.0.9 }] }] }\n`,
    /mesh\.peers\.0\.offer: this peer dials us/,
  ],
  [
    'an offer of what is not advertised',
    `advertise: [10.1.0.0/24]\nmesh: { peers: [${dialled('offer: [{ prefix: 10.1.0.9 }, { prefix: 10.1.0.0/16 }]')}] }\n`,
    /mesh\.peers\.0\.offer\.1\.prefix: 10\.1\.0\.0\/16 is not advertised to this peer/,
  ],
  [
    'an offer of what is advertised to others',
    `advertise: [10.1.0.0/24]\nmesh: { peers: [${dialled('advertise: [10.2.0.0/24], offer: [{ prefix: 10.1.0.9 }]')}] }\n`,
    /mesh\.peers\.0\.offer\.0\.prefix: .* is not advertised/,
  ],
  [
    'an offer of what has other addresses in the tunnel',
    `mesh: { peers: [${dialled('offer: [{ prefix: 192.168.77.9 }]')}], prefixTranslation: [${translated('192.168.77', '10.1.77')}] }\n`,
    /mesh\.peers\.0\.offer\.0\.prefix: is translated/,
  ],
  [
    'an offer of a port of ICMP',
    `mesh: { peers: [${dialled('offer: [{ prefix: 10.1.0.9, protocol: icmp, port: 8 }]')}] }\n`,
    /mesh\.peers\.0\.offer\.0\.port: no ports there/,
  ],
  [
    'a prefix translated to one of another size',
    'mesh: { prefixTranslation: [{ internal: 192.168.77.0/24, external: 10.1.0.0/16 }] }\n',
    /x\.yaml:3:.*mesh\.prefixTranslation\.0\.external: not as large/,
  ],
  [
    'a prefix translated to one of another family',
    'mesh: { prefixTranslation: [{ internal: 192.168.77.0/24, external: "fd00::/24" }] }\n',
    /mesh\.prefixTranslation\.0\.external: not as large/,
  ],
  [
    'a default route translated',
    'mesh: { prefixTranslation: [{ internal: 0.0.0.0/0, external: 10.1.0.0/16 }] }\n',
    /mesh\.prefixTranslation\.0\.internal: never behind a site/,
  ],
  [
    'two prefixes translated to the same addresses',
    `mesh: { prefixTranslation: [${translated('192.168.77', '10.1.77')}, ${translated('192.168.78', '10.1.77')}] }\n`,
    /mesh\.prefixTranslation\.1\.external: overlaps 10\.1\.77\.0\/24/,
  ],
  [
    'a prefix translated to one that is translated itself',
    `mesh: { prefixTranslation: [${translated('192.168.77', '10.1.77')}, ${translated('10.1.77', '10.1.78')}] }\n`,
    /mesh\.prefixTranslation\.1\.internal: overlaps 10\.1\.77\.0\/24/,
  ],
  [
    'a prefix translated that holds our own address',
    `wireguard: { addresses: [10.9.0.1/24] }\nmesh: { prefixTranslation: [${translated('10.9.0', '10.1.77')}] }\n`,
    /mesh\.prefixTranslation\.0\.internal: holds an address of ours in the tunnel/,
  ],
  [
    'a translated prefix that is advertised as it is inside',
    `advertise: [192.168.0.0/16]\nmesh: { prefixTranslation: [${translated('192.168.77', '10.1.77')}] }\n`,
    /advertise\.0: is translated: peers see the external prefix only/,
  ],
  [
    'a translated prefix that one peer is told as it is inside',
    `mesh: { peers: [{ name: b, spiffeId: "spiffe://b/g", advertise: [192.168.77.5] }], prefixTranslation: [${translated('192.168.77', '10.1.77')}] }\n`,
    /mesh\.peers\.0\.advertise\.0: is translated/,
  ],
  [
    'ports where there are none',
    'mesh: { peers: [{ name: b, spiffeId: "spiffe://b/g", request: { targets: [{ prefix: 10.0.0.1, protocol: icmp, port: 1 }] } }] }\n',
    /port: no ports there/,
  ],
  [
    'an IPv6 endpoint without brackets',
    'mesh: { peers: [{ name: b, spiffeId: "spiffe://b/g", address: "fd00::1:7843" }] }\n',
    /not a host and port/,
  ],
  [
    'a port beyond 65535',
    'mesh: { peers: [{ name: b, spiffeId: "spiffe://b/g", address: "b:65536" }] }\n',
    /not a host and port/,
  ],
])('%s is refused at its place', (_what, text, problem) => {
  expect(() => parseConfig(LEAST + text, 'x.yaml')).toThrow(problem);
});

test('a site without a name is refused', () => {
  expect(() => parseConfig('apiVersion: shellstream/v1\n')).toThrow(/site/);
});

test('a file that cannot be read says which and why', async () => {
  await expect(loadConfig('/nonexistent/shellstream.yaml')).rejects.toThrow(/\/nonexistent\/shellstream\.yaml: ENOENT/);
});

test('an accord file is read over the default, and its hash covers both', async () => {
  const directory = await mkdtemp(join(tmpdir(), 'shellstream-accord-'));
  try {
    const hashed: number[] = [];
    const sum = (bytes: Uint8Array): Uint8Array => Uint8Array.of(hashed.push(bytes.length));
    const own = join(directory, 'accord.yaml');
    await writeFile(own, await readFile(EXAMPLE_ACCORD));
    const { accord, hash } = await loadAccord(own, sum);
    expect(accord).toMatchObject({ id: 'site-alpha', extends: 'default' });
    const [base, site] = [await readFile(DEFAULT_ACCORD_FILE), await readFile(own)];
    expect(hashed).toEqual([base.length, 1 + site.length]);
    expect(hash).toEqual(Uint8Array.of(2));

    hashed.length = 0;
    expect((await loadAccord(DEFAULT_ACCORD_FILE, sum)).accord.extends).toBeUndefined();
    expect(hashed).toEqual([base.length]);
  } finally {
    await rm(directory, { recursive: true });
  }
});

/** A peer that we dial. */
function dialled(more: string): string {
  return `{ name: b, spiffeId: "spiffe://b/g", address: "192.0.2.2:7843", ${more} }`;
}

function peer(name: string): string {
  return `{ name: ${name}, spiffeId: "spiffe://b.example/g" }`;
}

/** Of /24s. */
function translated(internal: string, external: string): string {
  return `{ internal: ${internal}.0/24, external: ${external}.0/24 }`;
}

/** `a.b`, lists without their index. */
function keysOf(value: unknown, path = ''): Set<string> {
  if (Array.isArray(value)) return new Set(value.flatMap((item) => [...keysOf(item, path)]));
  if (typeof value !== 'object' || value === null) return new Set();
  return new Set(
    Object.entries(value).flatMap(([key, inner]) => {
      const own = path === '' ? key : `${path}.${key}`;
      return [own, ...keysOf(inner, own)];
    }),
  );
}

function schemaKeys(schema: z.core.JSONSchema._JSONSchema, path = ''): Set<string> {
  if (typeof schema === 'boolean') return new Set();
  const keys = new Set<string>();
  for (const [key, inner] of Object.entries(schema.properties ?? {})) {
    const own = path === '' ? key : `${path}.${key}`;
    keys.add(own);
    for (const deeper of schemaKeys(inner, own)) keys.add(deeper);
  }
  const items = schema.items === undefined || Array.isArray(schema.items) ? [] : [schema.items];
  for (const inner of [...items, ...(schema.anyOf ?? []), ...(schema.allOf ?? [])]) {
    for (const deeper of schemaKeys(inner, path)) keys.add(deeper);
  }
  return keys;
}

test('Bascule is dialled, or dials us: with neither address nobody would be heard', () => {
  const bascule = (text: string) => parseConfig(`${LEAST}posture: { bascule: { ${text} } }\n`).posture.bascule;
  expect(bascule('spiffeId: spiffe://a.test/bascule, address: "b.example:7850"')).toMatchObject({
    address: { host: 'b.example', port: 7850 },
  });
  expect(() => bascule('spiffeId: spiffe://a.test/bascule')).toThrow(/neither address nor push/);
  expect(() => bascule('address: "b.example:7850"')).toThrow(/spiffeId/);
  expect(() => bascule('spiffeId: spiffe://a.test/bascule, push: { address: "b.example:7851" }')).toThrow(/IP address/);
});

test('a witness is asked over TLS or on loopback, by a key of its kind, and a quorum can be had', () => {
  const key = 'witness.example/w+cb1393dc+BIE5dw6ofRdfVqNUZsNMfszLjYqRtO43ol32D1uPybOU';
  const asking = (url: string, quorum = 1): string =>
    `${LEAST}evidence: { witnesses: { quorum: ${quorum}, ask: [{ url: '${url}', key: ${key} }] } }\n`;
  expect(parseConfig(asking('https://witness.example/w')).evidence?.witnesses).toMatchObject({
    quorum: 1,
    timeoutSeconds: 2,
    ask: [{ url: 'https://witness.example/w', key: { type: 'cosigner', name: 'witness.example/w' } }],
  });
  expect(parseConfig(asking('http://[::1]:8080/')).evidence?.witnesses?.ask).toHaveLength(1);
  expect(() => parseConfig(asking('http://witness.example/w'))).toThrow('http: on loopback only');
  expect(() => parseConfig(asking('https://user@witness.example/w'))).toThrow('MALFORMED');
  expect(() => parseConfig(asking('https://witness.example/w', 2))).toThrow('more than there are witnesses');
});

test('the log outlives its records', () => {
  expect(parseConfig(`${LEAST}evidence: { retentionDays: 30, logDays: 30 }\n`).evidence).toMatchObject({ logDays: 30 });
  expect(() => parseConfig(`${LEAST}evidence: { logDays: 89 }\n`)).toThrow('less than retentionDays');
});

test('evidence is kept unless the configuration says aloud that it is not', () => {
  expect(parseConfig(LEAST).evidence).toMatchObject({
    origin: expect.stringMatching(/\/shellstream\/main$/),
    directory: '/var/lib/shellstream/main/evidence',
    keys: ['/var/lib/shellstream/main/evidence/log.key'],
    budgetMegabytes: 2_048,
    retentionDays: 90,
  });
  expect(parseConfig(`${LEAST}evidence: { directory: /srv/e }\n`).evidence?.keys).toEqual(['/srv/e/log.key']);
  expect(parseConfig(`${LEAST}evidence: off\n`).evidence).toBeUndefined();
  expect(() => parseConfig(`${LEAST}evidence: false\n`)).toThrow('MALFORMED');
});
