/** What evidence costs: durable artifacts a second, CPU on the session's path, anchoring, bytes on disk, verification. */
import { closeSync, fdatasyncSync, mkdtempSync, openSync, readdirSync, rmSync, statSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { create } from '@bufbuild/protobuf';
import { verifyLog } from '../../protocol/evidence/index.ts';
import { Phase } from '../../protocol/gen/shellstream/evidence/v1/evidence_pb.ts';
import { SubmitRequestSchema } from '../../protocol/gen/shellstream/quartermaster/v1/quartermaster_pb.ts';
import { Lane, parseSubmission } from '../../protocol/quartermaster/index.ts';
import { systemClock } from '../../src/base/clock.ts';
import { loadCryptoProvider } from '../../src/base/crypto.ts';
import { LOG_KEY, ORIGIN, transit } from '../../src/evidence/fixtures.ts';
import { LogDirectory, nodeEd25519, Publisher, Recorder, type Recording, Spool } from '../../src/evidence/index.ts';
import { spoolRecords, spoolSource } from '../../src/quartermaster/spool-source.ts';
import { Store } from '../../src/quartermaster/store.ts';
import type { Bench, Contender, Figure } from '../harness.ts';

const BATCHED = 40_000;
const ANCHORED = 2_000;
const VERIFIED = 100_000;

export async function openEvidence(): Promise<Bench> {
  const log = await grownLog();
  const figure = (bench: string, unit: string, ours: Contender, peers: readonly Contender[] = []): Figure => {
    return { bench, unit, ours, peers };
  };
  return {
    figures: [
      figure('evidence-anchored', 'records/s', rate('per-record', anchored), [rate('fdatasync', bareSync)]),
      figure(
        'evidence-cpu',
        'us/artifact',
        rate('recorder', async () => (await batched()).microseconds),
      ),
      figure(
        'evidence-growth',
        'bytes/artifact',
        rate('disk', () => Promise.resolve(log.bytes / VERIFIED)),
      ),
      figure(
        'evidence-embedded',
        'bytes/artifact',
        rate('disk', () => Promise.resolve(log.bytesWithIndex / VERIFIED)),
      ),
      figure(
        'evidence-verify',
        'artifacts/s',
        rate('verify-log', () => verified(log.path)),
      ),
      figure(
        'evidence',
        'artifacts/s',
        rate('batched', async () => (await batched()).rate),
      ),
    ],
    [Symbol.asyncDispose]: async () => log.world[Symbol.dispose](),
  };
}

/** On the disk of the repository: /tmp may be memory elsewhere. */
class World implements Disposable {
  readonly path = mkdtempSync(fileURLToPath(new URL('../../.cache/evidence-', import.meta.url)));
  readonly logPath = join(this.path, 'log');
  readonly spool: Spool;

  constructor() {
    this.spool = Spool.open({
      path: join(this.path, 'spool', 'evidence.db'),
      sha256: CRYPTO.sha256,
      ed25519: nodeEd25519,
      randomBytes: CRYPTO.randomBytes,
      origin: ORIGIN,
      signers: [LOG_KEY],
      budgetBytes: 2 ** 33,
      reserveBytes: 65_536,
    });
  }

  recorder(level: 2 | 3): Recorder {
    return new Recorder({
      spool: this.spool,
      clock: systemClock,
      crypto: CRYPTO,
      notarisation: () => ({ transitPercent: 100, anchoring: level === 2 ? 'per-record' : 'batched' }),
      posture: () => ({ level, epoch: 1n }),
      onDurable: () => undefined,
    });
  }

  [Symbol.dispose](): void {
    this.spool[Symbol.dispose]();
    rmSync(this.path, { recursive: true });
  }
}

const CRYPTO = loadCryptoProvider();

/** Intents and outcomes of sessions, as they come: many in flight, each awaited by somebody. */
async function batched(): Promise<{ readonly rate: number; readonly microseconds: number }> {
  using world = new World();
  const recorder = world.recorder(3);
  const began = performance.now();
  const cpu = process.cpuUsage();
  for (let done = 0; done < BATCHED; done += WAVE) {
    const wave = Array.from({ length: WAVE }, (_, i) =>
      recorder.record(transit((done + i) >> 1, i % 2 === 0 ? Phase.INTENT : Phase.OUTCOME)),
    );
    await Promise.all(wave);
  }
  const { user, system } = process.cpuUsage(cpu);
  const seconds = (performance.now() - began) / 1000;
  recorder.close();
  return { rate: BATCHED / seconds, microseconds: (user + system) / BATCHED };
}

const WAVE = 500;

async function anchored(): Promise<number> {
  using world = new World();
  const recorder = world.recorder(2);
  const began = performance.now();
  for (let i = 0; i < ANCHORED; i += 1) await recorder.record(transit(i));
  const seconds = (performance.now() - began) / 1000;
  recorder.close();
  return ANCHORED / seconds;
}

/** The disk's own rate: 512 bytes appended and synced. */
async function bareSync(): Promise<number> {
  using world = new World();
  const file = openSync(join(world.path, 'bare'), 'w');
  try {
    const block = Buffer.alloc(512);
    const began = performance.now();
    for (let i = 0; i < ANCHORED; i += 1) {
      writeSync(file, block);
      fdatasyncSync(file);
    }
    return ANCHORED / ((performance.now() - began) / 1000);
  } finally {
    closeSync(file);
  }
}

interface GrownLog {
  readonly world: World;
  readonly path: string;
  /** Spool and log. */
  readonly bytes: number;
  /** The same with what a gateway's own Quartermaster keeps of it. */
  readonly bytesWithIndex: number;
}

async function grownLog(): Promise<GrownLog> {
  const world = new World();
  const recorder = world.recorder(3);
  for (let done = 0; done < VERIFIED; done += WAVE) {
    await Promise.all(
      Array.from({ length: WAVE }, (_, i) =>
        recorder.record(ofSession((done + i) >> 1, i % 2 === 0 ? Phase.INTENT : Phase.OUTCOME)),
      ),
    );
  }
  recorder.close();
  const { path, spool, logPath } = world;
  const publisher = await Publisher.open({
    path: logPath,
    spool,
    sha256: CRYPTO.sha256,
    ed25519: nodeEd25519,
    origin: ORIGIN,
    keys: [LOG_KEY],
  });
  await publisher.publish();
  const store = join(path, 'store.db');
  indexed(spool, store);
  // Its write-ahead log goes into it.
  spool[Symbol.dispose]();
  const bytesWithIndex = bytesIn(path);
  return { world, path: logPath, bytes: bytesWithIndex - statSync(store).size, bytesWithIndex };
}

/** With an identifier like those of real sessions: an index of them grows all over. */
function ofSession(number: number, phase: Phase): Recording {
  const recording = transit(number, phase);
  if (recording.case !== 'sessionTransit') throw new Error('a fixture that is no transit');
  const sessionId = CRYPTO.sha256(Uint8Array.of(number, number >> 8, number >> 16)).subarray(0, 16);
  return { ...recording, value: { ...recording.value, sessionId } };
}

/** The reserve is no evidence. */
function bytesIn(path: string): number {
  return readdirSync(path, { recursive: true, encoding: 'utf8' })
    .filter((name) => !name.endsWith('.reserve'))
    .map((name) => statSync(join(path, name)))
    .reduce((total, { size, blocks }) => total + Math.max(size, blocks * 512), 0);
}

/** As the forwarder of a gateway without a Quartermaster elsewhere does it. */
function indexed(spool: Spool, path: string): void {
  const records = spoolRecords(() => spool);
  using store = Store.open({ path, budgetBytes: 2 ** 33, durability: 'behind-spool', records });
  const source = spoolSource(() => spool);
  const log = { origin: ORIGIN, lane: Lane.LOG };
  for (let first = 0; first < spool.size; ) {
    const entries = [...source.read(Lane.LOG, first)];
    const submission = parseSubmission(create(SubmitRequestSchema, { ...log, first: BigInt(first), entries }));
    store.transact(() => store.put(submission, Date.now()));
    first += entries.length;
  }
}

async function verified(path: string): Promise<number> {
  const trust = { origin: ORIGIN, keys: [LOG_KEY], witnesses: [] };
  const began = performance.now();
  const report = await verifyLog({
    sha256: CRYPTO.sha256,
    ed25519: nodeEd25519,
    source: new LogDirectory(path),
    trust,
  });
  if (report.findings.length > 0) throw new Error('the log of the bench is not right');
  return report.entries / ((performance.now() - began) / 1000);
}

function rate(name: string, sample: () => Promise<number>): Contender {
  return { name, start: () => Promise.resolve({ sample, [Symbol.asyncDispose]: () => Promise.resolve() }) };
}
