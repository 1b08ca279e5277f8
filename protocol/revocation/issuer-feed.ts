/**
 * What one issuer has said so far, in the order of its numbers, and whether that is all of it and how recently it was. A
 * feed that is cut, held back or rolled back shows by its numbers and by the age of its heartbeat.
 */
import { sameBytes } from '../evidence/bytes.ts';
import type { Heartbeat, SignedDocument, Statement } from './statement.ts';

/** What a signed statement of a configured issuer means here. */
export type Succession =
  | { readonly kind: 'next' }
  /** Known already: bytes of the body are the same. */
  | { readonly kind: 'known' }
  /** Whoever sent it is to be asked from `next` on. */
  | { readonly kind: 'gap'; readonly next: number }
  | { readonly kind: 'fork'; readonly former: SignedDocument<Statement> };

/** Why an issuer's feed may not be all of it. */
export type Staleness = 'forked' | 'behind' | 'silent';

export class IssuerFeed {
  readonly #statements: SignedDocument<Statement>[] = [];
  /** The highest number that the issuer signed for, whether we have it or not. */
  #signedNumber = 0;
  #heartbeat: SignedDocument<Heartbeat> | undefined;
  #contradiction: SignedDocument<Statement> | undefined;

  get last(): number {
    return this.#statements.length;
  }

  /** Two statements with one number were seen; the second was not taken. It stays so: the issuer needs a new name. */
  get contradiction(): SignedDocument<Statement> | undefined {
    return this.#contradiction;
  }

  /** The latest that counts. */
  get heartbeat(): SignedDocument<Heartbeat> | undefined {
    return this.#heartbeat;
  }

  /** From a number on, oldest first. */
  from(number: number, most: number): readonly SignedDocument<Statement>[] {
    return this.#statements.slice(number - 1, number - 1 + most);
  }

  /** Of an authentic statement; nothing is changed but what is known of gaps and forks. */
  succession(document: SignedDocument<Statement>): Succession {
    const { number } = document.content;
    const next = this.last + 1;
    this.#signedNumber = Math.max(this.#signedNumber, number);
    if (number === next) return { kind: 'next' };
    if (number > next) return { kind: 'gap', next };
    const former = this.#statements[number - 1];
    if (former !== undefined && !sameBytes(former.body, document.body)) {
      this.contradicted(document);
      return { kind: 'fork', former };
    }
    return { kind: 'known' };
  }

  /** The statement that `succession` said is next. */
  append(document: SignedDocument<Statement>): void {
    this.#statements.push(document);
  }

  contradicted(document: SignedDocument<Statement>): void {
    this.#contradiction ??= document;
  }

  /** An authentic heartbeat. Whether it is news: older ones are nothing. */
  hear(document: SignedDocument<Heartbeat>): boolean {
    const { number, timeMs } = document.content;
    this.#signedNumber = Math.max(this.#signedNumber, number);
    if (this.#heartbeat !== undefined && timeMs <= this.#heartbeat.content.timeMs) return false;
    this.#heartbeat = document;
    return true;
  }

  /** Undefined when this is all that the issuer had signed `staleMs` ago. */
  staleness(nowMs: number, staleMs: number): Staleness | undefined {
    if (this.#contradiction !== undefined) return 'forked';
    if (this.#signedNumber > this.last) return 'behind';
    if (this.#heartbeat === undefined || this.#heartbeat.content.timeMs + staleMs < nowMs) return 'silent';
    return undefined;
  }
}
