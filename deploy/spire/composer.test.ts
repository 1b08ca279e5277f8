import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { create, fromBinary, type JsonObject, toBinary } from '@bufbuild/protobuf';
import { decodeJwt } from 'jose';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { TemporaryDomains } from '../../certs-dev/testing.ts';
import {
  ComposeWorkloadJWTSVIDRequestSchema,
  ComposeWorkloadX509SVIDRequestSchema,
  JWTSVIDAttributesSchema,
  X509SVIDAttributesSchema,
} from '../../protocol/gen/spire/credential-composer_pb.ts';
import { NETWORK_POLICY_EXTENSION } from '../../protocol/identity/claims.ts';
import { systemClock } from '../../src/base/clock.ts';
import { TierComposer } from './composer.ts';
import type { Log, LogFields } from './log.ts';
import { parseMapping } from './mapping.ts';
import type { loadMapping } from './mapping-file.ts';

const ANN = 'spiffe://a.test/ann';
const WEB = 'spiffe://a.test/web';
const POLICY = 'ab'.repeat(32);

let folder: string;
let said: { message: string; fields: LogFields | undefined }[];
let log: Log;
let composer: TierComposer;

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'shs-composer-'));
  said = [];
  const say = (message: string, fields?: LogFields) => said.push({ message, fields });
  log = { info: say, warn: say, error: say };
  composer = new TierComposer(log);
});
afterEach(() => rm(folder, { recursive: true, force: true }));

test('every claim and the extension are written, after those of others', async () => {
  await composer.configure(await mapping([{ identity: WEB, tier: 'master', scopes: ['a'], networkPolicy: POLICY }]));
  const claims = { tier: 'master', scopes: ['a'], network_policy: POLICY };
  expect(composedClaims(WEB, { aud: ['b'] })).toEqual({ sub: WEB, aud: ['b'], ...claims });
  const attributes = create(X509SVIDAttributesSchema, {
    extraExtensions: [{ oid: '1.2.3', value: Uint8Array.of(5, 0) }],
  });
  const request = create(ComposeWorkloadX509SVIDRequestSchema, { spiffeId: WEB, attributes });
  expect(composer.composeX509Svid(request).attributes?.extraExtensions).toMatchObject([
    { oid: '1.2.3', value: Uint8Array.of(5, 0) },
    { oid: NETWORK_POLICY_EXTENSION, value: Uint8Array.of(4, 32, ...Array(32).fill(0xab)), critical: false },
  ]);
});

test('fields of a later SPIRE, which an answer without them would take away, come back as they were', async () => {
  await composer.configure(await mapping([{ identity: ANN, tier: 'master' }]));
  const unknown = Buffer.of(0xfa, 0x01, 0x02, 0x68, 0x69);
  const claims = toBinary(JWTSVIDAttributesSchema, create(JWTSVIDAttributesSchema, { claims: { sub: ANN } }));
  const token = create(ComposeWorkloadJWTSVIDRequestSchema, {
    spiffeId: ANN,
    attributes: fromBinary(JWTSVIDAttributesSchema, Buffer.concat([claims, unknown])),
  });
  const { attributes } = composer.composeJwtSvid(token);
  if (attributes === undefined) throw new Error('no attributes');
  expect(Buffer.from(toBinary(JWTSVIDAttributesSchema, attributes)).includes(unknown)).toBe(true);

  const certificate = create(ComposeWorkloadX509SVIDRequestSchema, {
    spiffeId: ANN,
    attributes: fromBinary(X509SVIDAttributesSchema, unknown),
  });
  const composed = composer.composeX509Svid(certificate).attributes;
  if (composed === undefined) throw new Error('no attributes');
  expect(Buffer.from(toBinary(X509SVIDAttributesSchema, composed))).toEqual(Buffer.from(unknown));
});

test.each([
  ['no attributes', {}],
  ['no claims', { attributes: {} }],
  ['no subject among its claims', { attributes: { claims: {} } }],
  ['a subject that is no text', { attributes: { claims: { sub: [ANN] } } }],
])('a request with %s is refused', async (_, rest) => {
  await composer.configure(await mapping([{ identity: ANN, tier: 'master' }]));
  const request = create(ComposeWorkloadJWTSVIDRequestSchema, { spiffeId: ANN, ...rest });
  expect(() => composer.composeJwtSvid(request)).toThrow('MALFORMED');
});

test('of two configurations at once the later one holds, however long the former takes to read', async () => {
  const gates = { '/former': Promise.withResolvers<void>(), '/later': Promise.withResolvers<void>() };
  const text = (tier: string) =>
    `apiVersion: shellstream.composer/v1\nidentities: [{ identity: ${ANN}, tier: ${tier} }]`;
  const load: typeof loadMapping = async ({ mappingFile }, trustDomain) => {
    const isLater = mappingFile === '/later';
    await gates[isLater ? '/later' : '/former'].promise;
    const bytes = Buffer.from(text(isLater ? 'apprentice' : 'master'));
    return { mapping: parseMapping(mappingFile, bytes, trustDomain), sha256: '' };
  };
  composer = new TierComposer(log, load);
  const configure = (path: string) =>
    composer.configure({ trustDomain: 'a.test', pluginData: `mapping_file = "${path}"` });
  const both = [configure('/former'), configure('/later')];
  gates['/later'].resolve();
  // Whatever could be done with it by now is done.
  for (let turn = 0; turn < 20; turn += 1) await Promise.resolve();
  gates['/former'].resolve();
  await Promise.all(both);
  expect(composedClaims(ANN)).toMatchObject({ tier: 'apprentice' });
});

test('a configuration without a trust domain is refused, and the next one is not held up by it', async () => {
  const good = await mapping([{ identity: ANN, tier: 'master' }]);
  const refused = composer.configure({ ...good, trustDomain: '' });
  await Promise.all([expect(refused).rejects.toThrow('names no trust domain'), composer.configure(good)]);
  expect(composedClaims(ANN)).toMatchObject({ tier: 'master' });
});

test('claims that others wrote under our names are told of once', async () => {
  await composer.configure(await mapping([]));
  for (let time = 0; time < 3; time += 1) expect(composedClaims(ANN, { tier: 'site_owner' })).toEqual({ sub: ANN });
  expect(said.slice(1)).toEqual([{ message: expect.stringContaining('took out'), fields: { first_seen_for: ANN } }]);
});

test('development trust domains write the same claims for the same rights', async () => {
  await using domains = await TemporaryDomains.create(systemClock);
  const entry = await (await domains.start('a.test')).register({ path: '/ann', tier: 'master', scopes: ['a', 'b'] });
  await composer.configure(await mapping([{ identity: ANN, tier: 'master', scopes: ['a', 'b'] }]));
  const { aud, exp, iat, ...claims } = decodeJwt(entry.identity.jwt(['x']));
  expect([aud, exp, iat]).not.toContain(undefined);
  expect(composedClaims(ANN)).toEqual(claims);
});

function composedClaims(spiffeId: string, claims: JsonObject = {}): JsonObject | undefined {
  const attributes = { claims: { sub: spiffeId, ...claims } };
  const request = create(ComposeWorkloadJWTSVIDRequestSchema, { spiffeId, attributes });
  return composer.composeJwtSvid(request).attributes?.claims;
}

async function mapping(identities: readonly object[], name = 'tiers') {
  const path = join(folder, name);
  await writeFile(path, JSON.stringify({ apiVersion: 'shellstream.composer/v1', identities }), { mode: 0o644 });
  return { trustDomain: 'a.test', pluginData: `mapping_file = "${path}"` };
}
