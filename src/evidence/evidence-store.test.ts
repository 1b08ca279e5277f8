import { cpSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { describeFinding, parseVerifierKey, verifyLog } from '../../protocol/evidence/index.ts';
import { MemoryWitness } from '../../test/support/memory-witness.ts';
import { nodeCrypto } from '../base/crypto-node.ts';
import type { Logger } from '../base/logger.ts';
import { SimulatedClock } from '../base/simulated-clock.ts';
import { nodeEd25519 } from './ed25519.ts';
import { type EvidencePlace, EvidenceStore } from './evidence-store.ts';
import { consoleUse, EvidenceFolder, mutation, notarisation, ORIGIN, sha256 } from './fixtures.ts';
import { LogDirectory } from './log-directory.ts';

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
        budgetBytes: 64 << 20,
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

  async verify(witness: MemoryWitness) {
    const keys = [parseVerifierKey(sha256, this.verifierKey)];
    const source = new LogDirectory(join(this.path, 'log'));
    const trust = { origin: ORIGIN, keys, witnesses: [witness.key] };
    const report = await verifyLog({ sha256, ed25519: nodeEd25519, source, trust, quorum: 1 });
    return { ...report, findings: report.findings.map(describeFinding) };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    // What was told is all that may be told: the keys' secret parts are not.
    const [seed = ''] = /[^+]*$/.exec(readFileSync(join(this.path, 'log.key'), 'utf8').trim()) ?? [];
    expect(seed.length).toBeGreaterThan(0);
    expect(this.lines.join('\n')).not.toContain(seed);
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
