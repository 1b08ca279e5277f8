import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { create, fromBinary, type JsonObject, toBinary } from '@bufbuild/protobuf';
import { afterEach, beforeEach, expect, test } from 'vitest';
import {
  ComposeWorkloadJWTSVIDRequestSchema,
  ComposeWorkloadX509SVIDRequestSchema,
  JWTSVIDAttributesSchema,
  X509SVIDAttributesSchema,
} from '../../protocol/gen/spire/credential-composer_pb.ts';
import { NETWORK_POLICY_EXTENSION } from '../../protocol/identity/claims.ts';
import { TierComposer } from './composer.ts';
import type { LogFields } from './log.ts';

const ANN = 'spiffe://a.test/ann';
const WEB = 'spiffe://a.test/web';
const POLICY = 'ab'.repeat(32);

let folder: string;
let said: { message: string; fields: LogFields | undefined }[];
let composer: TierComposer;

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'shs-composer-'));
  said = [];
  const say = (message: string, fields?: LogFields) => said.push({ message, fields });
  composer = new TierComposer({ info: say, warn: say, error: say });
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

test('of two configurations at once the later one holds', async () => {
  const slow = await mapping(
    Array.from({ length: 2000 }, (_, at) => ({ identity: `${ANN}/${at}`, tier: 'master' })),
    'slow',
  );
  const fast = await mapping([{ identity: ANN, tier: 'apprentice' }], 'fast');
  await Promise.all([composer.configure(slow), composer.configure(fast)]);
  expect(composedClaims(ANN)).toMatchObject({ tier: 'apprentice' });
  expect(said.map(({ fields }) => fields?.entries)).toEqual([2000, 1]);
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
