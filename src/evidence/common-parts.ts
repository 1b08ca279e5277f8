/** What many records of a spool share, once each, by number. Read at its opening, and never changed: records hang on it. */
import type { DatabaseSync, StatementSync } from 'node:sqlite';
import { ShellstreamError } from '../../protocol/errors.ts';
import { type Sha256, sameBytes } from '../../protocol/evidence/index.ts';
import { packRecord, unpackRecord } from './packed-record.ts';

export class CommonParts {
  readonly #sha256: Sha256;
  readonly #put: StatementSync;
  readonly #byNumber: Uint8Array[] = [];
  readonly #numbers = new Map<string, number>();
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
      this.#keep(bytes);
    }
    this.#durable = this.#byNumber.length;
  }

  /** Inside a transaction, which `settle` ends. */
  pack(record: Uint8Array): Uint8Array {
    return packRecord(record, (part) => this.#numbers.get(keyOf(part)) ?? this.#add(part));
  }

  /** What is damaged comes back as it is: it is not what its entry commits to. */
  unpack(stored: Uint8Array): Uint8Array {
    return unpackRecord(stored, (number) => this.#byNumber[number]) ?? stored;
  }

  /** Whether the transaction became durable; if not, what it added is not there. */
  settle(isDurable: boolean): void {
    if (isDurable) this.#durable = this.#byNumber.length;
    else for (const part of this.#byNumber.splice(this.#durable)) this.#numbers.delete(keyOf(part));
  }

  #add(part: Uint8Array): number | undefined {
    const number = this.#byNumber.length;
    // Whoever has ever new identities fills this and no more: their records stand whole then.
    if (number >= MOST_PARTS) return undefined;
    // A view would keep the whole record.
    const bytes = part.slice();
    this.#put.run(number, bytes, this.#digestOf(bytes));
    this.#keep(bytes);
    return number;
  }

  #keep(bytes: Uint8Array): void {
    this.#numbers.set(keyOf(bytes), this.#byNumber.length);
    this.#byNumber.push(bytes);
  }

  #digestOf(bytes: Uint8Array): Uint8Array {
    return this.#sha256(bytes).subarray(0, DIGEST_BYTES);
  }
}

export const MOST_PARTS = 16_384;
const DIGEST_BYTES = 8;

function keyOf({ buffer, byteOffset, length }: Uint8Array): string {
  return Buffer.from(buffer, byteOffset, length).toString('latin1');
}
