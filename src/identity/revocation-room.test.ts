/** How much of the record each issuer may fill, and that what is written is read again. */
import { mkdtemp, rm, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it, test } from 'vitest';
import { ShellstreamError } from '../../protocol/errors.ts';
import type { SpiffeId } from '../../protocol/identity/spiffe-id.ts';
import { id, type TestIssuer, testIssuer } from '../../protocol/revocation/fixtures.ts';
import { parseStatement, type Revoked } from '../../protocol/revocation/index.ts';
import { configSchema } from '../base/config-schema.ts';
import { nodeCrypto } from '../base/crypto-node.ts';
import { nodeEd25519 } from '../base/ed25519.ts';
import { silentLogger } from '../base/logger.ts';
import { SimulatedClock } from '../base/simulated-clock.ts';
import { HEAD_BYTES, LONGEST_LINE, lineBytes, RECORD_LIMITS, type RecordLimits } from './revocation-room.ts';
import { openRevocationStore } from './revocation-store.ts';
import { Revocations } from './revocations.ts';

const alpha = testIssuer('spiffe://alpha.test/revocation', 1);
const beta = testIssuer('spiffe://beta.test/revocation', 2);
const SMALL: RecordLimits = {
  issuers: 2,
  statementsOfIssuer: 5,
  bytesOfIssuer: LONGEST_LINE + 6_000,
  bytes: HEAD_BYTES + 2 * (LONGEST_LINE + 6_000) + 10_000,
};

let folder: string;

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'shs-revocation-room-'));
});
afterEach(() => rm(folder, { recursive: true, force: true }));

async function open(limits: RecordLimits, issuers: readonly TestIssuer[] = [alpha, beta]): Promise<Revocations> {
  return new Revocations({
    keys: issuers.map(({ issuer, publicKey }) => ({ issuer, publicKey })),
    localSite: 'alpha.test',
    staleMs: 10_000,
    opened: await openRevocationStore(folder, nodeCrypto.sha256, limits),
    ed25519: nodeEd25519,
    clock: new SimulatedClock(),
    log: silentLogger,
  });
}

describe('attack: an issuer that says more than it may leaves the room of the others', () => {
  test.each<[string, (number: number) => Revoked, number]>([
    ['statements', session, SMALL.statementsOfIssuer],
    ['bytes', person, 2],
  ])('%s', async (_, what, most) => {
    const revocations = await open(SMALL);
    expect(await sayUntilRefused(revocations, beta, what)).toEqual({ taken: most, refusal: 'FULL' });
    expect(await sayUntilRefused(revocations, alpha, session)).toEqual({ taken: 5, refusal: 'FULL' });
    expect((await open(SMALL)).positions()).toEqual([
      { issuer: alpha.issuer, next: 6 },
      { issuer: beta.issuer, next: most + 1 },
    ]);
  });

  test('and an issuer that is full is still heard in what it said, and caught in a fork', async () => {
    const revocations = await open(SMALL);
    await sayUntilRefused(revocations, beta, session);
    expect(await revocations.offer(beta.statement(5, session(5)))).toMatchObject({ kind: 'known' });
    expect(await refusal(revocations.offer(beta.statement(5, person(5))))).toBe('FORK');
    expect((await open(SMALL)).issuers[1]?.stale).toBe('forked');
  });
});

describe('what is written can be read again, whatever issuers say', () => {
  it('to the last statement of every issuer, with the longest contradictions', async () => {
    const revocations = await open(SMALL);
    for (const issuer of [alpha, beta]) {
      await sayUntilRefused(revocations, issuer, (number) => (number === 1 ? person(number) : session(number)));
      await refusal(revocations.offer(issuer.statement(1, person(9), { reason: '\u{10000}'.repeat(256) })));
    }
    expect((await stat(join(folder, 'revocations'))).size).toBeLessThanOrEqual(SMALL.bytes);
    const opened = await openRevocationStore(folder, nodeCrypto.sha256, SMALL);
    expect(opened.problem).toBeUndefined();
    expect(opened.kept.statements.map(({ bytes }) => bytes)).toEqual(revocations.documents);
    expect(opened.kept.contradictions).toHaveLength(2);
  });

  it('of issuers that come and go: those that are not configured any more give way, the first ones stay', async () => {
    const former = [3, 4, 5, 6].map((seed) => testIssuer(`spiffe://alpha.test/revocation/${seed}`, seed));
    for (const issuer of former) await sayUntilRefused(await open(SMALL, [issuer]), issuer, person);
    for (const issuer of [alpha, beta]) await sayUntilRefused(await open(SMALL), issuer, session);
    const opened = await openRevocationStore(folder, nodeCrypto.sha256, SMALL);
    expect(opened.problem).toBeUndefined();
    const said = (by: TestIssuer) => opened.kept.statements.filter(({ content }) => content.issuer === by.issuer);
    expect([alpha, beta].map((by) => said(by).length)).toEqual([5, 5]);
    expect(former.map((by) => said(by).length)).toEqual([2, 1, 0, 0]);
  });

  it('never more than is read: a record that would be longer is not put in the place of one that is read', async () => {
    const one = parseStatement(beta.statement(1, person(1)));
    const tight = { ...SMALL, bytes: HEAD_BYTES + lineBytes(one) };
    const { store } = await openRevocationStore(folder, nodeCrypto.sha256, tight);
    await store.save(() => ({ statements: [one], contradictions: [] }));
    const two = { statements: [one, parseStatement(beta.statement(2, session(2)))], contradictions: [] };
    await expect(store.save(() => two)).rejects.toThrow('would not be read');
    expect((await openRevocationStore(folder, nodeCrypto.sha256, tight)).kept.statements).toHaveLength(1);
  });

  it('with what a former version let an issuer say over its room: all in effect, and no room of others', async () => {
    const large = { ...SMALL, statementsOfIssuer: 20 };
    await sayUntilRefused(await open(large), beta, session);
    const revocations = await open(SMALL);
    expect(revocations.find({ trustDomain: 'beta.test', spiffeId: 'x', session: hex(20) })).toBeDefined();
    expect(await refusal(revocations.offer(beta.statement(21, session(21))))).toBe('FULL');
    expect((await sayUntilRefused(revocations, alpha, session)).taken).toBe(5);
    expect((await open(SMALL)).documents).toHaveLength(25);
  });
});

describe('the bounds', () => {
  it('leave room for whatever a former version wrote, and a text that can be made', () => {
    const { issuers, bytesOfIssuer, bytes } = RECORD_LIMITS;
    expect(bytes - issuers * bytesOfIssuer).toBe(128 * 1024 * 1024);
    // What a string of this engine holds is a little less than 512 MiB.
    expect(bytes).toBeLessThan(500 * 1024 * 1024);
  });

  it('are for as many issuers as a configuration may name', () => {
    const named = (count: number): boolean =>
      configSchema.safeParse({
        apiVersion: 'shellstream/v1',
        site: { trustDomain: 'alpha.test' },
        revocation: {
          keys: Array.from({ length: count }, (_, at) => ({
            issuer: `${alpha.issuer}/${at}`,
            publicKey: Buffer.from(alpha.publicKey).toString('base64'),
          })),
        },
      }).success;
    expect([named(RECORD_LIMITS.issuers), named(RECORD_LIMITS.issuers + 1)]).toEqual([true, false]);
  });

  it('are not stretched by more issuers than that', async () => {
    await expect(open({ ...SMALL, issuers: 1 })).rejects.toThrow('more than 1 issuers');
  });
});

/** Until it is refused, or has said far more than it may. */
async function sayUntilRefused(to: Revocations, issuer: TestIssuer, what: (number: number) => Revoked) {
  for (let number = 1; number <= 40; number += 1) {
    const why = await refusal(to.offer(issuer.statement(number, what(number))));
    if (why !== undefined) return { taken: number - 1, refusal: why };
  }
  return { taken: 40 };
}

async function refusal(promise: Promise<unknown>): Promise<unknown> {
  return await promise.then(
    () => undefined,
    (error: unknown) => (error instanceof ShellstreamError ? (error.fields.refusal ?? error) : error),
  );
}

function session(number: number): Revoked {
  return { kind: 'session', session: hex(number) };
}

function person(number: number): Revoked {
  const identity: SpiffeId = id(`spiffe://beta.test/${number}/${'p'.repeat(2_000)}`);
  return { kind: 'identity', identity };
}

function hex(number: number): string {
  return number.toString(16).padStart(32, '0');
}
