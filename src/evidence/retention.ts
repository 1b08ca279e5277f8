/**
 * What is given up with time, and what stays. Records and their salts go first: then a commitment can be opened by nobody.
 * Entries and tiles go last and only in whole, as c2sp.org/tlog-tiles prunes: every root, entry and proof from the minimum
 * index on can still be had, because the hash of a pruned tile stands in the tile above it.
 */
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { ShellstreamError } from '../../protocol/errors.ts';
import {
  bundlePath,
  commitmentOf,
  parseArtifact,
  parseEntry,
  type Sha256,
  TILE_WIDTH,
  tilePath,
} from '../../protocol/evidence/index.ts';
import { LogDirectory } from './log-directory.ts';
import type { Publisher } from './publisher.ts';
import type { Spool } from './spool.ts';

/** Forgets the records, not the entries, of the log below `index`. Open intents keep theirs. Returns how many went. */
export function forgetRecords(spool: Spool, index: number): number {
  const open = spool.reader.openIntents().filter((intent) => intent.in === 'log');
  const below = Math.min(index, ...open.map(({ at }) => at));
  let forgotten = 0;
  spool.forget((rows) => {
    forgotten = rows.forgetRecords(below);
  });
  return forgotten;
}

/**
 * Forgets the records of the log from before `beforeMs`, oldest first, up to the first younger one: a clock that was put back
 * for a time keeps some for longer. Returns how many went.
 */
export function forgetOlderThan(spool: Spool, beforeMs: number): number {
  let below = 0;
  for (let from = spool.reader.firstRecord(); from < spool.size; from += PAGE) {
    const rows = spool.reader.entries(from, Math.min(spool.size, from + PAGE));
    const young = rows.find(
      ({ opening }) => opening !== undefined && Number(parseArtifact(opening.record).atMs) >= beforeMs,
    );
    below = young?.index ?? from + rows.length;
    if (young !== undefined) break;
  }
  return below === 0 ? 0 : forgetRecords(spool, below);
}

/** Forgets left-out records of days before `day` that are under a batch root; their commitments stay, so the root can be built. */
export function forgetLeftOut(spool: Spool, sha256: Sha256, day: number): number {
  const { batched } = spool.counters;
  const open = new Set(spool.reader.openIntents().flatMap((intent) => (intent.in === 'left-out' ? [intent.at] : [])));
  let forgotten = 0;
  for (let from = spool.reader.firstLeftOut(); from < batched; from += PAGE) {
    const rows = spool.reader.leftOut(from, Math.min(batched, from + PAGE));
    // Numbers go with days: what comes after is younger still.
    if ((rows[0]?.day ?? day) >= day) break;
    const due = rows.filter((row) => row.day < day && row.opening !== undefined && !open.has(row.number));
    if (due.length === 0) continue;
    spool.forget((kept) => {
      for (const { number, opening } of due) {
        if (opening !== undefined) kept.forgetLeftOut(number, commitmentOf(sha256, opening.salt, opening.record));
      }
    });
    forgotten += due.length;
  }
  return forgotten;
}

/**
 * Removes tiles and bundles of the published log that hold nothing from `minimumIndex` on, and the spool's entries below it.
 * Publish the new minimum index to the log's readers before. @throws ShellstreamError INTERNAL when it is beyond what is
 * published.
 */
export async function pruneLog(spool: Spool, publisher: Publisher, path: string, minimumIndex: number): Promise<void> {
  // The bundle in work is written from the spool again at the next start.
  const limit = publisher.published - (publisher.published % TILE_WIDTH);
  if (minimumIndex > limit)
    throw new ShellstreamError('INTERNAL', `${minimumIndex} is beyond ${limit}, which is published`);
  const log = new LogDirectory(path);
  for (let level = 0; ; level += 1) {
    const gone = Math.floor(minimumIndex / TILE_WIDTH ** (level + 1));
    if (gone === 0) break;
    // Removed from the oldest on, so that what an interrupted run removed lies below all that is still there.
    let oldest = gone;
    while (oldest > 0 && (await log.tile({ level, index: oldest - 1, width: TILE_WIDTH })) !== undefined) oldest -= 1;
    for (let index = oldest; index < gone; index += 1) {
      const tile = { level, index, width: TILE_WIDTH };
      // The bundle first: entries without a tile would look like damage, a tile without entries is pruning.
      if (level === 0) await rm(join(path, bundlePath(tile)), { force: true });
      await rm(join(path, tilePath(tile)), { force: true });
    }
  }
  spool.forget((rows) => rows.forgetEntries(minimumIndex - (minimumIndex % TILE_WIDTH)));
}

/**
 * From where on the log must be kept if entries of `day` and before may go: a whole tile's first entry. The log tells its own
 * days: whatever precedes the commitment to a day's sampling key was recorded on that day at the latest. What is still open,
 * still kept or not yet published is not given up, whatever its age.
 */
export function minimumIndexAt(spool: Spool, published: number, day: number): number {
  const { reader } = spool;
  let minimum = 0;
  for (let after = reader.firstEntry() - 1; ; ) {
    const page = reader.publicEntries(after, PAGE);
    const last = page.at(-1);
    for (const { index, entry } of page) {
      const read = parseEntry(entry);
      if (read.kind === 'key-committed' && read.day <= day) minimum = index;
    }
    if (last === undefined || page.length < PAGE) break;
    after = last.index;
  }
  const open = reader.openIntents().flatMap((intent) => (intent.in === 'log' ? [intent.at] : []));
  const oldestRecord = reader.firstRecord() || spool.size;
  minimum = Math.min(minimum, published, oldestRecord, ...open);
  return minimum - (minimum % TILE_WIDTH);
}

const PAGE = 4_096;
