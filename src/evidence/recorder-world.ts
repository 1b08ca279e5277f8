import {
  type Audit,
  auditRecords,
  DEFAULT_RATES,
  type LeftOutOpening,
  type LogEntry,
  type LogReport,
  MS_A_DAY,
  type Opening,
  parseEntry,
  verifyLog,
} from '../../protocol/evidence/index.ts';
import { Phase } from '../../protocol/gen/shellstream/evidence/v1/evidence_pb.ts';
import type { PostureLevel } from '../../protocol/posture/level.ts';
import { nodeCrypto } from '../base/crypto-node.ts';
import { SimulatedClock } from '../base/simulated-clock.ts';
import { nodeEd25519 } from './ed25519.ts';
import { EvidenceFolder, LOG_KEY, notarisation, ORIGIN, sha256, transit } from './fixtures.ts';
import { LogDirectory } from './log-directory.ts';
import { Recorder, type RecorderParts } from './recorder.ts';
import type { Spool, SpoolParts } from './spool.ts';

export const NOON = 20_600 * MS_A_DAY + MS_A_DAY / 2;

export class RecorderWorld implements Disposable {
  readonly folder = new EvidenceFolder();
  readonly clock = new SimulatedClock(NOON);
  readonly #options: Partial<SpoolParts>;
  level: PostureLevel;
  readonly epoch = 1n;
  durable = 0;
  spool: Spool;
  recorder: Recorder;

  constructor({ level }: { readonly level: PostureLevel }, options: Partial<SpoolParts> = {}) {
    this.level = level;
    this.#options = options;
    this.spool = this.folder.spool(this.#options);
    this.recorder = this.#open();
  }

  restart(): void {
    this.recorder.close();
    this.spool[Symbol.dispose]();
    this.spool = this.folder.spool(this.#options);
    this.recorder = this.#open();
  }

  record(body: Parameters<Recorder['record']>[0]): ReturnType<Recorder['record']> {
    const promise = this.recorder.record(body);
    void this.clock.advance(1);
    return promise;
  }

  recordMany(count: number, from = 0, phase: Phase = Phase.INTENT): ReturnType<Recorder['recordAll']> {
    const all = Array.from({ length: count }, (_, i) => this.recorder.record(transit(from + i, phase)));
    void this.clock.advance(1);
    return Promise.all(all);
  }

  publicEntries(): LogEntry[] {
    const all = this.spool.reader.entries(0, this.spool.size).map(({ entry }) => parseEntry(entry));
    return all.filter(({ kind }) => kind !== 'record');
  }

  async publish(): Promise<LogReport> {
    await (await this.folder.publisher(this.spool)).publish();
    return this.folder.verify();
  }

  async audit(
    change: (shown: Shown) => void = () => undefined,
    rates = DEFAULT_RATES,
  ): Promise<{ report: LogReport; audit: Audit }> {
    await (await this.folder.publisher(this.spool)).publish();
    const entries = new Map<number, LogEntry>();
    const trust = { origin: ORIGIN, keys: [LOG_KEY], witnesses: [] };
    const source = new LogDirectory(this.folder.logPath);
    const onEntry = (index: number, entry: LogEntry): void =>
      void (entry.kind === 'record' && entries.set(index, entry));
    const report = await verifyLog({ sha256, ed25519: nodeEd25519, source, trust, onEntry });
    const records = new Map<number, Opening>();
    for (const { index, opening } of this.spool.reader.entries(0, this.spool.size)) {
      if (opening !== undefined) records.set(index, opening);
    }
    const leftOut = new Map<number, LeftOutOpening>();
    for (const { number, opening, commitment } of this.spool.reader.leftOut(0, 1_000_000)) {
      leftOut.set(number, opening ?? { commitment: commitment ?? new Uint8Array() });
    }
    change({ entries, records, leftOut });
    const { size, keys, batches } = report;
    const audit = auditRecords({ crypto: nodeCrypto, rates, size, keys, batches, entries, records, leftOut });
    return { report, audit };
  }

  [Symbol.dispose](): void {
    this.recorder.close();
    this.spool[Symbol.dispose]();
    this.folder[Symbol.dispose]();
  }

  #open(): Recorder {
    const parts: RecorderParts = {
      spool: this.spool,
      clock: this.clock,
      crypto: nodeCrypto,
      notarisation,
      // The daemon's is the engine: what it says now, whoever asked before.
      posture: () => this,
      onDurable: () => {
        this.durable += 1;
      },
    };
    return new Recorder(parts);
  }
}

export interface Shown {
  readonly entries: Map<number, LogEntry>;
  readonly records: Map<number, Opening>;
  readonly leftOut: Map<number, LeftOutOpening>;
}
