/** Rows of one table, several with one statement: a call costs as much as a row. All of it inside a transaction. */
import type { DatabaseSync, SQLInputValue, StatementSync } from 'node:sqlite';

export class RowBatch {
  readonly #columns: number;
  readonly #one: StatementSync;
  readonly #several: StatementSync;
  #values: SQLInputValue[] = [];

  /** @param table and its columns, as `INSERT INTO` takes them */
  constructor(database: DatabaseSync, table: string, columns: readonly string[]) {
    this.#columns = columns.length;
    const row = `(${columns.map(() => '?').join(', ')})`;
    const insert = `INSERT INTO ${table} (${columns.join(', ')}) VALUES`;
    this.#one = database.prepare(`${insert} ${row}`);
    this.#several = database.prepare(`${insert} ${Array<string>(AT_ONCE).fill(row).join(', ')}`);
  }

  /** Written now or with `flush`: no statement may look for it before. */
  add(...row: readonly SQLInputValue[]): void {
    const values = this.#values;
    for (const value of row) values.push(value);
    if (values.length < AT_ONCE * this.#columns) return;
    this.#values = [];
    this.#several.run(...values);
  }

  flush(): void {
    const values = this.#values;
    if (values.length === 0) return;
    this.#values = [];
    for (let at = 0; at < values.length; at += this.#columns) this.#one.run(...values.slice(at, at + this.#columns));
  }

  /** The transaction is taken back. */
  drop(): void {
    this.#values = [];
  }
}

const AT_ONCE = 8;
