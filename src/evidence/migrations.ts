/** The spool's tables, as numbered steps: each is applied once, in order, inside one transaction with its number. */
import type { DatabaseSync } from 'node:sqlite';
import { ShellstreamError } from '../../protocol/errors.ts';

const MIGRATIONS: readonly string[] = [
  `
  -- seq is the index in the log. record and salt go when their time is over; the entry stays.
  CREATE TABLE entry (
    seq INTEGER PRIMARY KEY,
    entry BLOB NOT NULL,
    salt BLOB,
    record BLOB,
    kind INTEGER NOT NULL,
    level INTEGER
  ) STRICT;
  CREATE INDEX entry_by_level ON entry (level, seq) WHERE level IS NOT NULL;

  -- Records that sampling left out, until a batch commits to them and for as long after as they are kept.
  CREATE TABLE left_out (
    number INTEGER PRIMARY KEY,
    day INTEGER NOT NULL,
    level INTEGER NOT NULL,
    salt BLOB,
    record BLOB,
    commitment BLOB
  ) STRICT;

  -- Intents without an outcome. place 0: in the log, 1: left out.
  CREATE TABLE open_intent (
    kind INTEGER NOT NULL,
    id BLOB NOT NULL,
    place INTEGER NOT NULL,
    at INTEGER NOT NULL,
    PRIMARY KEY (kind, id)
  ) STRICT, WITHOUT ROWID;

  CREATE TABLE sampling_key (
    day INTEGER PRIMARY KEY,
    key BLOB NOT NULL,
    revealed INTEGER NOT NULL
  ) STRICT;

  -- One row: the tree over all entries, and the counters that go with it.
  CREATE TABLE tree (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    size INTEGER NOT NULL,
    frontier BLOB NOT NULL,
    checkpoint BLOB NOT NULL,
    left_out INTEGER NOT NULL,
    batched INTEGER NOT NULL,
    transit INTEGER NOT NULL
  ) STRICT;
  `,
  `
  -- Of the kinds that are few; session transits are found by their level.
  CREATE INDEX entry_by_kind ON entry (kind, seq) WHERE kind > 1;
  `,
  `
  -- Sampling keys and batch roots: by them the log tells its days when it is pruned.
  CREATE INDEX entry_public ON entry (seq) WHERE kind = 0;
  `,
  `
  -- What many records share, once: packed-record.ts. Of a record that is kept, entry holds the first bytes of its
  -- commitment, by which damage is named; the rest follows from salt and record.
  CREATE TABLE common_part (
    number INTEGER PRIMARY KEY,
    bytes BLOB NOT NULL,
    digest BLOB NOT NULL
  ) STRICT;
  `,
  `
  -- One row: the time that was seen to pass; nothing is given up by the wall clock alone.
  CREATE TABLE passed_time (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    at_ms REAL NOT NULL,
    boot TEXT NOT NULL,
    uptime_ms REAL NOT NULL
  ) STRICT;
  `,
];

export const SCHEMA_VERSION = MIGRATIONS.length;

/** @throws ShellstreamError EVIDENCE_FAILED for a spool of a later version: what it holds may mean something else. */
export function migrate(database: DatabaseSync): void {
  const version = Number(database.prepare('PRAGMA user_version').get()?.user_version);
  if (!(version <= SCHEMA_VERSION)) {
    throw new ShellstreamError(
      'EVIDENCE_FAILED',
      `the spool is of version ${version}, this program knows ${SCHEMA_VERSION}`,
    );
  }
  for (let next = version; next < SCHEMA_VERSION; next += 1) {
    database.exec(`BEGIN; ${MIGRATIONS[next]}; PRAGMA user_version = ${next + 1}; COMMIT`);
  }
}
