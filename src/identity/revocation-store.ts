/**
 * Revocations on disk: one file, written anew with each statement and put in the place of the former in one step. A record
 * that cannot be read is not taken for an empty one: until feeds have said everything again, nobody knows what is missing.
 */
import { open, readFile, rename } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { ShellstreamError } from '../../protocol/errors.ts';
import { parseStatement, type SignedDocument, type Statement } from '../../protocol/revocation/index.ts';
import { RECORD_LIMITS, type RecordLimits } from './revocation-room.ts';

export interface KeptRevocations {
  /** Of each issuer in the order of its numbers, from 1. */
  readonly statements: readonly SignedDocument<Statement>[];
  /** Second statements with a number that was taken already. */
  readonly contradictions: readonly SignedDocument<Statement>[];
}

export interface RevocationStore {
  /** Resolves when it is durable. @param kept is asked when it is written: what is added meanwhile is written with it */
  save(kept: () => KeptRevocations): Promise<void>;
}

export interface OpenedRevocations {
  readonly store: RevocationStore;
  readonly kept: KeptRevocations;
  /** Why the record could not be read. */
  readonly problem?: string;
  /** What the store reads and writes; `RECORD_LIMITS` unless told. */
  readonly limits?: RecordLimits;
}

/** @param folder it is there */
export async function openRevocationStore(
  folder: string,
  sha256: (bytes: Uint8Array) => Uint8Array,
  limits: RecordLimits = RECORD_LIMITS,
): Promise<OpenedRevocations> {
  const path = join(folder, FILE);
  const store = new RevocationFile(path, sha256, limits.bytes);
  try {
    const bytes = await readFile(path).catch((error: unknown) => {
      if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return undefined;
      throw error;
    });
    return { store, kept: bytes === undefined ? NOTHING_KEPT : parse(bytes, sha256, limits.bytes), limits };
  } catch (error) {
    return { store, kept: NOTHING_KEPT, problem: error instanceof Error ? error.message : String(error), limits };
  }
}

/** For tests, and for a gateway that keeps nothing. */
export function forgetfulRevocations(): OpenedRevocations {
  return { store: { save: async () => {} }, kept: NOTHING_KEPT };
}

export const NOTHING_KEPT: KeptRevocations = { statements: [], contradictions: [] };
const FILE = 'revocations';
const HEADING = 'shellstream revocations v1';

class RevocationFile implements RevocationStore {
  readonly #path: string;
  readonly #sha256: (bytes: Uint8Array) => Uint8Array;
  readonly #maxBytes: number;
  #last: Promise<unknown> = Promise.resolve();
  /** A write that has not begun: whoever comes meanwhile goes with it. */
  #next: Promise<void> | undefined;

  constructor(path: string, sha256: (bytes: Uint8Array) => Uint8Array, maxBytes: number) {
    this.#path = path;
    this.#sha256 = sha256;
    this.#maxBytes = maxBytes;
  }

  save(kept: () => KeptRevocations): Promise<void> {
    this.#next ??= this.#last.then(() => {
      this.#next = undefined;
      return this.#write(kept());
    });
    this.#last = this.#next.catch(() => undefined);
    return this.#next;
  }

  async #write(kept: KeptRevocations): Promise<void> {
    const text = format(kept, this.#sha256);
    // Rooms of issuers leave no way here. In the place of a record that is read it would take every revocation with it.
    if (text.length > this.#maxBytes) {
      throw new ShellstreamError('INTERNAL', `a record of ${text.length} bytes would not be read again`);
    }
    const fresh = `${this.#path}.new`;
    {
      await using file = await open(fresh, 'w', 0o600);
      await file.writeFile(text);
      await file.sync();
    }
    await rename(fresh, this.#path);
    await using folder = await open(dirname(this.#path), 'r');
    await folder.sync();
  }
}

/** A checksum in hex, a heading, and a line for each statement: `+` taken, `!` a contradiction. */
function format({ statements, contradictions }: KeptRevocations, sha256: (bytes: Uint8Array) => Uint8Array): string {
  const line = (mark: string) => (document: SignedDocument<Statement>) =>
    `${mark}${Buffer.from(document.bytes).toString('base64')}\n`;
  const text = `${HEADING}\n${statements.map(line('+')).join('')}${contradictions.map(line('!')).join('')}`;
  return `${checksum(Buffer.from(text, 'latin1'), sha256)}\n${text}`;
}

function parse(bytes: Buffer, sha256: (bytes: Uint8Array) => Uint8Array, maxBytes: number): KeptRevocations {
  if (bytes.length > maxBytes) throw new ShellstreamError('MALFORMED', `a record of ${bytes.length} bytes`);
  const all = bytes.toString('latin1');
  const end = all.indexOf('\n');
  const text = all.slice(end + 1);
  if (end < 0 || all.slice(0, end) !== checksum(bytes.subarray(end + 1), sha256)) {
    throw new ShellstreamError('MALFORMED', 'the record of revocations is damaged');
  }
  const [heading, ...lines] = text.slice(0, -1).split('\n');
  if (heading !== HEADING) throw new ShellstreamError('MALFORMED', 'the record of revocations is of another version');
  const read = (mark: string) =>
    lines
      .filter((line) => line.startsWith(mark))
      .map((line) => parseStatement(new Uint8Array(Buffer.from(line.slice(1), 'base64'))));
  return { statements: read('+'), contradictions: read('!') };
}

function checksum(text: Uint8Array, sha256: (bytes: Uint8Array) => Uint8Array): string {
  return Buffer.from(sha256(text)).toString('hex');
}
