/**
 * What this node is doing about its posture, on disk before it does it: a crash in the middle of a tightening does not
 * forget what was said. Each record is a line: 16 hex digits of a SHA-256, a blank, JSON.
 *
 *     intent   before the first step, durable: from, to, and all that was said so far
 *     step     after each, with its outcome
 *     settled  after the last, durable
 *
 * The last intent stays for as long as there is a journal: it may be all that is left of what was said. What came before
 * goes when the file has grown.
 */
import { open, readFile, rename } from 'node:fs/promises';
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

export type Intent = Extract<JournalRecord, { kind: 'intent' }>;

export interface OpenedJournal {
  readonly journal: PostureJournal;
  readonly read: ReadJournal;
}

const FILE = 'posture.journal';
const DIGITS = 16;
/** Above it the journal begins anew. */
const COMPACT_BYTES = 65_536;
/** One that grew beyond was not written by us. */
const MAX_BYTES = 4 * 1_048_576;

export async function openPostureJournal(folder: string, sha256: Sha256): Promise<OpenedJournal> {
  const path = join(folder, FILE);
  const read = await readFile(path, 'utf8').then(
    (text) => readJournal(text, sha256),
    (error: unknown) => unread(error),
  );
  return { journal: new JournalFile(path, sha256, read.records), read };
}

export interface ReadJournal {
  readonly records: readonly JournalRecord[];
  /** Nothing before the end is missing. */
  readonly isWhole: boolean;
  /** Which record could not be read, and why. */
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
  if (rest === '') return { records, isWhole: true, problem: undefined };
  const place = `record ${lines.length + 1} of the journal`;
  // Or a whole one, whose line feed alone is missing or another character now.
  for (const line of [rest, rest.slice(0, -1)]) {
    try {
      records.push(parseLine(line, sha256));
      return { records, isWhole: true, problem: `${place}: its end is damaged` };
    } catch {
      // What cannot be read is said below.
    }
  }
  return { records, isWhole: true, problem: `${place} was cut off, and is left out` };
}

/** One that cannot be read at all is no reason to come up open, or not at all: it may have held a lockdown. */
function unread(error: unknown): ReadJournal {
  const isThere = !(error instanceof Error && 'code' in error && error.code === 'ENOENT');
  if (!isThere) return { records: [], isWhole: true, problem: undefined };
  const why = error instanceof Error ? error.message : String(error);
  return { records: [], isWhole: false, problem: `the journal cannot be read: ${why}` };
}

export function formatRecord(record: JournalRecord, sha256: Sha256): string {
  const json = JSON.stringify(documentOf(record));
  return `${checksum(json, sha256, DIGITS)} ${json}\n`;
}

class JournalFile implements PostureJournal {
  readonly #path: string;
  readonly #sha256: Sha256;
  /** With which a new file begins. */
  #start: readonly JournalRecord[];
  #isBegun = false;
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
    const isDurable = record.kind !== 'step';
    if (isDurable && this.#bytes > COMPACT_BYTES) this.#isBegun = false;
    const line = Buffer.from(formatRecord(record, this.#sha256));
    try {
      if (this.#isBegun) {
        // What is written behind half a record could not be read: after a failure the next one begins a new file.
        this.#isBegun = false;
        await this.#write(line, isDurable);
      } else {
        await this.#begin(line);
      }
      this.#isBegun = true;
    } finally {
      if (record.kind === 'intent') this.#start = [record];
    }
  }

  async #write(line: Buffer, isDurable: boolean): Promise<void> {
    await using file = await open(this.#path, 'a', 0o600);
    const { bytesWritten } = await file.write(line);
    this.#bytes += bytesWritten;
    if (bytesWritten !== line.length) throw new Error('the journal of the posture could not be written whole');
    if (isDurable) await file.datasync();
  }

  /** With its first record in it: a crash in between must not leave a whole journal that lacks what was lost of the former. */
  async #begin(line: Buffer): Promise<void> {
    const fresh = `${this.#path}.new`;
    const text = Buffer.concat([...this.#start.map((one) => Buffer.from(formatRecord(one, this.#sha256))), line]);
    {
      await using file = await open(fresh, 'w', 0o600);
      await file.writeFile(text);
      await file.sync();
    }
    await rename(fresh, this.#path);
    this.#bytes = text.length;
    await using folder = await open(dirname(this.#path), 'r');
    await folder.sync();
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
