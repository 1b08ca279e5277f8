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
import { createInterface } from 'node:readline';
import { isPostureLevel, type PostureLevel } from '../../../protocol/posture/index.ts';
import { systemClock as clock } from '../../../src/base/clock.ts';
import { nodeCrypto as crypto } from '../../../src/base/crypto-node.ts';
import type { JournalRecord, PostureJournal } from '../../../src/posture/journal.ts';
import { openPostureStore } from '../../../src/posture/store.ts';
import { startBesideNeighbour } from './beside-neighbour.ts';

const [folder = '', instance = '', namespace = ''] = process.argv.slice(2);

/** Dies in place of writing the `at`th record from when it is armed; at 0, when that record is on disk. */
class DeadlyJournal implements PostureJournal {
  readonly #journal: PostureJournal;
  #at: number | undefined;
  #count = 0;

  constructor(journal: PostureJournal) {
    this.#journal = journal;
  }

  arm(at: number): void {
    this.#at = at;
    this.#count = 0;
  }

  async write(record: JournalRecord): Promise<void> {
    const count = this.#count++;
    if (count > 0 && count === this.#at) process.kill(process.pid, 'SIGKILL');
    await this.#journal.write(record);
    if (count === 0 && this.#at === 0) process.kill(process.pid, 'SIGKILL');
  }
}

const opened = await openPostureStore({ folder, bootId: 'one boot', sha256: crypto.sha256 }, clock.now());
if (opened.journal === undefined) throw new Error('no journal');
const journal = new DeadlyJournal(opened.journal);

const kept = { posture: { ...opened, journal } };
await using beside = await startBesideNeighbour({ folder, instance, namespace }, kept);
const { gateway } = beside;
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

function levelOf(text: string | undefined): PostureLevel {
  const level = Number(text);
  if (!isPostureLevel(level)) throw new Error(`no level: ${text}`);
  return level;
}
