import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { ShellstreamError } from '../../protocol/errors.ts';
import { id, testIssuer } from '../../protocol/revocation/fixtures.ts';
import type { Revoked } from '../../protocol/revocation/index.ts';
import { nodeCrypto } from '../base/crypto-node.ts';
import { nodeEd25519 } from '../base/ed25519.ts';
import { silentLogger } from '../base/logger.ts';
import { SimulatedClock } from '../base/simulated-clock.ts';
import {
  forgetfulRevocations,
  type KeptRevocations,
  type OpenedRevocations,
  openRevocationStore,
} from './revocation-store.ts';
import { Revocations } from './revocations.ts';

const alpha = testIssuer('spiffe://alpha.test/revocation', 1);
const beta = testIssuer('spiffe://beta.test/revocation', 2);
const heart = testIssuer('spiffe://alpha.test/revocation', 3);
const stranger = testIssuer('spiffe://gamma.test/revocation', 4);
const SESSION: Revoked = { kind: 'session', session: 'ab'.repeat(16) };
const PERSON: Revoked = { kind: 'identity', identity: id('spiffe://beta.test/person') };
const PEER = { trustDomain: 'beta.test', spiffeId: 'spiffe://beta.test/person' };

let folder: string;
let clock: SimulatedClock;

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'shs-revocations-'));
  clock = new SimulatedClock();
});
afterEach(() => rm(folder, { recursive: true, force: true }));

async function open(opened?: OpenedRevocations): Promise<Revocations> {
  return new Revocations({
    keys: [
      { issuer: alpha.issuer, publicKey: alpha.publicKey, heartbeatKey: heart.publicKey },
      { issuer: beta.issuer, publicKey: beta.publicKey },
    ],
    localSite: 'alpha.test',
    staleMs: 10_000,
    opened: opened ?? (await openRevocationStore(folder, nodeCrypto.sha256)),
    ed25519: nodeEd25519,
    clock,
    log: silentLogger,
  });
}

describe('a statement', () => {
  it('is in effect, and durable, when it is answered: another run has it', async () => {
    const revocations = await open();
    const effects: number[] = [];
    revocations.onTaken(async ({ number }) => void effects.push(number));
    expect(await revocations.offer(alpha.statement(1, PERSON))).toMatchObject({ kind: 'taken' });
    expect([effects, revocations.find(PEER) !== undefined]).toEqual([[1], true]);
    const again = await open();
    expect(again.find(PEER)).toMatchObject({ number: 1 });
    expect(again.from(alpha.issuer, 1, 9)).toEqual([alpha.statement(1, PERSON)]);
  });

  it('played again changes nothing', async () => {
    const revocations = await open();
    await revocations.offer(alpha.statement(1, PERSON));
    expect(await revocations.offer(alpha.statement(1, PERSON))).toMatchObject({ kind: 'known' });
    expect(revocations.documents).toHaveLength(1);
  });

  it.each<[string, () => Uint8Array, string]>([
    ['forged: signed by another’s key', () => testIssuer(alpha.issuer, 9).statement(1, PERSON), 'BAD_SIGNATURE'],
    ['signed by the key for heartbeats', () => heart.statement(1, PERSON), 'BAD_SIGNATURE'],
    ['of an issuer that nobody configured', () => stranger.statement(1, SESSION), 'UNKNOWN_ISSUER'],
    ['with a number left out', () => alpha.statement(2, PERSON), 'GAP'],
    [
      'with a cut-off in the future',
      () => alpha.statement(1, { kind: 'issued-before', timeMs: 2 ** 47, of: { trustDomain: 'beta.test' } }),
      'FUTURE_CUT_OFF',
    ],
  ])('%s is refused by name, and nothing is kept', async (_, make, refusal) => {
    const revocations = await open();
    expect(await refused(revocations.offer(make()))).toBe(refusal);
    expect(revocations.documents).toEqual([]);
    expect((await open()).documents).toEqual([]);
  });

  it('under a number that was used is a fork: refused, and still known after a restart', async () => {
    const revocations = await open();
    await revocations.offer(alpha.statement(1, PERSON));
    expect(await refused(revocations.offer(alpha.statement(1, SESSION)))).toBe('FORK');
    beat(revocations, 1);
    expect(revocations.issuers[0]?.stale).toBe('forked');
    const again = await open();
    beat(again, 1);
    expect(again.issuers[0]?.stale).toBe('forked');
  });

  it('of another site about a third keeps its place and takes nothing here; ordered here it is refused', async () => {
    const revocations = await open();
    const foreign = beta.statement(1, { kind: 'identity', identity: id('spiffe://gamma.test/x') });
    expect(await refused(revocations.order(foreign))).toBe('FOREIGN_DOMAIN');
    await revocations.offer(foreign);
    expect(revocations.find({ trustDomain: 'gamma.test', spiffeId: 'spiffe://gamma.test/x' })).toBeUndefined();
    expect(revocations.positions()).toContainEqual({ issuer: beta.issuer, next: 2 });
  });
});

describe('the age of what is known', () => {
  it('is right while every issuer’s heart beats, and no longer', async () => {
    const revocations = await open();
    expect(revocations.stale).toContain('silent');
    beat(revocations, 0);
    expect(revocations.stale).toContain(beta.issuer);
    revocations.hear(beta.heartbeat(0, clock.now()));
    expect(revocations.stale).toBeUndefined();
    await clock.advance(10_001);
    expect(revocations.stale).toContain('silent');
  });

  it('a heartbeat of another’s key, or from the future, is refused', async () => {
    const revocations = await open();
    expect(() => revocations.hear(testIssuer(alpha.issuer, 9).heartbeat(0, clock.now()))).toThrow('BAD_SIGNATURE');
    expect(() => revocations.hear(heart.heartbeat(0, clock.now() + 60_001))).toThrow('FUTURE_HEARTBEAT');
  });
});

describe('what a statement takes away', () => {
  it('and hangs: in effect for newcomers, said after a while, until it is done', async () => {
    const revocations = await open(forgetfulRevocations());
    const { promise, resolve } = Promise.withResolvers<void>();
    revocations.onTaken(() => promise);
    for (const one of [beta, alpha]) revocations.hear(one.heartbeat(0, clock.now() + 60_000));
    const offered = revocations.offer(alpha.statement(1, PERSON)).catch(String);
    expect(revocations.find(PEER)).toBeDefined();
    await clock.advance(10_000);
    expect(await offered).toContain('not ended');
    expect(revocations.stale).toContain('not ended');
    resolve();
    await clock.advance(0);
    expect(revocations.stale).toBeUndefined();
    expect(clock.pending).toEqual([]);
  });
});

describe('the record on disk', () => {
  it.each<[string, (bytes: Buffer) => Buffer]>([
    ['with a flipped bit', (bytes) => Buffer.from(bytes.map((byte, at) => (at === 100 ? byte ^ 1 : byte)))],
    ['cut', (bytes) => bytes.subarray(0, -20)],
    ['empty', () => Buffer.alloc(0)],
  ])('%s is not taken for one without revocations: stale, and not written over', async (_, damage) => {
    const revocations = await open();
    await revocations.offer(alpha.statement(1, PERSON));
    const path = join(folder, 'revocations');
    const damaged = damage(await readFile(path));
    await writeFile(path, damaged);
    const again = await open();
    beat(again, 1);
    expect(again.stale).toContain('record of revocations');
    await expect(again.offer(alpha.statement(1, PERSON))).rejects.toThrow('not kept');
    expect(again.find(PEER)).toBeDefined();
    expect(await readFile(path)).toEqual(damaged);
  });

  it('that cannot be written: in effect, said, and tried again', async () => {
    let isFull = true;
    const kept: number[] = [];
    const store = {
      save: async (what: () => { statements: readonly unknown[] }) => {
        if (isFull) throw new Error('disk full');
        kept.push(what().statements.length);
      },
    };
    const revocations = await open({ store, kept: { statements: [], contradictions: [] } });
    await expect(revocations.offer(alpha.statement(1, PERSON))).rejects.toThrow('could not be kept');
    expect([revocations.find(PEER) !== undefined, revocations.stale]).toEqual([
      true,
      'the record of revocations: disk full',
    ]);
    isFull = false;
    expect(await revocations.offer(alpha.statement(1, PERSON))).toMatchObject({ kind: 'known' });
    expect(kept).toEqual([1]);
  });

  it('on a disk that hangs: in effect, said after a while, and written when the disk goes on', async () => {
    const asked: { kept: () => KeptRevocations; answer: () => void }[] = [];
    const save = (kept: () => KeptRevocations) => new Promise<void>((resolve) => asked.push({ kept, answer: resolve }));
    const revocations = await open({ ...forgetfulRevocations(), store: { save } });
    for (const one of [beta, alpha]) revocations.hear(one.heartbeat(0, clock.now() + 60_000));
    const first = revocations.offer(alpha.statement(1, PERSON)).catch(String);
    expect(revocations.find(PEER)).toBeDefined();
    await clock.advance(10_000);
    expect(await first).toContain('could not be kept');
    expect(revocations.stale).toMatch(/record of revocations.*hangs/);
    // Whoever comes now is not let wait as long again, and holds nothing.
    await expect(revocations.offer(alpha.statement(2, SESSION))).rejects.toThrow('could not be kept');
    expect(asked).toHaveLength(1);
    asked[0]?.answer();
    await clock.advance(0);
    expect(asked[1]?.kept().statements).toHaveLength(2);
    asked[1]?.answer();
    await clock.advance(10_000);
    expect(revocations.stale ?? '').not.toContain('record');
    expect(clock.pending).toEqual([]);
  });

  it('keeps statements of issuers that are not configured any more, without effect', async () => {
    await (await open()).offer(beta.statement(1, PERSON));
    const opened = await openRevocationStore(folder, nodeCrypto.sha256);
    const keys = [{ issuer: alpha.issuer, publicKey: alpha.publicKey }];
    const parts = { localSite: 'alpha.test', staleMs: 1, ed25519: nodeEd25519, clock, log: silentLogger };
    const without = new Revocations({ ...parts, keys, opened });
    expect(without.find(PEER)).toBeUndefined();
    await without.offer(alpha.statement(1, SESSION));
    expect((await open()).find(PEER)).toBeDefined();
  });
});

function beat(revocations: Revocations, number: number): void {
  revocations.hear(heart.heartbeat(number, clock.now()));
}

async function refused(promise: Promise<unknown>): Promise<unknown> {
  return await promise.then(
    () => 'taken',
    (error: unknown) => (error instanceof ShellstreamError ? error.fields.refusal : error),
  );
}
