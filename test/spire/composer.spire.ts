import { createHash, randomUUID } from 'node:crypto';
import { existsSync } from 'node:fs';
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { AsnConvert } from '@peculiar/asn1-schema';
import { Certificate } from '@peculiar/asn1-x509';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { NETWORK_POLICY_EXTENSION } from '../../protocol/identity/claims.ts';
import { parseSpiffeId } from '../../protocol/identity/spiffe-id.ts';
import { systemClock } from '../../src/base/clock.ts';
import {
  openIdentitySource,
  SpireSatVerifier,
  SvidVerifier,
  type WorkloadApiSource,
} from '../../src/identity/index.ts';
import { eventually } from '../support/eventually.ts';
import type { Composer } from './configs.ts';
import { Spire } from './spire.ts';

const PLUGIN = fileURLToPath(new URL('../../bin/shellstream-credential-composer.js', import.meta.url));
const POLICY = '2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae';
const MAPPING = `apiVersion: shellstream.composer/v1
identities:
  - { identity: 'spiffe://home.test/ops/*', tier: journeyman, scopes: ['routes:read'] }
  - { identity: spiffe://home.test/web, networkPolicy: ${POLICY} }
`;
const GATEWAY = 'spiffe://home.test/gateway';
const AUDIENCES = { plain: GATEWAY, bound: `${GATEWAY}#Zm9yIHRoaXMgaGFuZHNoYWtl` };
const PATIENCE = { withinMs: 60_000 };

let spire: Spire;
let gateway: WorkloadApiSource;

beforeAll(async () => {
  spire = await Spire.start('home.test', (folder) => composerIn(folder, MAPPING));
  for (const path of ['/gateway', '/ops/ann', '/web']) await spire.createEntry({ path });
  gateway = open('/gateway');
  await gateway.ready(AbortSignal.timeout(60_000));
});
afterAll(async () => {
  for (const opened of [gateway, spire]) await opened?.[Symbol.asyncDispose]();
});

describe('a real SPIRE server with the credential composer', () => {
  test('mints tokens with the tier and the scopes of the mapping, for a level 3 handshake too', async () => {
    await using ann = await opened('/ops/ann');
    for (const audience of [AUDIENCES.plain, AUDIENCES.bound]) {
      const verified = await verify(ann, audience);
      expect(verified).toMatchObject({ subject: ann.current().spiffeId, tier: 'journeyman', scopes: ['routes:read'] });
    }
  });

  test('mints tokens without a tier for who is not in the mapping', async () => {
    expect(await verify(gateway, AUDIENCES.plain)).toMatchObject({ tier: undefined, scopes: [] });
  });

  test('puts the hash of a network policy into the X.509-SVID, which a gateway accepts', async () => {
    await using web = await opened('/web');
    const { chain, spiffeId } = web.current();
    const [leaf = new Uint8Array()] = chain;
    const { extensions = [] } = AsnConvert.parse(leaf, Certificate).tbsCertificate;
    const own = extensions.find(({ extnID }) => extnID === NETWORK_POLICY_EXTENSION);
    expect(own?.critical).toBe(false);
    expect(Buffer.from(own?.extnValue.buffer ?? new ArrayBuffer()).toString('hex')).toBe(`0420${POLICY}`);
    const verifier = new SvidVerifier({ bundles: () => gateway.bundles, clock: systemClock });
    expect(verifier.verify(chain).spiffeId).toBe(spiffeId);
  });
});

test('a server does not start on a mapping with a mistake, and says where it is', async () => {
  const started = Spire.start('home.test', (folder) => composerIn(folder, MAPPING.replace('journeyman', 'wizard')));
  await expect(started).rejects.toThrow(/tiers\.yaml:3:\d+: identities\.0\.tier/);
});

test('a pinned mapping that was changed counts once the server was told, and a plugin ends with a killed server', async () => {
  let mapping = '';
  let told = '';
  const pinned = async (text: string): Promise<void> => {
    await writeFile(mapping, text);
    const sha256 = createHash('sha256').update(text).digest('hex');
    await writeFile(told, `mapping_file = "${mapping}"\nmapping_sha256 = "${sha256}"\n`);
  };
  await using other = await Spire.start('home.test', async (folder) => {
    [mapping, told] = [join(folder, 'tiers.yaml'), join(folder, 'tiers.conf')];
    await pinned(MAPPING);
    return { ...(await composer()), data: { file: told } };
  });
  await other.createEntry({ path: '/ops/ann' });
  await using ann = await opened('/ops/ann', other);
  expect(await verify(ann, 'x', ann)).toMatchObject({ tier: 'journeyman' });
  await pinned(MAPPING.replace('journeyman', 'apprentice'));
  other.reconfigureServer();
  // Agents keep a token for each audience: only a new one shows what the server says now.
  const lowered = async () => (await verify(ann, randomUUID(), ann)).tier === 'apprentice';
  await eventually('a token says the new tier', lowered, PATIENCE);

  const plugins = other.serverChildren();
  expect(plugins).toHaveLength(1);
  await other.killServer();
  await eventually('the plugin is gone', () => plugins.every((pid) => !existsSync(`/proc/${pid}/exe`)), PATIENCE);
});

async function composer(): Promise<Omit<Composer, 'data'>> {
  const checksum = createHash('sha256')
    .update(await readFile(PLUGIN))
    .digest('hex');
  return { command: PLUGIN, checksum };
}

async function composerIn(folder: string, mapping: string): Promise<Composer> {
  const path = join(folder, 'tiers.yaml');
  await writeFile(path, mapping);
  return { ...(await composer()), data: { inline: `mapping_file = "${path}"` } };
}

function open(path: string, domain = spire): WorkloadApiSource {
  const spiffeId = parseSpiffeId(`spiffe://home.test${path}`);
  if (spiffeId === undefined) throw new Error(`not a path: ${path}`);
  return openIdentitySource({ socketPath: domain.socketPath, clock: systemClock, random: Math.random, spiffeId });
}

async function opened(path: string, domain = spire): Promise<WorkloadApiSource> {
  const source = open(path, domain);
  await source.ready(AbortSignal.timeout(60_000));
  return source;
}

async function verify(holder: WorkloadApiSource, audience: string, by = gateway) {
  const token = await holder.fetchSat(audience, AbortSignal.timeout(60_000));
  const audiences =
    audience === AUDIENCES.plain || audience === AUDIENCES.bound ? AUDIENCES : { plain: audience, bound: '' };
  const fresh = audience === AUDIENCES.bound;
  const subject = holder.current().spiffeId;
  return await new SpireSatVerifier({ source: by }).verify({ token, subject, audiences, fresh, now: Date.now() });
}
