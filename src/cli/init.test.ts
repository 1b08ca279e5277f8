import { readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { loadAccord } from '../base/accord-file.ts';
import { loadConfig } from '../base/config.ts';
import { nodeCrypto } from '../base/crypto-node.ts';
import { temporaryFolder } from '../control/fixtures.ts';
import { FakeWorld } from './fixtures.ts';

const BETA = 'beta=spiffe://beta.example/gateway/one@gateway.beta.example:7843';
const EVERYTHING = [
  ...['--trust-domain', 'alpha.example', '--peer', BETA, '--peer', 'gamma=spiffe://gamma.example/gateway'],
  ...['--peer', 'delta=spiffe://alpha.example/gateway/two@[fd00::1]:7843', '--instance', 'edge', '--isolate', 'none'],
  ...['--advertise', '10.1.0.0/16', '--advertise', 'fd00:1::/48', '--metrics', '[::1]:9843'],
  ...['--tunnel-address', '10.9.0.1/24', '--tunnel-address', 'fd00:9::1/64'],
];

describe('from flags', () => {
  it('what is written loads as configuration and accord, and says what the flags said', async () => {
    await using folder = await temporaryFolder();
    expect(await new FakeWorld().run('init', ...EVERYTHING, '--out', folder.path)).toMatchObject({ code: 0, err: '' });
    const config = await loadConfig(join(folder.path, 'edge.yaml'));
    expect(config).toMatchObject({
      instance: 'edge',
      site: { trustDomain: 'alpha.example' },
      accord: { file: join(folder.path, 'accord.yaml') },
      posture: { isolate: 'none' },
      metrics: { address: { host: '::1', port: 9843 } },
    });
    expect(config.mesh.peers).toMatchObject([
      { name: 'beta', spiffeId: 'spiffe://beta.example/gateway/one', address: { host: 'gateway.beta.example' } },
      { name: 'gamma', spiffeId: 'spiffe://gamma.example/gateway' },
      { name: 'delta', address: { host: 'fd00::1', port: 7843 } },
    ]);
    expect(config.mesh.peers[1]?.address).toBeUndefined();
    expect([config.advertise.length, config.wireguard.addresses.length]).toEqual([2, 2]);
    const { accord } = await loadAccord(config.accord.file, nodeCrypto.sha256);
    expect(accord.id).toBe('alpha.example');
  });

  it('a new site grants nothing, and lets in nobody but its peers', async () => {
    await using folder = await temporaryFolder();
    await new FakeWorld().run('init', ...EVERYTHING, '--out', folder.path);
    const { accord } = await loadAccord(join(folder.path, 'accord.yaml'), nodeCrypto.sha256);
    expect({ targets: accord.targets, advertise: accord.advertise }).toEqual({ targets: [], advertise: [] });
    const text = await readFile(join(folder.path, 'accord.yaml'), 'utf8');
    expect(text).toContain("identities: ['spiffe://beta.example/gateway/one', 'spiffe://gamma.example/gateway'");
    // Of our own trust domain there is no ceiling to set.
    expect(text).not.toContain("identity: 'spiffe://alpha.example/**'");
  });

  it('the least there is to say is a trust domain', async () => {
    await using folder = await temporaryFolder();
    expect(await new FakeWorld().run('init', '--trust-domain', 'alpha.example', '--out', folder.path)).toMatchObject({
      code: 0,
    });
    expect(await loadConfig(join(folder.path, 'main.yaml'))).toMatchObject({ mesh: { peers: [] }, advertise: [] });
    await loadAccord(join(folder.path, 'accord.yaml'), nodeCrypto.sha256);
  });

  it('each key has the comment of the example, and none of a key that is not there', async () => {
    await using folder = await temporaryFolder();
    await new FakeWorld().run('init', ...EVERYTHING, '--out', folder.path);
    const example = comments(await readFile(new URL('../../deploy/shellstream.example.yaml', import.meta.url), 'utf8'));
    const [heading, ...written] = comments(await readFile(join(folder.path, 'edge.yaml'), 'utf8'));
    expect(heading).toMatchObject({
      key: 'apiVersion',
      comment: expect.stringMatching(/^Written by `shellstream init`\. [\s\S]*yaml\.\n$/),
    });
    expect(heading?.comment).not.toContain('Unknown keys');
    expect(example).toEqual(expect.arrayContaining(written.filter(({ comment }) => comment !== '')));
    const commented = written.filter(({ comment }) => comment !== '').map(({ key }) => key);
    expect(commented).toEqual([
      ...['instance', 'trustDomain', 'addresses', 'socket', 'file', 'isolate', 'peers', 'spiffeId', 'address'],
      ...['advertise', 'address'],
    ]);
  });
});

describe('refused', () => {
  it.each(['edge.yaml', 'accord.yaml'])('to write over %s; then nothing is written', async (name) => {
    await using folder = await temporaryFolder();
    await writeFile(join(folder.path, name), 'mine');
    const { code, err } = await new FakeWorld().run('init', ...EVERYTHING, '--out', folder.path);
    expect({ code, err }).toEqual({ code: 1, err: expect.stringContaining(`${name} is there already`) });
    expect(await readdir(folder.path)).toEqual([name]);
    expect(await readFile(join(folder.path, name), 'utf8')).toBe('mine');
  });

  it.each([
    [['--trust-domain', 'Alpha Example'], 'A trust domain looks like'],
    [['--trust-domain', 'a.b', '--peer', 'beta'], 'A peer looks like'],
    [['--trust-domain', 'a.b', '--peer', 'beta=https://b@h:1'], 'A peer looks like'],
    [['--trust-domain', 'a.b', '--peer', 'beta=spiffe://b/g@host'], 'HOST:PORT'],
    [['--trust-domain', 'a.b', '--advertise', '10.1.0.0/33'], 'A network looks like'],
    [['--trust-domain', 'a.b', '--metrics', '0.0.0.0:9843'], 'Only a loopback address'],
    [['--trust-domain', 'a.b', '--isolate', 'all'], 'One of all-but-loopback'],
    [['--trust-domain', 'a.b', '--instance', '../etc'], '1 to 10 of a-z'],
  ])('%j is a usage error', async (flags, said) => {
    await using folder = await temporaryFolder();
    const ran = await new FakeWorld().run('init', ...flags, '--out', folder.path);
    expect(ran).toMatchObject({ code: 2, err: expect.stringContaining(said) });
    expect(await readdir(folder.path)).toEqual([]);
  });

  it.each([
    [['--advertise', '0.0.0.0/0'], 'default'],
    [['--advertise', '10.1.2.3/16'], 'main.yaml:'],
    [['--peer', BETA, '--peer', BETA], 'a name twice'],
  ])('%j, which a gateway would refuse, before anything is written', async (flags, said) => {
    await using folder = await temporaryFolder();
    const out = join(folder.path, 'new');
    const ran = await new FakeWorld().run('init', '--trust-domain', 'a.b', ...flags, '--out', out);
    expect(ran).toMatchObject({ code: 1, err: expect.stringContaining(said) });
    expect(await readdir(folder.path)).toEqual([]);
  });
});

describe('from questions', () => {
  it('what no flag says is asked, and asked again until it fits', async () => {
    await using folder = await temporaryFolder();
    const world = new FakeWorld();
    const answers = ['not a domain', 'alpha.example', '10.9.0.1/24', '', `nonsense`, ` ${BETA} `];
    const heard: string[] = [];
    world.says = (question) => {
      heard.push(question);
      return answers.shift() ?? '';
    };
    const { code, err } = await world.run('init', '--out', folder.path);
    expect({ code, left: answers }).toEqual({ code: 0, left: [] });
    expect(err).toMatch(/^A trust domain looks like .*\nA peer looks like .*\n$/);
    expect(heard.map((question) => question.split(' ')[0])).toEqual([
      'SPIFFE',
      'SPIFFE',
      'Our',
      'Prefixes',
      'Peers',
      'Peers',
    ]);
    expect(await loadConfig(join(folder.path, 'main.yaml'))).toMatchObject({ mesh: { peers: [{ name: 'beta' }] } });
  });

  it('without a terminal a trust domain must be given', async () => {
    await using folder = await temporaryFolder();
    const ran = await new FakeWorld().run('init', '--out', folder.path);
    expect(ran).toMatchObject({ code: 1, err: expect.stringContaining('--trust-domain is needed') });
  });
});

/** What stands right above each key; empty where nothing does. */
function comments(text: string): readonly { readonly key: string; readonly comment: string }[] {
  const found: { key: string; comment: string }[] = [];
  let above = '';
  for (const line of text.split('\n')) {
    const [, comment, key] = /^\s*(?:#\s?(.*)|(?:- )?([a-zA-Z]+):.*)$/.exec(line) ?? [];
    if (comment !== undefined) above += `${comment}\n`;
    else if (key !== undefined) {
      found.push({ key, comment: above });
      above = '';
    }
  }
  return found;
}
