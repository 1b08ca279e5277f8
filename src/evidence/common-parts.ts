/** What many records of a spool share, once each, by number. Read at its opening, and never changed: records hang on it. */
import type { DatabaseSync, StatementSync } from 'node:sqlite';
import { ShellstreamError } from '../../protocol/errors.ts';
import { type Sha256, sameBytes } from '../../protocol/evidence/index.ts';
import { packRecord, unpackRecord } from './packed-record.ts';

export class CommonParts {
  readonly #sha256: Sha256;
  readonly #put: StatementSync;
  readonly #byNumber: Uint8Array[] = [];
  /** By `keyOf`. Two parts of one key: the second stands in its records, and costs its bytes and nothing else. */
  readonly #numbers = new Map<number, number>();
  /** How many of them a commit made durable. */
  #durable: number;

  /** @throws ShellstreamError EVIDENCE_FAILED that names the part that is damaged */
  constructor(sha256: Sha256, database: DatabaseSync) {
    this.#sha256 = sha256;
    this.#put = database.prepare('INSERT INTO common_part (number, bytes, digest) VALUES (?, ?, ?)');
    for (const { number, bytes, digest } of database.prepare('SELECT * FROM common_part ORDER BY number').all()) {
      const isWhole =
        number === this.#byNumber.length &&
        bytes instanceof Uint8Array &&
        digest instanceof Uint8Array &&
        sameBytes(this.#digestOf(bytes), digest);
      if (!isWhole) throw new ShellstreamError('EVIDENCE_FAILED', `the spool’s common part ${number} is damaged`);
      this.#keep(keyOf(bytes, 0, bytes.length), bytes);
    }
    this.#durable = this.#byNumber.length;
  }

  /** Inside a transaction, which `settle` ends. */
  pack(record: Uint8Array): Uint8Array {
    return packRecord(record, this.#numberOf);
  }

  readonly #numberOf = (record: Uint8Array, start: number, end: number): number | undefined => {
    const key = keyOf(record, start, end);
    const number = this.#numbers.get(key);
    if (number === undefined) return this.#add(key, new Uint8Array(record.subarray(start, end)));
    return isPartAt(record, start, end, this.#byNumber[number]) ? number : undefined;
  };

  /** What is damaged comes back as it is: it is not what its entry commits to. */
  unpack(stored: Uint8Array): Uint8Array {
    return unpackRecord(stored, (number) => this.#byNumber[number]) ?? stored;
  }

  /** Whether the transaction became durable; if not, what it added is not there. */
  settle(isDurable: boolean): void {
    if (isDurable) this.#durable = this.#byNumber.length;
    else for (const part of this.#byNumber.splice(this.#durable)) this.#numbers.delete(keyOf(part, 0, part.length));
  }

  /** @param bytes a copy: a view would keep the whole record. */
  #add(key: number, bytes: Uint8Array): number | undefined {
    const number = this.#byNumber.length;
    // Whoever has ever new identities fills this and no more: their records stand whole then.
    if (number >= MOST_PARTS) return undefined;
    this.#put.run(number, bytes, this.#digestOf(bytes));
    this.#keep(key, bytes);
    return number;
  }

  #keep(key: number, bytes: Uint8Array): void {
    if (!this.#numbers.has(key)) this.#numbers.set(key, this.#byNumber.length);
    this.#byNumber.push(bytes);
  }

  #digestOf(bytes: Uint8Array): Uint8Array {
    return this.#sha256(bytes).subarray(0, DIGEST_BYTES);
  }
}

export const MOST_PARTS = 16_384;
const DIGEST_BYTES = 8;

/** FNV-1a: of few bytes sooner than a string is made of them. */
function keyOf(bytes: Uint8Array, start: number, end: number): number {
  let key = 0x811c9dc5;
  for (let i = start; i < end; i += 1) key = Math.imul(key ^ (bytes[i] ?? 0), 0x01000193);
  return key;
}

function isPartAt(bytes: Uint8Array, start: number, end: number, part: Uint8Array | undefined): boolean {
  if (part?.length !== end - start) return false;
  for (let i = 0; i < part.length; i += 1) if (part[i] !== bytes[start + i]) return false;
  return true;
}
