import { Code, ConnectError } from '@connectrpc/connect';
import { sha256 as sha256Of } from '@noble/hashes/sha2.js';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { Lane } from '../../protocol/quartermaster/index.ts';
import { issueRequestToken, MAX_PROPOSAL_BYTES, type TokenTerms } from '../../protocol/quartermaster/request-token.ts';
import { SUBMIT_LIMITS } from '../../protocol/quartermaster/submission.ts';
import { rest } from '../base/simulated-clock.ts';
import { nodeEd25519, noteSigner } from '../evidence/ed25519.ts';
import { consoleUse, id, ORIGIN, sha256 } from '../evidence/fixtures.ts';
import { consoleCaller } from './access.ts';
import {
  AUDITOR,
  Depot,
  entry,
  GATEWAY,
  mutationEntry,
  QUARTERMASTER,
  spiffeId,
  submitRequest,
  transitEntry,
} from './fixtures.ts';
import { fromConnectError } from './refusal.ts';

const OPERATOR = spiffeId('spiffe://alpha.example/operator/one');
const ISSUER = noteSigner(sha256, 'issuer.alpha.example', new Uint8Array(32).fill(4));
let depot: Depot;
let service: ReturnType<Depot['service']>;

beforeEach(() => {
  depot = new Depot();
  const tokens = { sha256, ed25519: nodeEd25519, issuers: [ISSUER], audience: QUARTERMASTER };
  service = depot.service(depot.store(), { tokens });
});
afterEach(() => depot[Symbol.asyncDispose]());

describe('what is handed in', () => {
  test('is acknowledged by the number that is expected next, and found', async () => {
    const gateway = service.as(GATEWAY);
    expect((await gateway.getPosition({ origin: ORIGIN, lane: Lane.LOG })).next).toBe(0n);
    expect((await gateway.submitSessionTransit(submitRequest(0, [transitEntry(1), transitEntry(2)]))).next).toBe(2n);
    expect((await gateway.submitNetworkMutation(submitRequest(2, [mutationEntry(3)]))).next).toBe(3n);
    const rest = [submitRequest(3, [entry(3, 1, consoleUse)]), submitRequest(4, [entry(3, 2, consoleUse)])];
    expect((await gateway.submitTelemetry(all(rest))).next).toBe(5n);
    expect((await gateway.submit(submitRequest(5, [transitEntry(6), mutationEntry(7)]))).next).toBe(7n);
    expect((await gateway.getPosition({ origin: ORIGIN, lane: Lane.LOG })).next).toBe(7n);
    const { found } = await service.as(AUDITOR).query({ filter: { level: 3 } });
    expect(found.map(({ sequence }) => sequence)).toEqual([0n, 1n, 5n]);
    expect(found[0]?.record?.artifact).toEqual(transitEntry(1).what.value.artifact);
  });

  test('several at once are each answered, and one that is refused does not harm the others', async () => {
    const gateway = service.as(GATEWAY);
    const answers = await Promise.allSettled([
      gateway.submit(submitRequest(0, [transitEntry(1)])),
      gateway.submit(submitRequest(9, [transitEntry(9)])),
      gateway.submit(submitRequest(1, [transitEntry(2)])),
    ]);
    expect(answers.map(({ status }) => status)).toEqual(['fulfilled', 'rejected', 'fulfilled']);
  });

  test('attack: a gateway writes the log of another', async () => {
    const stolen = submitRequest(0, [transitEntry(1)], { origin: 'beta.example/evidence' });
    expect(await refusal(service.as(GATEWAY).submit(stolen))).toEqual([Code.PermissionDenied, 'WRONG_IDENTITY']);
    const asked = service.as(GATEWAY).getPosition({ origin: 'beta.example/evidence', lane: Lane.LOG });
    expect(await refusal(asked)).toEqual([Code.PermissionDenied, 'WRONG_IDENTITY']);
  });

  test('attack: a reader, a stranger and the console hand something in', async () => {
    const request = submitRequest(0, [transitEntry(1)]);
    const callers = [
      service.as(AUDITOR),
      service.as(spiffeId('spiffe://alpha.example/nobody')),
      service.by(consoleCaller(0, 'site_owner')),
    ];
    for (const caller of callers)
      expect(await refusal(caller.submit(request))).toEqual([Code.PermissionDenied, 'WRONG_IDENTITY']);
  });

  test('attack: a gap is refused with the number expected', async () => {
    await service.as(GATEWAY).submit(submitRequest(0, [transitEntry(1)]));
    const error = await thrown(service.as(GATEWAY).submit(submitRequest(5, [transitEntry(6)])));
    expect(error.code).toBe(Code.FailedPrecondition);
    expect(fromConnectError(error, 'it')).toMatchObject({ reason: 'EVIDENCE_GAP', fields: { expected: 1 } });
  });

  const record = transitEntry(1).what.value;
  test.each([
    ['no entries', submitRequest(0, [])],
    ['too many', submitRequest(0, new Array(SUBMIT_LIMITS.entries + 1).fill(transitEntry(1)))],
    ['an entry that is nothing', submitRequest(0, [{}])],
    ['no record', submitRequest(0, [recordOf({ ...record, artifact: new Uint8Array([1, 2, 3]) })])],
    [
      'bytes after it',
      submitRequest(0, [recordOf({ ...record, artifact: Buffer.concat([record.artifact, Buffer.of(0)]) })]),
    ],
    ['a salt cut short', submitRequest(0, [recordOf({ ...record, salt: new Uint8Array(15) })])],
    ['a time that sorts before or after all others', submitRequest(0, [transitEntry(1, 3, 2 ** 50)])],
    ['a leaf that is none', submitRequest(0, [{ what: { case: 'leaf', value: new Uint8Array(5) } }])],
    ['no lane', submitRequest(0, [transitEntry(1)], { lane: Lane.UNSPECIFIED })],
    ['a mutation that was left out', submitRequest(0, [mutationEntry(1)], { lane: Lane.LEFT_OUT })],
    ['a sequence out of range', submitRequest(2 ** 53, [transitEntry(1)])],
  ])('attack: malformed, %s', async (_, request) => {
    expect(await refusal(service.as(GATEWAY).submit(request))).toEqual([Code.InvalidArgument, 'MALFORMED']);
  });

  test('attack: a call for one kind carries another', async () => {
    const gateway = service.as(GATEWAY);
    const refused = [Code.InvalidArgument, 'MALFORMED'];
    expect(await refusal(gateway.submitSessionTransit(submitRequest(0, [mutationEntry(1)])))).toEqual(refused);
    expect(await refusal(gateway.submitForensicSnapshot(submitRequest(0, [transitEntry(1)])))).toEqual(refused);
    expect(await refusal(gateway.submitTelemetry(all([submitRequest(0, [transitEntry(1)])])))).toEqual(refused);
  });
});

describe('questions', () => {
  beforeEach(async () => {
    const transits = [1, 2, 3, 4].map((number) => transitEntry(number));
    await service.as(GATEWAY).submit(submitRequest(0, [...transits, entry(3, 1, consoleUse)]));
  });

  test('are answered in pages, by a cursor', async () => {
    const auditor = service.as(AUDITOR);
    const first = await auditor.query({ filter: { level: 3 }, limit: 3 });
    const second = await auditor.query({ filter: { level: 3 }, limit: 3, cursor: first.next });
    expect([...first.found, ...second.found].map(({ sequence }) => sequence)).toEqual([0n, 1n, 2n, 3n]);
    expect(second.next).toBe('');
  });

  test('attack: a cursor with any digit changed, which would pass records over in silence', async () => {
    const auditor = service.as(AUDITOR);
    const { next } = await auditor.query({ filter: { level: 3 }, limit: 1 });
    for (let at = 0; at < next.length; at += 1) {
      const cursor = `${next.slice(0, at)}${next[at] === '0' ? '1' : '0'}${next.slice(at + 1)}`;
      const asked = auditor.query({ filter: { level: 3 }, cursor });
      expect(await refusal(asked), cursor).toEqual([Code.InvalidArgument, 'MALFORMED']);
    }
  });

  test('attack: the cursor of another question, or none of ours', async () => {
    const auditor = service.as(AUDITOR);
    const { next } = await auditor.query({ filter: { level: 3 }, limit: 2 });
    expect(next).not.toBe('');
    for (const [filter, cursor] of [
      [{ level: 4 }, next],
      [{ level: 3, origin: ORIGIN }, next],
      [{ level: 3 }, `${next}00`],
      [{ level: 3 }, 'x'.repeat(10_000)],
      [{ level: 3 }, `${next.slice(0, 16)}${'f'.repeat(32)}`],
    ] as const)
      expect(await refusal(auditor.query({ filter, cursor }))).toEqual([Code.InvalidArgument, 'MALFORMED']);
  });

  test.each([
    ['a level', { level: 6 }],
    ['an identity', { identity: 'https://a' }],
    ['a session', { session: new Uint8Array(3) }],
    ['a kind', { kinds: ['secrets'] }],
    ['an origin', { origin: 'a b' }],
  ])('attack: malformed, %s', async (_, filter) => {
    expect(await refusal(service.as(AUDITOR).query({ filter }))).toEqual([Code.InvalidArgument, 'MALFORMED']);
  });

  test('attack: more at once than a page holds', async () => {
    expect(await refusal(service.as(AUDITOR).query({ limit: 100_000 }))).toEqual([Code.InvalidArgument, 'MALFORMED']);
  });

  test('attack: a tier too low asks for a record; a gateway that only hands in asks at all', async () => {
    const apprentice = service.as(spiffeId('spiffe://alpha.example/apprentice/one'));
    expect((await apprentice.query({})).found).toEqual([]);
    const refused = [Code.PermissionDenied, 'CAPABILITY_NOT_GRANTED'];
    for (const filter of [{ kinds: ['sessionTransit'] }, { level: 3 }, { session: id(1) }, { identity: OPERATOR }])
      expect(await refusal(apprentice.query({ filter })), Object.keys(filter).join()).toEqual(refused);
    expect(await refusal(service.as(GATEWAY).query({}))).toEqual(refused);
    expect((await service.by(consoleCaller(0, 'site_owner')).query({})).found).toHaveLength(5);
  });

  test('a watch gets what arrives after it began, or from a number on', async () => {
    const ending = new AbortController();
    const seen: bigint[] = [];
    const watching = (async () => {
      for await (const { found } of service
        .as(AUDITOR)
        .watch({ filter: { level: 3 }, after: 3n }, { signal: ending.signal }))
        if (found !== undefined) seen.push(found.sequence);
    })();
    await until(() => seen.length === 1);
    await service.as(GATEWAY).submit(submitRequest(5, [transitEntry(9), transitEntry(10, 5)]));
    await until(() => seen.length === 2);
    expect(seen).toEqual([3n, 5n]);
    ending.abort();
    await expect(watching).rejects.toMatchObject({ code: Code.Canceled });
  });

  test('attack: a reader that watches without end takes no place of the others', async () => {
    const ending = new AbortController();
    for (let n = 0; n < 8; n += 1) await watchAs(AUDITOR, ending.signal);
    expect(await refusal(watchAs(AUDITOR, ending.signal))).toEqual([Code.ResourceExhausted, 'OVERLOADED']);
    const others = new AbortController();
    await watchAs(auditor(2), others.signal);
    ending.abort();
    await untilDone(() => watchAs(AUDITOR, others.signal));
    others.abort();
  });

  test('attack: many readers that watch at once end at 64', async () => {
    const ending = new AbortController();
    for (let n = 0; n < 64; n += 1) await watchAs(auditor(n % 8), ending.signal);
    expect(await refusal(watchAs(auditor(9), ending.signal))).toEqual([Code.ResourceExhausted, 'OVERLOADED']);
    ending.abort();
  });
});

describe('proposals', () => {
  const proposal = Buffer.from('route 10.0.0.0/8 away');

  test('with a token good for them are numbered and kept', async () => {
    const answer = await service.as(OPERATOR).submitProposal({ requestToken: token(), proposal });
    expect(answer.number).toBe(1n);
    const { proposals } = await service.as(AUDITOR).listProposals({});
    expect(proposals).toMatchObject([{ number: 1n, proposer: OPERATOR, proposal: new Uint8Array(proposal) }]);
  });

  test('are listed in pages that any gRPC client takes, and all of them', async () => {
    const operator = service.as(OPERATOR);
    const large = new Uint8Array(65_536);
    for (let i = 0; i < 20; i += 1) {
      await operator.submitProposal({ requestToken: token({ id: id(i + 1) }), proposal: large });
    }
    const numbers: bigint[] = [];
    for (let after = 0n; ; after = numbers.at(-1) ?? 0n) {
      const { proposals } = await service.as(AUDITOR).listProposals({ after });
      if (proposals.length === 0) break;
      expect(proposals.reduce((size, { proposal: content }) => size + content.length, 0)).toBeLessThan(4 << 20);
      expect(proposals.length).toBeLessThan(20);
      numbers.push(...proposals.map(({ number }) => number));
    }
    expect(new Set(numbers).size).toBe(20);
  });

  test('attack: a token is used twice, one after the other or at once', async () => {
    const operator = service.as(OPERATOR);
    const request = { requestToken: token(), proposal };
    const answers = await Promise.allSettled([operator.submitProposal(request), operator.submitProposal(request)]);
    expect(answers.map(({ status }) => status).sort()).toEqual(['fulfilled', 'rejected']);
    expect(await refusal(operator.submitProposal(request))).toEqual([Code.PermissionDenied, 'REQUEST_TOKEN_SPENT']);
  });

  test.each<[string, string, Partial<TokenTerms>]>([
    ['for another subject', 'REQUEST_TOKEN_INVALID', { subject: GATEWAY }],
    ['for another audience', 'REQUEST_TOKEN_INVALID', { audience: GATEWAY }],
    ['for another proposal', 'REQUEST_TOKEN_INVALID', { proposalHash: new Uint8Array(32) }],
    [
      'that has expired',
      'REQUEST_TOKEN_EXPIRED',
      { notBeforeMs: Date.UTC(2025, 0), expiresAtMs: Date.UTC(2025, 0) + 1 },
    ],
    [
      'that does not hold yet',
      'REQUEST_TOKEN_EXPIRED',
      { notBeforeMs: Date.UTC(2026, 0, 2), expiresAtMs: Date.UTC(2026, 0, 2, 1) },
    ],
  ])('attack: a token %s', async (_, reason, terms) => {
    const asked = service.as(OPERATOR).submitProposal({ requestToken: token(terms), proposal });
    expect(await refusal(asked)).toEqual([Code.PermissionDenied, reason]);
  });

  test('attack: a token that nobody we know signed, or that was changed', async () => {
    const stranger = noteSigner(sha256, ISSUER.name, new Uint8Array(32).fill(5));
    const forged = issueRequestToken({ ...stranger, id: ISSUER.id }, terms());
    const changed = token();
    changed[20] = (changed[20] ?? 0) ^ 1;
    for (const requestToken of [forged, changed, new Uint8Array(0), new Uint8Array(20_000)]) {
      const asked = service.as(OPERATOR).submitProposal({ requestToken, proposal });
      expect(await refusal(asked)).toEqual([Code.PermissionDenied, 'REQUEST_TOKEN_INVALID']);
    }
  });

  test('attack: too large a proposal does not use its token up', async () => {
    const operator = service.as(OPERATOR);
    const requestToken = token();
    const large = operator.submitProposal({ requestToken, proposal: new Uint8Array(MAX_PROPOSAL_BYTES + 1) });
    expect(await refusal(large)).toEqual([Code.InvalidArgument, 'MALFORMED']);
    expect((await operator.submitProposal({ requestToken, proposal })).number).toBe(1n);
  });

  test('a token for one proposal is good for it', async () => {
    const requestToken = token({ proposalHash: sha256Of(proposal) });
    expect((await service.as(OPERATOR).submitProposal({ requestToken, proposal })).number).toBe(1n);
  });

  test('attack: who may not propose has a token', async () => {
    const asked = service.as(AUDITOR).submitProposal({ requestToken: token({ subject: AUDITOR }), proposal });
    expect(await refusal(asked)).toEqual([Code.PermissionDenied, 'CAPABILITY_NOT_GRANTED']);
  });
});

function auditor(number: number) {
  return spiffeId(`spiffe://alpha.example/audit/n${number}`);
}

/** Resolves when the watch has given its first record; it goes on until the signal. */
async function watchAs(id: typeof AUDITOR, signal: AbortSignal): Promise<void> {
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  const watching = async (): Promise<void> => {
    for await (const { found } of service.as(id).watch({ after: 0n }, { signal })) if (found !== undefined) resolve();
  };
  void watching().catch(reject);
  await promise;
}

let tokens = 0;

function terms(some: Partial<TokenTerms> = {}): TokenTerms {
  tokens += 1;
  const id = new Uint8Array(16).fill(tokens);
  const notBeforeMs = depot.clock.now();
  return { id, subject: OPERATOR, audience: QUARTERMASTER, notBeforeMs, expiresAtMs: notBeforeMs + 60_000, ...some };
}

function token(some: Partial<TokenTerms> = {}): Uint8Array {
  return issueRequestToken(ISSUER, terms(some));
}

function recordOf(value: { readonly artifact: Uint8Array; readonly salt: Uint8Array }) {
  return { what: { case: 'record' as const, value } };
}

async function* all<T>(items: readonly T[]): AsyncGenerator<T> {
  yield* items;
}

async function thrown(answer: Promise<unknown>): Promise<ConnectError> {
  const error: unknown = await answer.then(
    () => undefined,
    (cause: unknown) => cause,
  );
  if (error instanceof ConnectError) return error;
  throw new Error('it was not refused');
}

async function refusal(answer: Promise<unknown>): Promise<[Code, string]> {
  const error = await thrown(answer);
  return [error.code, fromConnectError(error, 'it').reason];
}

async function until(holds: () => boolean): Promise<void> {
  for (let turn = 0; turn < 1_000 && !holds(); turn += 1) await rest();
  expect(holds()).toBe(true);
}

/** Asked again until it is not refused. */
async function untilDone(ask: () => Promise<void>): Promise<void> {
  for (let turn = 0; turn < 1_000; turn += 1) {
    const isDone = await ask().then(
      () => true,
      () => false,
    );
    if (isDone) return;
    await rest();
  }
  throw new Error('it is refused on and on');
}
