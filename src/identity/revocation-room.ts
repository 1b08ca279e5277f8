/**
 * Room in the record of revocations. Each issuer has its own, whatever others say, and all rooms together are not more than
 * what is read at a start: whoever holds one issuer's key can neither keep the site from revoking nor spoil its record.
 */
import { MAX_SIGNED_BYTES, type SignedDocument, type Statement } from '../../protocol/revocation/index.ts';

export interface RecordLimits {
  /** Configured at a time. */
  readonly issuers: number;
  readonly statementsOfIssuer: number;
  /** Lines of one issuer in the record, with that of a contradiction. */
  readonly bytesOfIssuer: number;
  /** The whole record, as it is written and as it is read. */
  readonly bytes: number;
}

/** Of the whole record: checksum and heading. */
export const HEAD_BYTES = 128;
/** A mark, base64, a line break. */
export const LONGEST_LINE: number = lineLength(MAX_SIGNED_BYTES);

const MIB = 1024 * 1024;
const ISSUERS = 64;
const ROOM_OF_ISSUER = 4 * MIB;
/** As much as versions without rooms read: what these left, and issuers that are not configured any more. */
const CARRIED = 128 * MIB;

export const RECORD_LIMITS: RecordLimits = {
  issuers: ISSUERS,
  statementsOfIssuer: 16_384,
  bytesOfIssuer: ROOM_OF_ISSUER,
  bytes: ISSUERS * ROOM_OF_ISSUER + CARRIED,
};

export function lineBytes({ bytes }: Pick<SignedDocument<Statement>, 'bytes'>): number {
  return lineLength(bytes.length);
}

/** What the statements of configured issuers take. */
export class RecordRoom {
  readonly #limits: RecordLimits;
  readonly #used = new Map<string, { readonly statements: number; readonly bytes: number }>();

  constructor(limits: RecordLimits) {
    this.#limits = limits;
  }

  /** Whether its issuer may say one more. The line of a contradiction is kept free: a fork must be known after a restart. */
  has(document: SignedDocument<Statement>): boolean {
    const { statements, bytes } = this.#of(document.content.issuer);
    const { statementsOfIssuer, bytesOfIssuer } = this.#limits;
    return statements < statementsOfIssuer && bytes + lineBytes(document) + LONGEST_LINE <= bytesOfIssuer;
  }

  /** Counted whether there is room or not: a former version may have taken more. */
  add(document: SignedDocument<Statement>): void {
    const { issuer } = document.content;
    const { statements, bytes } = this.#of(issuer);
    this.#used.set(issuer, { statements: statements + 1, bytes: bytes + lineBytes(document) });
  }

  /** Of statements that nobody's room is for, in their order, those that can be kept: of each issuer the first ones. */
  carried(documents: readonly SignedDocument<Statement>[]): SignedDocument<Statement>[] {
    const { bytes, issuers, bytesOfIssuer } = this.#limits;
    let left = bytes - HEAD_BYTES - issuers * bytesOfIssuer;
    for (const used of this.#used.values()) left -= Math.max(0, used.bytes + LONGEST_LINE - bytesOfIssuer);
    const cut = new Set<string>();
    return documents.filter((document) => {
      const { issuer } = document.content;
      if (!cut.has(issuer) && lineBytes(document) <= left) left -= lineBytes(document);
      else cut.add(issuer);
      return !cut.has(issuer);
    });
  }

  #of(issuer: string): { readonly statements: number; readonly bytes: number } {
    return this.#used.get(issuer) ?? { statements: 0, bytes: 0 };
  }
}

function lineLength(bytes: number): number {
  return 1 + 4 * Math.ceil(bytes / 3) + 1;
}
