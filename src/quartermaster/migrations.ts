/** Quartermaster's tables, as numbered steps: each is applied once, in order, inside one transaction with its number. */
import type { DatabaseSync } from 'node:sqlite';
import { ShellstreamError } from '../../protocol/errors.ts';
import { sessionKey } from './session-key.ts';

const MIGRATIONS: readonly string[] = [
  `
  CREATE TABLE log (
    id INTEGER PRIMARY KEY,
    origin TEXT NOT NULL,
    lane INTEGER NOT NULL,
    next INTEGER NOT NULL,
    UNIQUE (origin, lane)
  ) STRICT;

  -- SPIFFE IDs, once each.
  CREATE TABLE name (id INTEGER PRIMARY KEY, text TEXT NOT NULL UNIQUE) STRICT;

  -- number is the order of arrival and is never used twice. With salt: a record; with content alone: a leaf of the log;
  -- with neither: the sender had nothing left of it. The time, and what hangs on it, is that of records.
  CREATE TABLE artifact (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    log INTEGER NOT NULL,
    seq INTEGER NOT NULL,
    kind INTEGER,
    at_ms INTEGER,
    level INTEGER,
    session BLOB,
    actor INTEGER,
    peer INTEGER,
    salt BLOB,
    content BLOB
  ) STRICT;
  CREATE UNIQUE INDEX artifact_by_sequence ON artifact (log, seq);
  CREATE INDEX artifact_by_time ON artifact (at_ms) WHERE at_ms IS NOT NULL;
  CREATE INDEX artifact_by_level ON artifact (level, at_ms) WHERE level IS NOT NULL;
  CREATE INDEX artifact_by_session ON artifact (session, at_ms) WHERE session IS NOT NULL;
  CREATE INDEX artifact_by_actor ON artifact (actor, at_ms) WHERE actor IS NOT NULL;
  CREATE INDEX artifact_by_peer ON artifact (peer, at_ms) WHERE peer IS NOT NULL;

  -- By our own clock: retention must not follow times that senders choose.
  CREATE TABLE day (day INTEGER PRIMARY KEY, first INTEGER NOT NULL) STRICT;

  CREATE TABLE proposal (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    proposer TEXT NOT NULL,
    received_ms INTEGER NOT NULL,
    content BLOB NOT NULL
  ) STRICT;
  CREATE TABLE spent_token (id BLOB PRIMARY KEY, expires_ms INTEGER NOT NULL) STRICT, WITHOUT ROWID;
  CREATE INDEX spent_token_by_expiry ON spent_token (expires_ms);

  -- One row. Tokens that ended before horizon_ms were forgotten, and are refused whatever the clock says now.
  -- applied is the last message of the replicas' common stream that is in these tables.
  CREATE TABLE state (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    horizon_ms INTEGER NOT NULL,
    applied INTEGER NOT NULL
  ) STRICT;
  INSERT INTO state (id, horizon_ms, applied) VALUES (1, 0, 0);
  `,
  `
  -- A session by 32 bits of its identifier: the record has all of it, and what only looks like it is passed over.
  CREATE TABLE slim (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    log INTEGER NOT NULL,
    seq INTEGER NOT NULL,
    kind INTEGER,
    at_ms INTEGER,
    level INTEGER,
    session INTEGER,
    actor INTEGER,
    peer INTEGER,
    salt BLOB,
    content BLOB
  ) STRICT;
  INSERT INTO slim SELECT number, log, seq, kind, at_ms, level, session_key(session), actor, peer, salt, content
    FROM artifact;
  -- Numbers of what was forgotten are not used again.
  DELETE FROM sqlite_sequence WHERE name = 'slim';
  UPDATE sqlite_sequence SET name = 'slim' WHERE name = 'artifact';
  DROP TABLE artifact;
  ALTER TABLE slim RENAME TO artifact;
  CREATE UNIQUE INDEX artifact_by_sequence ON artifact (log, seq);
  CREATE INDEX artifact_by_time ON artifact (at_ms) WHERE at_ms IS NOT NULL;
  CREATE INDEX artifact_by_level ON artifact (level, at_ms) WHERE level IS NOT NULL;
  CREATE INDEX artifact_by_session ON artifact (session, at_ms) WHERE session IS NOT NULL;
  CREATE INDEX artifact_by_actor ON artifact (actor, at_ms) WHERE actor IS NOT NULL;
  CREATE INDEX artifact_by_peer ON artifact (peer, at_ms) WHERE peer IS NOT NULL;

  -- One row: the time that was seen to pass; nothing is forgotten by the wall clock alone.
  CREATE TABLE passed_time (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    at_ms REAL NOT NULL,
    boot TEXT NOT NULL,
    uptime_ms REAL NOT NULL
  ) STRICT;
  `,
];

const SCHEMA_VERSION = MIGRATIONS.length;

/** @throws ShellstreamError EVIDENCE_FAILED for a store of a later version: what it holds may mean something else. */
export function migrate(database: DatabaseSync): void {
  const version = Number(database.prepare('PRAGMA user_version').get()?.user_version);
  if (!(version <= SCHEMA_VERSION)) {
    throw new ShellstreamError(
      'EVIDENCE_FAILED',
      `the store is of version ${version}, this program knows ${SCHEMA_VERSION}`,
    );
  }
  database.function('session_key', { deterministic: true, directOnly: true }, (session: unknown) =>
    session instanceof Uint8Array ? sessionKey(session) : null,
  );
  for (let next = version; next < SCHEMA_VERSION; next += 1) {
    database.exec(`BEGIN; ${MIGRATIONS[next]}; PRAGMA user_version = ${next + 1}; COMMIT`);
  }
}
