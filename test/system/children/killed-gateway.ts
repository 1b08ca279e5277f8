/**
 * A gateway on the kernel's data plane, with a neighbour in memory that it has a session with, which kills itself at a
 * record of its posture journal: to everything in the kernel and on disk that is as real as another's SIGKILL.
 *
 *     killed-gateway.ts FOLDER INSTANCE NAMESPACE
 *
 * Takes a line each on stdin: `stand LEVEL` goes there, and has a session where the level lets it; `go LEVEL RECORD`
 * changes the level and dies at that record of the change; `end` shuts down in order.
 */
import { once } from 'node:events';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { isPostureLevel, type PostureLevel } from '../../../protocol/posture/index.ts';
import { systemClock as clock } from '../../../src/base/clock.ts';
import { parseConfig } from '../../../src/base/config.ts';
import { nodeCrypto as crypto } from '../../../src/base/crypto-node.ts';
import { createLogger } from '../../../src/base/logger.ts';
import { openLinuxDataPlane } from '../../../src/dataplane/linux/index.ts';
import { createMemoryDataPlane, MemoryWire } from '../../../src/dataplane/memory/index.ts';
import { MemoryInternet } from '../../../src/link/index.ts';
import type { JournalRecord, PostureJournal } from '../../../src/posture/journal.ts';
import { openPostureStore } from '../../../src/posture/store.ts';
import { eventually } from '../../support/eventually.ts';
import { startMemoryGateway } from '../../support/memory-gateway.ts';
import { ACCORD, memoryDomains } from '../../support/memory-nodes.ts';

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

await using domains = await memoryDomains(clock);
const internet = new MemoryInternet({ clock, delayMs: () => 0 });
const log = createLogger({ level: 'warn' });
const world = async (name: 'a' | 'b', host: string, peers: readonly object[]) => ({
  config: parseConfig(
    JSON.stringify({
      apiVersion: 'shellstream/v1',
      instance: name === 'a' ? instance : name,
      site: { trustDomain: `${name}.test` },
      listen: { address: host, port: 7843 },
      wireguard: { addresses: [name === 'a' ? '10.99.0.1/24' : '10.99.0.2/24'] },
      mesh: { peers },
    }),
  ),
  accord: ACCORD,
  identity: (await domains.identity(name)).source,
  crypto,
  clock,
  log,
  random: () => 0.5,
  carrier: internet.host(host),
});

const peer = {
  name: 'b',
  spiffeId: 'spiffe://b.test/gateway',
  address: '192.0.2.2:7843',
  request: { capabilities: ['OBSERVE', 'CONNECT'], targets: [{ prefix: '10.2.0.10/32', port: 9443 }] },
};
const place = { instance, governancePage: join(folder, 'governance'), tunnels: 'embedded', namespace } as const;
await using dataplane = await openLinuxDataPlane(place);
await using gateway = await startMemoryGateway({
  ...(await world('a', '192.0.2.1', [peer])),
  dataplane,
  posture: { ...opened, journal },
});
console.log(`ready ${gateway.posture.level}`);

await using neighbour = await startMemoryGateway({
  ...(await world('b', '192.0.2.2', [])),
  dataplane: createMemoryDataPlane({ clock, wire: new MemoryWire(), host: '192.0.2.2' }),
  posture: { store: { save: async () => {} }, kept: undefined, isSameBoot: false },
});

const lines = createInterface({ input: process.stdin });
lines.on('line', (line) => void obey(line.split(' ').map(String)));
await once(lines, 'close');
process.stdin.destroy();

async function obey([verb, level, record]: readonly string[]): Promise<void> {
  if (verb === 'stand') {
    await gateway.console.set({ level: levelOf(level), reason: 'drill' });
    if (gateway.posture.level > 1) await meet();
    console.log(`stands ${gateway.posture.level}`);
  }
  if (verb === 'go') {
    journal.arm(Number(record));
    await gateway.console.set({ level: levelOf(level), reason: 'drill' });
    console.log(`went ${gateway.posture.level}`);
  }
  if (verb === 'end') lines.close();
}

async function meet(): Promise<void> {
  gateway.mesh.nudge();
  await eventually('a session', () => gateway.registry.size === 1 && neighbour.registry.size === 1);
}

function levelOf(text: string | undefined): PostureLevel {
  const level = Number(text);
  if (!isPostureLevel(level)) throw new Error(`no level: ${text}`);
  return level;
}
