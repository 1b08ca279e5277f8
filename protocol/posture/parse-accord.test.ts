import { readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import type { Accord } from './accord.ts';
import { accordHash, parseAccord } from './parse-accord.ts';

const DEFAULT = read('default.yaml');
const SITE = read('example-site.yaml');
const HEAD = headOf('default');
const base = parseAccord(bytes(DEFAULT));

describe('a whole document', () => {
  test('with an unknown key is refused at its line and column', () => {
    expectRefused(
      DEFAULT.replace('drainMilliseconds: 4000', 'drainMilliseconds: 4000\nsurprise: 1'),
      /accord:\d+:1: surprise: no such key/,
    );
  });

  test('with a key twice is refused: the second would silently win', () => {
    expectRefused(`${DEFAULT}\ndrainMilliseconds: 0\n`, /"drainMilliseconds" stands here twice/);
  });

  test('with an alias is refused: expansion bombs', () => {
    expectRefused(
      DEFAULT.replace('targets: []', 'targets: &all []').replace('advertise: []', 'advertise: *all'),
      /anchors|aliases/,
    );
  });

  test('that lacks a level is refused', () => {
    expectRefused(DEFAULT.replace(/^ {2}4:\n(?: {4}.*\n)+/m, ''), /levels\.4/);
  });

  test('longer than 256 KiB is refused unread', () => {
    expectRefused(`# ${'x'.repeat(256 * 1024)}\n${DEFAULT}`, /longer than 262144/);
  });

  test('that is not UTF-8 is refused', () => {
    expect(() => parseAccord(new Uint8Array([0xff, 0xfe, 0x00]))).toThrow(/not UTF-8/);
  });

  test('of a later protocol is refused, not half kept', () => {
    expectRefused(DEFAULT.replace('minimumVersion: 1', 'minimumVersion: 2'), /minimumVersion: needs version 2/);
  });
});

describe('whoever signed it, an accord', () => {
  test.each<readonly [string, RegExp, string, RegExp]>([
    [
      'gives nothing at level 1',
      /^( {4}apprentice:\n(?: {6}.*\n){4}) {6}1: \[\]/m,
      '$1      1: [OBSERVE]',
      /capabilities\.overlay\.apprentice\.1/,
    ],
    [
      'lets no handshake in at level 1',
      /remote: refused/,
      'remote: open',
      /levels\.1\.handshake\.remote: must be refused/,
    ],
    ['has no session type at level 1', /types: \[\]/, 'types: [mesh]', /levels\.1\.handshake\.types/],
    [
      'leaves a data plane nothing but its allowlist at level 1',
      /rules: allowlist-only/,
      'rules: critical-only',
      /levels\.1\.dataPlane\.rules: must be allowlist-only/,
    ],
    [
      'takes no cached SAT at 3',
      /(sessions: drain-wider[\s\S]*?)sat: fresh/,
      '$1sat: cached',
      /levels\.3\.handshake\.sat: must be fresh/,
    ],
    [
      'has only critical types and the mesh at 2',
      /health-monitoring, mesh\]/,
      'health-monitoring, mesh, operator]',
      /levels\.2\.handshake\.types: not critical/,
    ],
    [
      'gives a lower level no more than a higher one',
      /transitPercent: 50/,
      'transitPercent: 5',
      /levels\.4\.notarisation\.transitPercent: looser than at level 5/,
    ],
    [
      'gives a lower tier no more than a higher one',
      /(journeyman:\n {6}5: )\[OBSERVE, CONNECT, SHELL, PROPOSE\]/,
      '$1[OBSERVE, SHELL, PROPOSE]',
      /CONNECT given to apprentice/,
    ],
    [
      'keeps capability table and underlay gate together',
      /(underlay:\n {4}apprentice:\n {6}5: )\[\]/,
      '$1[PROPOSE]',
      /lets only journeyman in/,
    ],
    [
      'drains no longer than a transition may take',
      /drainMilliseconds: 4000/,
      'drainMilliseconds: 60000',
      /drainMilliseconds/,
    ],
    ['lets no session live longer than an hour', /lifetimeSeconds: 3600/, 'lifetimeSeconds: 86400', /lifetimeSeconds/],
  ])('%s', (_rule, pattern, replacement, message) => {
    expect(DEFAULT).toMatch(pattern);
    expectRefused(DEFAULT.replace(pattern, replacement), message);
  });
});

describe('a site section', () => {
  test.each<readonly [string, string, string, RegExp]>([
    ['prefix with host bits', '10.1.0.0/24', '10.1.0.7/24', /10\.1\.0\.0\/24 is meant/],
    ['default route to advertise', '10.2.0.0/16', '0.0.0.0/0', /advertise\.0\.prefixes\.0: no default route/],
    ['half of everything to advertise', '10.2.0.0/16', '128.0.0.0/1', /advertise\.0\.prefixes\.0/],
    ['loopback to advertise', '10.2.0.0/16', '127.0.0.0/8', /advertise\.0\.prefixes\.0/],
    ['IPv4-mapped prefix to advertise', 'fd00:2::/48', '::ffff:10.0.0.0/104', /advertise\.0\.prefixes\.1/],
    ['name used twice', 'name: jump-host', 'name: web', /web is there twice/],
    ['port range upside down', '8000-8010', '8010-8000', /ports/],
    ['port beyond 65535', '8000-8010', '65535-65536', /ports/],
    ['pattern over all trust domains', 'spiffe://beta.example/**', 'spiffe://*/**', /not a SPIFFE ID pattern/],
    ['tier that is none', 'tier: journeyman }', 'tier: root }', /tiers\.assigned\.0\.tier/],
  ])('with a %s is refused', (_what, from, to, message) => {
    expect(SITE).toContain(from);
    expectRefused(SITE.replace(from, to), message);
  });

  test('with ports for a protocol that has none is refused', () => {
    expectRefused(SITE.replace('protocol: tcp', 'protocol: icmp'), /targets\.0\.ports: this protocol has no ports/);
  });
});

describe('a document that extends the default', () => {
  test('keeps its tables, tightened, and brings what the site is made of', () => {
    const site = parse(SITE);
    expect(site.extends).toBe('default');
    expect(site.levels[4].handshake.sat).toBe('fresh');
    expect(site.levels[4].overlay).toEqual(base.levels[4].overlay);
    expect(site.levels[2]).toEqual(base.levels[2]);
    expect(site.capabilities).toEqual(base.capabilities);
    expect(site.sessionTypes.mesh).toMatchObject({ modes: ['overlay'], lifetimeMs: 1_800_000 });
    expect(site.sessionTypes.operator).toEqual(base.sessionTypes.operator);
    expect(site.targets.map((rule) => [rule.name, rule.ports])).toEqual([
      [
        'web',
        [
          { from: 443, to: 443 },
          { from: 8000, to: 8010 },
        ],
      ],
      ['quartermaster', [{ from: 7844, to: 7844 }]],
      ['jump-host', [{ from: 22, to: 22 }]],
      ['exporters', [{ from: 9100, to: 9100 }]],
    ]);
    expect(site.siteSections).toBe('closed');
  });

  test('is refused where its base is not at hand', () => {
    expect(() => parseAccord(bytes(SITE), { name: 'site.yaml' })).toThrow(
      /site\.yaml:5:1: extends: no accord default is at hand/,
    );
  });

  test.each<readonly [string, string, RegExp]>([
    [
      'a looser setting',
      'levels:\n  3: { handshake: { logEverySession: false } }',
      /levels\.3\.handshake\.logEverySession: looser than in default/,
    ],
    [
      'a type more at a level',
      'levels:\n  2: { handshake: { types: [mesh, operator] } }',
      /levels\.2\.handshake\.types: looser/,
    ],
    [
      'a capability more',
      'capabilities:\n  overlay: { apprentice: { 3: [OBSERVE, SHELL] } }',
      /capabilities\.overlay\.apprentice\.3: SHELL not in default/,
    ],
    ['a longer lifetime', 'sessionTypes:\n  mesh: { lifetimeSeconds: 3601 }', /lifetimeSeconds/],
    ['a mode more', 'sessionTypes:\n  mesh: { modes: [overlay, underlay] }', /sessionTypes\.mesh\.modes/],
    [
      'a lower tier for a type',
      'sessionTypes:\n  management: { allow: [{ identities: any, minimumTier: journeyman }] }',
      /sessionTypes\.management\.allow\.0: allows more/,
    ],
    ['a longer drain', 'drainMilliseconds: 4001', /drainMilliseconds: longer/],
  ])('is refused with %s', (_what, change, message) => {
    expectRefused(`${HEAD}${change}\n`, message);
  });

  test('may not tighten a level until it is stricter than the one below', () => {
    expectRefused(
      `${HEAD}levels:\n  4: { notarisation: { anchoring: per-record } }\n`,
      /levels\.3\.notarisation\.anchoring: looser than at level 4/,
    );
  });
});

describe('a document that extends a closed accord', () => {
  const bases = new Map([['site-alpha', parse(SITE)]]);
  const head = headOf('site-alpha');
  const parseOver = (text: string): Accord => parseAccord(bytes(`${head}${text}`), { bases });

  test('inherits its site sections', () => {
    expect(parseOver('').targets).toHaveLength(4);
  });

  test('may narrow a target', () => {
    const narrowed = parseOver(
      'targets: [{ name: web, class: ordinary, prefixes: [10.1.0.128/25], protocol: tcp, ports: [8001-8002], allow: [{ identities: any, minimumTier: master }] }]',
    );
    expect(narrowed.targets).toHaveLength(1);
  });

  test.each([
    ['a wider prefix', '10.1.0.0/23', '443', 'ordinary', 'apprentice'],
    ['another port', '10.1.0.0/24', '444', 'ordinary', 'apprentice'],
    ['a class that lives longer', '10.1.0.0/24', '443', 'management', 'apprentice'],
  ])('is refused with %s of a target', (_what, prefix, port, targetClass, tier) => {
    const text = `targets: [{ name: web, class: ${targetClass}, prefixes: [${prefix}], protocol: tcp, ports: [${port}], allow: [{ identities: any, minimumTier: ${tier} }] }]`;
    expect(() => parseOver(text)).toThrow(/targets\.0: lies in no entry of site-alpha/);
  });

  test('is refused with a prefix more to advertise', () => {
    const text = 'advertise: [{ identities: [spiffe://beta.example/gateway/*], prefixes: [10.3.0.0/16] }]';
    expect(() => parseOver(text)).toThrow(/advertise\.0/);
  });

  test('is refused with a ceiling for a domain that had none: that would give it tiers', () => {
    const text = "tiers: { ceilings: [{ identity: 'spiffe://gamma.example/**', tier: apprentice }] }";
    expect(() => parseOver(text)).toThrow(/tiers\.ceilings\.0/);
  });

  test('adds lower tiers beside those of the base, of which the lowest holds', () => {
    const over = parseOver("tiers: { ceilings: [{ identity: 'spiffe://beta.example/gateway/*', tier: journeyman }] }");
    expect(over.tiers.ceilings.map((rule) => rule.tier)).toEqual(['master', 'journeyman']);
  });

  test('may not open what the base closed', () => {
    expect(() => parseOver('siteSections: open\n')).toThrow(/siteSections: closed by site-alpha/);
  });
});

describe('the accord’s hash', () => {
  const trace: string[] = [];
  const sum = (input: Uint8Array): Uint8Array => {
    trace.push(new TextDecoder().decode(input));
    return bytes(`H${trace.length}`);
  };

  test('covers the bytes as given, and those of the base under a document that extends it', () => {
    const hash = accordHash(sum, bytes('site'), accordHash(sum, bytes('base')));
    expect(trace).toEqual(['base', 'H1site']);
    expect(hash).toEqual(bytes('H2'));
  });
});

function headOf(extended: string): string {
  return `apiVersion: shellstream.accord/v1\nid: mine\nextends: ${extended}\nserial: 1\nsigner: none\nminimumVersion: 1\n`;
}

function expectRefused(text: string, message: RegExp): void {
  expect(() => parse(text)).toThrow(message);
  expect(() => parse(text)).toThrow(expect.objectContaining({ reason: 'MALFORMED' }));
}

function parse(text: string): Accord {
  return parseAccord(bytes(text), { bases: new Map([['default', base]]) });
}

function read(name: string): string {
  return readFileSync(new URL(`../accords/${name}`, import.meta.url), 'utf8');
}

function bytes(text: string): Uint8Array {
  return new TextEncoder().encode(text);
}
