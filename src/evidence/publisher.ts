/**
 * The log for others to read: tiles, entry bundles and the checkpoint, as files that any web server can serve. All of it
 * follows from the spool, so a crash loses nothing here; what it left half-done is done again.
 *
 * Order: tiles and bundles first, each durable, then the checkpoint that needs them: whoever sees a checkpoint finds all
 * that it speaks of. A full tile is written once; one that is there and differs is damage, and is named.
 */
import { readdir, rm } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { ShellstreamError } from '../../protocol/errors.ts';
import {
  describeFinding,
  type Ed25519,
  emptyRoot,
  firstDifference,
  HASH_BYTES,
  type LogFile,
  leafHash,
  levelsOf,
  type NoteKey,
  openCheckpoint,
  type Sha256,
  sameBytes,
  splitTile,
  subtreesOf,
  TILE_WIDTH,
  TileBuilder,
  tilePath,
  tileRoot,
  tilesAt,
  verifyLog,
} from '../../protocol/evidence/index.ts';
import { makeFolder, syncFolder, TEMPORARY_SUFFIX, writeDurably, writeRenamed } from './files.ts';
import { LogDirectory } from './log-directory.ts';
import type { Spool } from './spool.ts';
import { entryFault } from './spool-check.ts';
import type { Witnesses } from './witnesses.ts';

export interface PublisherParts {
  readonly path: string;
  readonly spool: Spool;
  readonly sha256: Sha256;
  readonly ed25519: Ed25519;
  readonly origin: string;
  /** By which the published checkpoint is known as ours. */
  readonly keys: readonly NoteKey[];
  /** Asked before a checkpoint is published; absent: nobody is. */
  readonly witnesses?: Witnesses;
}

export class Publisher {
  readonly #parts: PublisherParts;
  readonly #builder: TileBuilder;
  #published: number;
  /** Partial tiles of which the full one is there. The checkpoint that is still published may need them. */
  #superseded: string[] = [];
  /** What was cosigned before says nothing of what witnesses saw since: files and spool may be older copies, both. */
  #wasAsked: boolean;
  #running: Promise<void> | undefined;
  #again = false;

  /**
   * Takes up where the files end. @throws ShellstreamError EVIDENCE_ROLLED_BACK when the spool holds less than they, and
   * EVIDENCE_FAILED when they are not the beginning of what it holds: one of the two was changed.
   */
  static async open(parts: PublisherParts): Promise<Publisher> {
    await makeFolder(parts.path);
    await removeHalfWritten(parts.path);
    const published = await publishedState(parts);
    return new Publisher(parts, published.size, await unfinished(parts, published));
  }

  private constructor(parts: PublisherParts, published: number, builder: TileBuilder) {
    this.#parts = parts;
    this.#published = published;
    this.#builder = builder;
    this.#wasAsked = parts.witnesses === undefined;
  }

  /** The size that the published checkpoint has. */
  get published(): number {
    return this.#published;
  }

  /**
   * Publishes what the spool holds now. Calls that come meanwhile share one further round. @throws ShellstreamError
   * EVIDENCE_FAILED, or as {@link Witnesses.cosign} does: what was published before is then still there.
   */
  async publish(): Promise<void> {
    if (this.#running !== undefined) {
      this.#again = true;
      return this.#running;
    }
    this.#running = this.#rounds();
    try {
      await this.#running;
    } finally {
      this.#running = undefined;
    }
  }

  async #rounds(): Promise<void> {
    do {
      this.#again = false;
      await this.#round();
    } while (this.#again);
  }

  async #round(): Promise<void> {
    const { spool, path, sha256, witnesses } = this.#parts;
    // Both of one instant: the spool grows on while files are written.
    const { size, checkpoint } = spool;
    if (this.#wasAsked && size === this.#published && (await this.#isPublished(checkpoint))) return;
    const folders = new Set<string>();
    while (this.#builder.size < size) {
      const to = Math.min(size, this.#builder.size + CHUNK);
      for (const row of spool.reader.entries(this.#builder.size, to)) {
        // What others would be given could not be what was signed.
        const fault = entryFault(row);
        if (fault !== undefined) throw damaged(`the spool: ${fault}`);
        this.#builder.append(row.entry, leafHash(sha256, row.entry));
      }
      for (const file of this.#builder.takeFull()) await this.#writeFull(file, folders);
    }
    for (const file of this.#builder.partials()) await this.#write(file, folders);
    for (const folder of folders) await syncFolder(folder);
    const log = new LogDirectory(path);
    const read = subtreesOf(sha256, size, (tile) => log.tile(tile));
    const signed = (await witnesses?.cosign(checkpoint, read, this.#published)) ?? checkpoint;
    this.#wasAsked = true;
    await writeDurably(join(path, 'checkpoint'), signed);
    this.#published = size;
    for (const place of this.#superseded.splice(0)) await rm(place, { recursive: true, force: true });
  }

  /** Cosignatures follow the log's own signatures. */
  async #isPublished(checkpoint: Uint8Array): Promise<boolean> {
    const bytes = await new LogDirectory(this.#parts.path).checkpoint();
    if (bytes === undefined || !sameBytes(bytes.subarray(0, checkpoint.length), checkpoint)) return false;
    const { witnesses } = this.#parts;
    return witnesses === undefined ? bytes.length === checkpoint.length : !witnesses.wantsMore(bytes);
  }

  /** A full tile replaces its partial ones. */
  async #writeFull(file: LogFile, folders: Set<string>): Promise<void> {
    const there = await new LogDirectory(this.#parts.path).file(file.path);
    const offset = there === undefined ? undefined : firstDifference(there, file.bytes);
    if (offset !== undefined) {
      throw new ShellstreamError('EVIDENCE_FAILED', `${file.path}: byte ${offset} is not what the spool says`);
    }
    if (there === undefined) await this.#write(file, folders);
    this.#superseded.push(join(this.#parts.path, `${file.path}.p`));
  }

  async #write({ path, bytes }: LogFile, folders: Set<string>): Promise<void> {
    const place = join(this.#parts.path, path);
    const folder = dirname(place);
    if (!folders.has(folder)) await makeFolder(folder);
    await writeRenamed(place, bytes);
    folders.add(folder);
  }
}

/** Entries that are read from the spool at a time. */
const CHUNK = 4_096;

interface PublishedState {
  readonly size: number;
  readonly root: Uint8Array;
}

async function publishedState({ path, spool, sha256, ed25519, origin, keys }: PublisherParts): Promise<PublishedState> {
  const bytes = await new LogDirectory(path).checkpoint();
  if (bytes === undefined) return { size: 0, root: emptyRoot(sha256) };
  const checkpoint = openCheckpoint(ed25519, bytes, { origin, keys, witnesses: [] });
  if ('refused' in checkpoint) throw damaged(`${join(path, 'checkpoint')}: ${checkpoint.refused}`);
  // A spool put back from an older copy, or cut by a damaged write-ahead log: to go on would be to fork the log.
  if (checkpoint.size > spool.size) {
    throw new ShellstreamError(
      'EVIDENCE_ROLLED_BACK',
      `the spool holds ${spool.size} entries, ${checkpoint.size} are published: it lost ${checkpoint.size - spool.size}`,
    );
  }
  return checkpoint;
}

/** The builder at the start of the last bundle, whose entries are written again. */
async function unfinished(parts: PublisherParts, published: PublishedState): Promise<TileBuilder> {
  const { sha256, spool, path } = parts;
  const start = published.size - (published.size % TILE_WIDTH);
  const rows = await rowsBelow(sha256, new LogDirectory(path), start);
  const from = { size: start, entries: [], rows };
  const replayed = new TileBuilder(sha256, from);
  for (const { entry } of spool.reader.entries(start, published.size)) replayed.append(entry, leafHash(sha256, entry));
  const isSame = replayed.size === published.size && sameBytes(replayed.root(), published.root);
  if (!isSame) throw damaged(await fault(parts, start, published.size));
  return new TileBuilder(sha256, from);
}

/** Which of the two is damaged, files or spool, and where. */
async function fault(
  { sha256, ed25519, origin, keys, path }: PublisherParts,
  start: number,
  size: number,
): Promise<string> {
  const trust = { origin, keys, witnesses: [] };
  const { findings } = await verifyLog({ sha256, ed25519, source: new LogDirectory(path), trust });
  const [first] = findings;
  if (first !== undefined) return `${path}: ${describeFinding(first)}`;
  return `the spool’s entries ${start} to ${size - 1} are not those that were published`;
}

/** The hashes that each level has left over at `size`, a multiple of 256. */
async function rowsBelow(sha256: Sha256, source: LogDirectory, size: number): Promise<Uint8Array[][]> {
  const rows: Uint8Array[][] = [[]];
  for (let level = 1; level < levelsOf(size); level += 1) {
    const { full, partial } = tilesAt(level, size);
    const row: Uint8Array[] = [];
    for (let index = full * TILE_WIDTH; index < full * TILE_WIDTH + partial; index += 1) {
      const tile = { level: level - 1, index, width: TILE_WIDTH };
      const bytes = await source.tile(tile);
      if (bytes !== undefined && bytes.length !== TILE_BYTES) {
        throw damaged(`${tilePath(tile)}: ${bytes.length} bytes instead of ${TILE_BYTES}`);
      }
      // Pruned: its hash stands one level up.
      row.push(bytes === undefined ? await hashAbove(source, level, index, size) : tileRoot(sha256, splitTile(bytes)));
    }
    rows.push(row);
  }
  return rows;
}

async function hashAbove(source: LogDirectory, level: number, below: number, size: number): Promise<Uint8Array> {
  const index = Math.floor(below / TILE_WIDTH);
  const { full, partial } = tilesAt(level, size);
  const tile = { level, index, width: index < full ? TILE_WIDTH : partial };
  const hash = splitTile((await source.tile(tile)) ?? new Uint8Array(0))[below % TILE_WIDTH];
  if (hash?.length !== HASH_BYTES) {
    throw damaged(
      `${tilePath({ level: level - 1, index: below, width: TILE_WIDTH })} is missing, and so is its hash in ${tilePath(tile)}`,
    );
  }
  return hash;
}

async function removeHalfWritten(path: string): Promise<void> {
  const names = await readdir(path, { recursive: true });
  for (const name of names) if (name.endsWith(TEMPORARY_SUFFIX)) await rm(join(path, name));
}

const TILE_BYTES = TILE_WIDTH * HASH_BYTES;

function damaged(what: string): ShellstreamError {
  return new ShellstreamError('EVIDENCE_FAILED', what);
}
