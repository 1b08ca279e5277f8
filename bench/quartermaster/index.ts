/**
 * What Quartermaster answers and takes: first pages over many artifacts, bytes of each on disk, submissions made durable.
 * SHELLSTREAM_BENCH_ARTIFACTS says how many; a million unless told. The requirement is for ten.
 */
import { mkdtempSync, rmSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { fileURLToPath } from 'node:url';
import { ARTIFACT_KINDS, type Wanted } from '../../protocol/quartermaster/index.ts';
import { spiffeId, submission, transitEntry } from '../../src/quartermaster/fixtures.ts';
import { Store } from '../../src/quartermaster/store.ts';
import type { RecordSource } from '../../src/quartermaster/store-reader.ts';
import type { Bench, Contender, Figure } from '../harness.ts';

const ARTIFACTS = Number(process.env.SHELLSTREAM_BENCH_ARTIFACTS ?? 1_000_000);
const SUBMITTED = 20_480;
const INDEXED = 102_400;
const BATCH = 512;
const BEGAN_MS = 1_800_000_000_000;
const LEVELS = [3, 5, 4, 3, 2, 5, 5, 4];
const PAGE = 100;

export async function openQuartermaster(): Promise<Bench> {
  const path = mkdtempSync(fileURLToPath(new URL('../../.cache/quartermaster-', import.meta.url)));
  const filled = join(path, 'filled.db');
  fill(filled);
  const identity = spiffeId('spiffe://beta.example/shell/operator');
  const figure = (name: string, unit: string, contender: string, sample: () => number): Figure => {
    return { bench: name, unit, ours: of(contender, sample), peers: [] };
  };
  return {
    figures: [
      figure('quartermaster-submit', 'artifacts/s', 'batches of 512, durable', () => submitted(join(path, 'new.db'))),
      figure('quartermaster-growth', 'bytes/artifact', 'disk', () => statSync(filled).size / ARTIFACTS),
      figure('quartermaster-index', 'bytes/artifact', 'disk', () => indexBytes(join(path, 'index.db'))),
      figure('quartermaster-session', 'ms', 'one session', () =>
        firstPage(filled, { session: `${'0'.repeat(29)}100` }),
      ),
      figure('quartermaster-identity', 'ms', 'everybody’s identity', () => firstPage(filled, { identity })),
      figure('quartermaster-newest', 'ms', 'newest at level 3', () => firstPage(filled, { level: 3 }, true)),
      figure('quartermaster', 'ms', 'level 3', () => firstPage(filled, { level: 3 })),
    ],
    [Symbol.asyncDispose]: async () => rmSync(path, { recursive: true }),
  };
}

/** Real submissions first, then they are doubled until there are enough: each row with its own number, time and session. */
function fill(path: string): void {
  {
    using store = open(path);
    submit(store, Math.min(8 * BATCH, ARTIFACTS));
  }
  using database = new DatabaseSync(path);
  database.exec('PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF; PRAGMA cache_size = -524288');
  const double = database.prepare(`
    INSERT INTO artifact SELECT number + :held, log, seq + :held, kind, at_ms + :held, level,
      seq + :held, actor, peer, salt, content FROM artifact WHERE number <= :wanted - :held`);
  for (let held = 8 * BATCH; held < ARTIFACTS; held *= 2) double.run({ held, wanted: ARTIFACTS });
  const { count } = database.prepare('SELECT count(*) AS count FROM artifact').get() ?? {};
  if (count !== ARTIFACTS) throw new Error(`${count} artifacts instead of ${ARTIFACTS}`);
}

function submitted(path: string): number {
  rmSync(path, { force: true });
  rmSync(`${path}-wal`, { force: true });
  using store = open(path);
  const began = performance.now();
  submit(store, SUBMITTED);
  return SUBMITTED / ((performance.now() - began) / 1_000);
}

/** Within a gateway: the records are the spool's. What its evidence takes in all is this and `evidence-growth`. */
function indexBytes(path: string): number {
  rmSync(path, { force: true });
  {
    using store = open(path, { opening: () => undefined });
    submit(store, INDEXED);
  }
  return statSync(path).size / INDEXED;
}

function submit(store: Store, count: number): void {
  for (let first = 0; first < count; first += BATCH) {
    const entries = Array.from({ length: BATCH }, (_, i) =>
      transitEntry(first + i, LEVELS[(first + i) % LEVELS.length], BEGAN_MS + first + i),
    );
    store.transact(() => store.put(submission(first, entries), BEGAN_MS));
  }
}

/** As the first question after a start: nothing is in SQLite's own cache. */
function firstPage(path: string, some: Partial<Wanted>, newestFirst = false): number {
  using store = open(path);
  const wanted = {
    ...{ level: undefined, identity: undefined, session: undefined, origin: undefined },
    ...{ fromMs: 0, toMs: Number.MAX_SAFE_INTEGER, kinds: new Set(ARTIFACT_KINDS.keys()) },
    ...some,
  };
  const began = performance.now();
  const { found } = store.reader.query({ wanted, newestFirst, limit: PAGE, after: undefined });
  const took = performance.now() - began;
  if (found.length !== (some.session === undefined ? PAGE : 1)) throw new Error(`${found.length} found`);
  return took;
}

function open(path: string, records?: RecordSource): Store {
  const elsewhere = records === undefined ? {} : { records };
  return Store.open({ path, budgetBytes: 2 ** 40, durability: 'own', ...elsewhere });
}

function of(name: string, sample: () => number): Contender {
  const subject = { sample: async () => sample(), [Symbol.asyncDispose]: () => Promise.resolve() };
  return { name, start: () => Promise.resolve(subject) };
}
