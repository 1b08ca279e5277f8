/**
 * What this node is doing about its posture, on disk before it does it: a crash in the middle of a tightening does not
 * forget what was said. Each record is a line: 16 hex digits of a SHA-256, a blank, JSON.
 *
 *     intent   before the first step, durable: from, to, and all that was said so far
 *     step     after each, with its outcome
 *     settled  after the last, durable
 *
 * A record that was cut off at the end is that of a moment in which nothing had been done yet, and is left out. One that is
 * damaged before the end may have been a lockdown: level 2 until somebody sets it aside.
 */
import { type FileHandle, open, readFile, rename } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { z } from 'zod';
import type { PostureLevel } from '../../protocol/posture/index.ts';
import {
  checksum,
  epochSchema,
  type KeptPosture,
  keptDocument,
  keptFields,
  keptOf,
  levelSchema,
  parseDocument,
  type Sha256,
} from './kept.ts';

export type JournalRecord =
  | { readonly kind: 'intent'; readonly from: PostureLevel; readonly to: PostureLevel; readonly kept: KeptPosture }
  | { readonly kind: 'step'; readonly epoch: bigint; readonly step: string; readonly outcome: 'taken' | 'failed' }
  | { readonly kind: 'settled'; readonly epoch: bigint; readonly level: PostureLevel; readonly failed: boolean };

export interface PostureJournal {
  /** Resolves when it is written; an intent and a settlement are on disk then. */
  write(record: JournalRecord): Promise<void>;
}

export interface OpenedJournal {
  readonly journal: PostureJournal;
  /** Of the last change, when it was not settled. */
  readonly interrupted: Extract<JournalRecord, { kind: 'intent' }> | undefined;
  /** Which record could not be read, and why. */
  readonly problem?: string;
  /** Nothing before the end is missing. */
  readonly isWhole: boolean;
}

const FILE = 'posture.journal';
const DIGITS = 16;
/** Above it a settled journal begins anew. */
const COMPACT_BYTES = 65_536;
/** One that grew beyond was not written by us. */
const MAX_BYTES = 4 * 1_048_576;

export async function openPostureJournal(folder: string, sha256: Sha256): Promise<OpenedJournal> {
  const path = join(folder, FILE);
  const text = await readFile(path, 'latin1').catch((error: unknown) => {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return '';
    throw error;
  });
  const read = readJournal(text, sha256);
  const journal = new JournalFile(path, sha256, read.records);
  return { journal, interrupted: interruptedIn(read.records), isWhole: read.isWhole, ...problemOf(read) };
}

export interface ReadJournal {
  readonly records: readonly JournalRecord[];
  readonly isWhole: boolean;
  readonly problem: string | undefined;
}

/** What of a journal can be read. */
export function readJournal(text: string, sha256: Sha256): ReadJournal {
  if (text.length > MAX_BYTES) return { records: [], isWhole: false, problem: `a journal of ${text.length} bytes` };
  const lines = text.split('\n');
  // Behind the last line feed there is nothing, or a record that was cut off.
  const rest = lines.pop() ?? '';
  const records: JournalRecord[] = [];
  for (const [at, line] of lines.entries()) {
    try {
      records.push(parseLine(line, sha256));
    } catch (error) {
      const why = error instanceof Error ? error.message : String(error);
      return { records, isWhole: false, problem: `record ${at + 1} of the journal: ${why}` };
    }
  }
  const problem = rest === '' ? undefined : `record ${lines.length + 1} of the journal was cut off, and is left out`;
  return { records, isWhole: true, problem };
}

export function formatRecord(record: JournalRecord, sha256: Sha256): string {
  const json = JSON.stringify(documentOf(record));
  return `${checksum(json, sha256, DIGITS)} ${json}\n`;
}

function problemOf({ problem }: ReadJournal): { readonly problem?: string } {
  return problem === undefined ? {} : { problem };
}

function interruptedIn(records: readonly JournalRecord[]): OpenedJournal['interrupted'] {
  const last = records.findLast(({ kind }) => kind !== 'step');
  return last?.kind === 'intent' ? last : undefined;
}

class JournalFile implements PostureJournal {
  readonly #path: string;
  readonly #sha256: Sha256;
  #start: readonly JournalRecord[];
  #file: FileHandle | undefined;
  #bytes = 0;
  #last: Promise<unknown> = Promise.resolve();

  constructor(path: string, sha256: Sha256, records: readonly JournalRecord[]) {
    this.#path = path;
    this.#sha256 = sha256;
    this.#start = records;
  }

  write(record: JournalRecord): Promise<void> {
    const written = this.#last.then(() => this.#append(record));
    this.#last = written.catch(() => undefined);
    return written;
  }

  async #append(record: JournalRecord): Promise<void> {
    const isSettled = record.kind === 'settled';
    if (isSettled && this.#bytes > COMPACT_BYTES) {
      await this.#file?.close();
      this.#file = undefined;
      this.#start = [];
    }
    this.#file ??= await this.#begin();
    const line = formatRecord(record, this.#sha256);
    const { bytesWritten } = await this.#file.write(line);
    this.#bytes += bytesWritten;
    if (bytesWritten !== line.length) throw new Error('the journal of the posture could not be written whole');
    if (record.kind !== 'step') await this.#file.datasync();
  }

  /** What could be read of it before, in a file of its own: nothing is written behind a record that was cut off. */
  async #begin(): Promise<FileHandle> {
    const fresh = `${this.#path}.new`;
    const file = await open(fresh, 'w', 0o600);
    try {
      const text = this.#start.map((record) => formatRecord(record, this.#sha256)).join('');
      await file.writeFile(text);
      await file.sync();
      await rename(fresh, this.#path);
      await using folder = await open(dirname(this.#path), 'r');
      await folder.sync();
      this.#bytes = text.length;
      return file;
    } catch (error) {
      await file.close();
      throw error;
    }
  }
}

const recordSchema = z.discriminatedUnion('kind', [
  z.strictObject({ kind: z.literal('intent'), from: levelSchema, to: levelSchema, ...keptFields }),
  z.strictObject({
    kind: z.literal('step'),
    epoch: epochSchema,
    step: z.string().max(64),
    outcome: z.enum(['taken', 'failed']),
  }),
  z.strictObject({ kind: z.literal('settled'), epoch: epochSchema, level: levelSchema, failed: z.boolean() }),
]);

function documentOf(record: JournalRecord): object {
  if (record.kind !== 'intent') return { ...record, epoch: String(record.epoch) };
  const { kind, from, to, kept } = record;
  return { kind, from, to, ...keptDocument(kept) };
}

function parseLine(line: string, sha256: Sha256): JournalRecord {
  const json = line.slice(DIGITS + 1);
  if (line.slice(0, DIGITS + 1) !== `${checksum(json, sha256, DIGITS)} `) throw new Error('it is damaged');
  const record = parseDocument(recordSchema, json, 'it');
  if (record.kind !== 'intent') return record;
  const { kind, from, to } = record;
  return { kind, from, to, kept: keptOf(record) };
}
