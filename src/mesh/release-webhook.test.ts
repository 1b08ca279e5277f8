import { afterEach, beforeEach, expect, test } from 'vitest';
import { ShellstreamError } from '../../protocol/errors.ts';
import type { Hold } from '../../protocol/hold/index.ts';
import { parseSpiffeId } from '../../protocol/identity/spiffe-id.ts';
import { silentLogger } from '../base/logger.ts';
import { SimulatedClock } from '../base/simulated-clock.ts';
import { type ReleaseWebhook, serveReleases } from './release-webhook.ts';

let webhook: ReleaseWebhook;
let delivered: string[];
let refusal: ShellstreamError | undefined;

beforeEach(async () => {
  delivered = [];
  refusal = undefined;
  const holds = {
    deliver: async (document: Uint8Array): Promise<Hold> => {
      if (refusal !== undefined) throw refusal;
      delivered.push(Buffer.from(document).toString());
      return HOLD;
    },
  };
  const clock = new SimulatedClock();
  webhook = await serveReleases({ host: '127.0.0.1', port: 0, holds, clock, log: silentLogger });
});

afterEach(() => webhook[Symbol.asyncDispose]());

test('a document that is posted is delivered, and the hold that it ended told', async () => {
  expect(await post('a document')).toEqual([200, `released ${HOLD.id}\n`]);
  expect(delivered).toEqual(['a document']);
});

test.each([
  ['RELEASE_UNTRUSTED', 403],
  ['RELEASE_SPENT', 409],
  ['MALFORMED', 400],
  ['INTERNAL', 500],
] as const)('%s is answered with its reason and nothing more', async (reason, status) => {
  refusal = new ShellstreamError(reason, 'of home.test, whose hold is 0123');
  expect(await post('a document')).toEqual([status, `${reason}\n`]);
});

test('a document that is longer than any release is refused, not read', async () => {
  expect(await post('x'.repeat(100_000))).toEqual([400, 'MALFORMED\n']);
  expect(delivered).toEqual([]);
});

test('guesses are taken ten at once, and then no more', async () => {
  const statuses = [];
  for (let i = 0; i < 12; i++) statuses.push((await post('guess'))[0]);
  expect(statuses).toEqual([...Array(10).fill(200), 429, 429]);
});

test('nothing but POST / is answered', async () => {
  expect((await fetch(`http://127.0.0.1:${webhook.port}/`)).status).toBe(405);
  expect((await fetch(`http://127.0.0.1:${webhook.port}/other`, { method: 'POST' })).status).toBe(404);
  expect(delivered).toEqual([]);
});

const PEER = parseSpiffeId('spiffe://home.test/gateway');
if (PEER === undefined) throw new Error('no identity');
const HOLD: Hold = {
  id: '0123456789abcdef0123456789abcdef',
  peer: PEER,
  anchor: PEER,
  cause: 'drain',
  epoch: 1n,
  sinceMs: 0,
  reason: '',
};

async function post(body: string): Promise<readonly [number, string]> {
  const response = await fetch(`http://127.0.0.1:${webhook.port}/`, { method: 'POST', body });
  return [response.status, await response.text()];
}
