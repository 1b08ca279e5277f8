/**
 * A gateway on the kernel's data plane, with a neighbour in memory that it has a session with, which kills itself at a
 * record of its posture journal.
 *
 *     killed-gateway.ts FOLDER INSTANCE NAMESPACE
 *
 * Takes a line each on stdin: `stand LEVEL` goes there, and has a session where the level lets it; `go LEVEL RECORD`
 * changes the level and dies at that record of the change; `end` shuts down in order.
 */
import { once } from 'node:events';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import {
  checkRecords,
  describeFinding,
  type Opening,
  parseArtifact,
  parseEntry,
} from '../../../protocol/evidence/index.ts';
import { isPostureLevel, type PostureLevel } from '../../../protocol/posture/index.ts';
import { systemClock as clock } from '../../../src/base/clock.ts';
import { nodeCrypto as crypto } from '../../../src/base/crypto-node.ts';
import type { JournalRecord, PostureJournal } from '../../../src/posture/journal.ts';
import { openPostureStore } from '../../../src/posture/store.ts';
import { startBesideNeighbour } from './beside-neighbour.ts';

/** More than all runs of a test record. */
const MOST_ENTRIES = 100_000;
const [folder = '', instance = '', namespace = ''] = process.argv.slice(2);

/** Dies in place of writing the `at`th record from when it is armed; at 0, when that record is on disk. */
class DeadlyJournal implements PostureJournal {
  readonly #journal: PostureJournal;
  #at: number | undefined;
  #count = 0;
  /** Of the records before: a change does not wait for a slow disk, but those are what the test says is on it. */
  #earlier: Promise<unknown> = Promise.resolve();

  constructor(journal: PostureJournal) {
    this.#journal = journal;
  }

  arm(at: number): void {
    this.#at = at;
    this.#count = 0;
  }

  async write(record: JournalRecord): Promise<void> {
    const count = this.#count++;
    if (count > 0 && count === this.#at) {
      await this.#earlier;
      process.kill(process.pid, 'SIGKILL');
    }
    const written = this.#journal.write(record);
    this.#earlier = Promise.allSettled([this.#earlier, written]);
    await written;
    if (count === 0 && this.#at === 0) process.kill(process.pid, 'SIGKILL');
  }
}

const opened = await openPostureStore({ folder, bootId: 'one boot', sha256: crypto.sha256 }, clock.now());
if (opened.journal === undefined) throw new Error('no journal');
const journal = new DeadlyJournal(opened.journal);

const directory = join(folder, 'evidence');
const evidence = {
  directory,
  origin: 'a.test/killed',
  keys: [join(directory, 'log.key')],
  budgetBytes: 64 << 20,
  retentionDays: 90,
};
const kept = { posture: { ...opened, journal }, evidence };
await using beside = await startBesideNeighbour({ folder, instance, namespace }, kept);
const { gateway } = beside;
const shown = gateway.evidence?.store.reader?.entries(0, MOST_ENTRIES) ?? [];
const records = shown.flatMap(({ index, opening }) => (opening === undefined ? [] : [[index, opening] as const]));
const entries = new Map(shown.map(({ index, entry }) => [index, parseEntry(entry)]));
const findings = checkRecords({ sha256: crypto.sha256, entries, records: new Map(records) }).map(describeFinding);
console.log(`snapshots ${JSON.stringify({ findings, told: records.flatMap(([, opening]) => snapshotIn(opening)) })}`);
console.log(`ready ${gateway.posture.level}`);

const lines = createInterface({ input: process.stdin });
lines.on('line', (line) => void obey(line.split(' ').map(String)));
await once(lines, 'close');
process.stdin.destroy();

async function obey([verb, level, record]: readonly string[]): Promise<void> {
  if (verb === 'stand') {
    await gateway.console.set({ level: levelOf(level), reason: 'drill' });
    if (gateway.posture.level > 1) await beside.meet();
    console.log(`stands ${gateway.posture.level}`);
  }
  if (verb === 'go') {
    journal.arm(Number(record));
    await gateway.console.set({ level: levelOf(level), reason: 'drill' });
    console.log(`went ${gateway.posture.level}`);
  }
  if (verb === 'end') lines.close();
}

/** Epoch of its change, and what it is. */
function snapshotIn({ record }: Opening) {
  const { body } = parseArtifact(record);
  if (body.case !== 'forensicSnapshot') return [];
  const { changeEpoch, late, sessions } = body.value;
  return [{ change: String(changeEpoch), late, sessions }];
}

function levelOf(text: string | undefined): PostureLevel {
  const level = Number(text);
  if (!isPostureLevel(level)) throw new Error(`no level: ${text}`);
  return level;
}
