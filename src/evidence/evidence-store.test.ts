import { cpSync, existsSync, readdirSync, readFileSync, renameSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { describeFinding, parseSecret, parseVerifierKey, verifyLog } from '../../protocol/evidence/index.ts';
import { MemoryWitness } from '../../test/support/memory-witness.ts';
import { nodeCrypto } from '../base/crypto-node.ts';
import type { Logger } from '../base/logger.ts';
import { SimulatedClock } from '../base/simulated-clock.ts';
import { type RestoreParts, restore } from './backup.ts';
import { nodeEd25519, noteSigner } from './ed25519.ts';
import { type EvidencePlace, EvidenceStore } from './evidence-store.ts';
import { consoleUse, EvidenceFolder, mutation, notarisation, ORIGIN, sha256 } from './fixtures.ts';
import { LogDirectory } from './log-directory.ts';
import { witnessAt } from './witness-http.ts';
import { Witnesses } from './witnesses.ts';

test('what is published bears the cosignatures that are needed; while they are not to be had it stays as it was', async () => {
  await using world = await World.create();
  await using witness = await MemoryWitness.start();
  const witnesses = { quorum: 1, timeoutMs: 5_000, ask: [{ url: witness.url, key: witness.key }] };
  {
    await using store = await world.open({ witnesses });
    await store.record(consoleUse);
  }
  const whole = await world.verify(witness);
  expect(whole.findings).toEqual([]);
  expect(witness.latest.size).toBe(whole.size);

  witness.isAway = true;
  {
    await using store = await world.open({ witnesses });
    await store.record(consoleUse);
    expect(store.state).toMatchObject({
      problem: undefined,
      publishProblem: expect.stringContaining('503'),
      quorum: 1,
    });
    expect(store.state.witnesses).toMatchObject([{ name: witness.key.name, problem: expect.stringContaining('503') }]);
  }
  expect(await world.verify(witness)).toMatchObject({ size: whole.size, findings: [] });
});

test('attack: spool and log put back to an older state: a witness saw more, so nothing is recorded', async () => {
  await using world = await World.create();
  await using witness = await MemoryWitness.start();
  const witnesses = { quorum: 1, timeoutMs: 5_000, ask: [{ url: witness.url, key: witness.key }] };
  {
    await using store = await world.open({ witnesses });
    await store.record(consoleUse);
  }
  cpSync(world.path, join(world.folder.path, 'older'), { recursive: true });
  {
    await using store = await world.open({ witnesses });
    for (let i = 0; i < 3; i += 1) await store.record(mutation(i));
  }
  rmSync(world.path, { recursive: true });
  cpSync(join(world.folder.path, 'older'), world.path, { recursive: true });

  await using store = await world.open({ witnesses });
  expect(store.state.problem).toMatch(/EVIDENCE_ROLLED_BACK.*it saw \d+ entries, of which \d+ are left/);
  await expect(store.record(mutation(9))).rejects.toThrow('EVIDENCE_FAILED');
  // Nor is anything recorded when it is opened again by itself.
  await world.clock.advance(30_000);
  expect(store.state.problem).toContain('EVIDENCE_ROLLED_BACK');
});

test('attack: the spool alone put back: the published log holds more', async () => {
  await using world = await World.create();
  {
    await using store = await world.open();
    await store.record(consoleUse);
  }
  cpSync(join(world.path, 'spool'), join(world.folder.path, 'older'), { recursive: true });
  {
    await using store = await world.open();
    await store.record(consoleUse);
  }
  rmSync(join(world.path, 'spool'), { recursive: true });
  cpSync(join(world.folder.path, 'older'), join(world.path, 'spool'), { recursive: true });
  await using store = await world.open();
  expect(store.state.problem).toMatch(/EVIDENCE_ROLLED_BACK.*it lost \d+/);
});

test('the key is changed while the gateway runs: both sign, who knows either believes it, then the new one signs alone', async () => {
  await using world = await World.create();
  await using store = await world.open();
  await store.record(consoleUse);
  const [former = ''] = store.state.verifierKeys;
  const [, next = ''] = await store.rotateKey('begin');
  await expect(store.rotateKey('begin')).rejects.toThrow('being changed already');
  expect(statSync(join(world.path, 'log.key.next')).mode & 0o777).toBe(0o600);
  const held = await world.checkpoint(store, 2);
  expect(await world.verifiedBy(former)).toMatchObject({ findings: [] });
  expect(await world.verifiedBy(next, held)).toMatchObject({ findings: [] });

  // What waits while the keys change is recorded with the new one.
  const changed = store.rotateKey('finish');
  const { at } = await store.record(mutation(1));
  expect(await changed).toEqual([next]);
  await world.checkpoint(store, 1, at + 1);
  expect(await world.verifiedBy(next, held)).toMatchObject({ findings: [], signedBy: [ORIGIN] });
  expect(await world.verifiedBy(former)).toMatchObject({ findings: ['checkpoint: no known key signed it'] });
  expect(existsSync(join(world.path, 'log.key.next'))).toBe(false);
  await expect(store.rotateKey('finish')).rejects.toThrow('no change of the key was begun');
});

test('a restart in the midst of a change goes on with both keys, and after it with the new one', async () => {
  await using world = await World.create();
  let keys: readonly string[];
  {
    await using store = await world.open();
    keys = await store.rotateKey('begin');
  }
  {
    await using store = await world.open();
    expect(store.state).toMatchObject({ problem: undefined, verifierKeys: keys });
    await store.rotateKey('finish');
  }
  await using store = await world.open();
  expect(store.state).toMatchObject({ problem: undefined, verifierKeys: keys.slice(1) });
});

test('while the next key’s signature cannot be published the former one stays', async () => {
  await using world = await World.create();
  await using witness = await MemoryWitness.start();
  const witnesses = { quorum: 1, timeoutMs: 5_000, ask: [{ url: witness.url, key: witness.key }] };
  await using store = await world.open({ witnesses });
  witness.isAway = true;
  await store.rotateKey('begin');
  await expect(store.rotateKey('finish')).rejects.toThrow('EVIDENCE_UNWITNESSED');
  expect(store.state.verifierKeys).toHaveLength(2);
});

describe('a copy put back', () => {
  test('of all there was goes on where the former left off, with every proof', async () => {
    await using world = await World.create();
    const backup = join(world.folder.path, 'copy');
    let held: Uint8Array;
    {
      await using store = await world.open();
      await store.recordAll(Array.from({ length: 300 }, (_, i) => mutation(i)));
      held = await world.checkpoint(store, 1);
      const { path, size } = await store.backUp();
      expect([path, size]).toEqual([join(world.path, 'backup'), store.state.entries]);
      expect(statSync(path).mode & 0o777).toBe(0o700);
      expect(readdirSync(path).sort()).toEqual(['log', 'spool']);
      renameSync(path, backup);
    }
    world.lose();
    await restore(backup, world.restoring([held]));
    await using store = await world.open();
    expect(store.state).toMatchObject({ problem: undefined });
    await store.record(consoleUse);
    await world.checkpoint(store, 1);
    expect(await world.verifiedBy(store.state.verifierKeys[0] ?? '', held)).toMatchObject({ findings: [] });
  });

  test.each(['held', 'log', 'witness'] as const)('attack: an older state is refused: %s shows more', async (who) => {
    await using world = await World.create();
    await using witness = await MemoryWitness.start();
    const ask = [{ url: witness.url, key: witness.key }];
    const backup = join(world.folder.path, 'copy');
    let held: Uint8Array;
    {
      await using store = await world.open({ witnesses: { quorum: 1, timeoutMs: 5_000, ask } });
      renameSync((await store.backUp()).path, backup);
      await store.record(consoleUse);
      held = await world.checkpoint(store, 2);
    }
    if (who === 'log') rmSync(join(world.path, 'spool'), { recursive: true });
    else world.lose();
    const parts = world.restoring(who === 'held' ? [held] : []);
    const all = [{ key: witness.key, ask: witnessAt(witness.url, 5_000, world.clock) }];
    const witnesses = new Witnesses({ sha256, ed25519: nodeEd25519, clock: world.clock, quorum: 1, all });
    await expect(restore(backup, who === 'witness' ? { ...parts, witnesses } : parts)).rejects.toThrow(
      'EVIDENCE_ROLLED_BACK',
    );
    expect(existsSync(join(world.path, 'spool'))).toBe(false);
    expect(existsSync(join(world.path, 'restoring'))).toBe(false);
  });

  test('with a flipped byte is refused, and so is one over a spool that is there', async () => {
    await using world = await World.create();
    const backup = join(world.folder.path, 'copy');
    {
      await using store = await world.open();
      await store.recordAll(Array.from({ length: 300 }, (_, i) => mutation(i)));
      await world.checkpoint(store, 1);
      renameSync((await store.backUp()).path, backup);
    }
    await expect(restore(backup, world.restoring())).rejects.toThrow('put it aside first');
    world.lose();
    const tile = join(backup, 'log', 'tile', 'entries', '000');
    writeFileSync(tile, readFileSync(tile).with(700, 1));
    await expect(restore(backup, world.restoring())).rejects.toThrow('tile/0/000');
  });
});

/** A node's evidence in a folder that goes with the test. */
class World implements AsyncDisposable {
  readonly folder = new EvidenceFolder();
  readonly path = join(this.folder.path, 'evidence');
  readonly clock = new SimulatedClock();
  readonly lines: string[] = [];

  static async create(): Promise<World> {
    return new World();
  }

  open(place: Partial<EvidencePlace> = {}): Promise<EvidenceStore> {
    return EvidenceStore.open({
      place: {
        directory: this.path,
        origin: ORIGIN,
        keys: [join(this.path, 'log.key')],
        budgetBytes: 8 << 20,
        retentionDays: 90,
        ...place,
      },
      clock: this.clock,
      crypto: nodeCrypto,
      log: this.#log,
      // Where each record is committed at once.
      posture: () => ({ level: 2, epoch: 1n }),
      notarisation,
      isLive: () => false,
    });
  }

  get verifierKey(): string {
    const [key = ''] = /[^"\s]+\+[0-9a-f]{8}\+[A-Za-z0-9+/=]+/.exec(this.lines.join('\n')) ?? [];
    return key;
  }

  /** The published one, when it bears so many signatures and, if told, so many entries. */
  async checkpoint(store: EvidenceStore, signatures: number, size = 0): Promise<Uint8Array> {
    const path = join(this.path, 'log', 'checkpoint');
    for (let i = 0; i < 100; i += 1) {
      await this.clock.advance(1_000);
      const lines = existsSync(path) ? readFileSync(path, 'utf8').split('\n') : [];
      const signed = lines.filter((line) => line.startsWith('— ')).length;
      if (store.published === store.state.entries && store.published >= size && signed === signatures) break;
    }
    return new Uint8Array(readFileSync(path));
  }

  verifiedBy(key: string, ...held: Uint8Array[]) {
    const trust = { origin: ORIGIN, keys: [parseVerifierKey(sha256, key)], witnesses: [] };
    const source = new LogDirectory(join(this.path, 'log'));
    return verifyLog({ sha256, ed25519: nodeEd25519, source, trust, held }).then((report) => ({
      ...report,
      findings: report.findings.map(describeFinding),
    }));
  }

  /** All but the keys. */
  lose(): void {
    for (const name of ['spool', 'log', 'backup']) rmSync(join(this.path, name), { recursive: true, force: true });
  }

  restoring(held: readonly Uint8Array[] = []): RestoreParts {
    const line = readFileSync(join(this.path, 'log.key'), 'utf8').trim();
    const signers = [noteSigner(sha256, ORIGIN, parseSecret(line).seed)];
    return { sha256, randomBytes: nodeCrypto.randomBytes, origin: ORIGIN, signers, directory: this.path, held };
  }

  async verify(witness: MemoryWitness) {
    const keys = [parseVerifierKey(sha256, this.verifierKey)];
    const source = new LogDirectory(join(this.path, 'log'));
    const trust = { origin: ORIGIN, keys, witnesses: [witness.key] };
    const report = await verifyLog({ sha256, ed25519: nodeEd25519, source, trust, quorum: 1 });
    return { ...report, findings: report.findings.map(describeFinding) };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    // What was told is all that may be told: the keys' secret parts are not.
    const { seed } = parseSecret(readFileSync(join(this.path, 'log.key'), 'utf8').trim());
    const told = this.lines.join('\n');
    for (const form of ['base64', 'hex'] as const) expect(told).not.toContain(Buffer.from(seed).toString(form));
    this.folder[Symbol.dispose]();
  }

  get #log(): Logger {
    const tell = (message: string, fields?: unknown): void => {
      this.lines.push(
        `${message} ${JSON.stringify(fields, (_, value) => (value instanceof Error ? value.message : value))}`,
      );
    };
    const log: Logger = { debug: tell, info: tell, warn: tell, error: tell, child: () => log };
    return log;
  }
}
