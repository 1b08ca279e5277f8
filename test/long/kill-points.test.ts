/**
 * SIGKILL at every record of the posture's journal, in every kind of change, and the next run: what the kernel says then is what
 * the journal says, and nothing of the dead run is left. Each run is the victim of one kill and the recovery from the one before.
 */
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, expect, test, vi } from 'vitest';
import type { PostureLevel } from '../../protocol/posture/index.ts';
import { nodeCrypto } from '../../src/base/crypto-node.ts';
import { readJournal } from '../../src/posture/journal.ts';
import { instanceName, removeTraces } from '../lab/leftovers.ts';
import { remainsOf } from '../lab/remains.ts';
import { countEntries, dumpNumbers } from '../support/bpf-maps.ts';
import { eventually } from '../support/eventually.ts';
import { connect, createNamespace, type Namespace } from '../support/namespaces.ts';
import { attempt, type Running, start } from '../support/processes.ts';
import { describeWith } from '../support/requirements.ts';

vi.setConfig({ testTimeout: 1_200_000 });
const GATEWAY = fileURLToPath(new URL('../system/children/killed-gateway.ts', import.meta.url));
const LEVELS = [5, 4, 3, 2, 1] as const;
const CHANGES = LEVELS.flatMap((from) => LEVELS.filter((to) => to !== from).map((to) => [from, to] as const));
/** Where the page holds its sequence and its level: native/kernel/include/governance_state.h. */
const [SEQUENCE, LEVEL] = [8, 12];
/** Records of one change: an intent, its steps, a settlement. */
const FEWEST_RECORDS = 10;

describeWith(
  ['root', 'namespaces', 'bpf', 'bpf objects', 'addon kernel', 'tun', 'wg'],
  'a gateway killed at each record of its posture journal',
  () => {
    const parts = new AsyncDisposableStack();
    const hosts: Host[] = [];

    beforeAll(async () => {
      const cache = await mkdtemp(join(tmpdir(), 'shs-kill-cache-'));
      parts.defer(() => rm(cache, { recursive: true, force: true }));
      // Two, for the two processors; the first run of each fills the cache of compiled sources.
      for (const n of [1, 2]) hosts.push(parts.use(await Host.create(n, cache)));
      await Promise.all(hosts.map((host) => host.comeAndGo()));
    });
    afterAll(() => parts.disposeAsync());

    test('comes back at the level that was on its way, with nothing of the dead run', async () => {
      const left = [...CHANGES];
      const killed: Record<string, number> = {};
      const work = async (host: Host): Promise<void> => {
        for (let change = left.shift(); change !== undefined; change = left.shift()) {
          killed[change.join(' to ')] = await killAtEach(host, ...change);
        }
        await host.comeAndGo();
      };
      await Promise.all(hosts.map(work));
      expect(Object.keys(killed)).toHaveLength(CHANGES.length);
      for (const kills of Object.values(killed)) expect(kills).toBeGreaterThan(FEWEST_RECORDS);
      // Some of the kills came before the snapshot was recorded, and some after.
      const late = hosts.map((host) => host.late).reduce((sum, count) => sum + count);
      expect(late).toBeGreaterThan(0);
      const lockdowns = Object.entries(killed).filter(([change]) => change.endsWith(' to 1'));
      expect(late).toBeLessThan(lockdowns.reduce((sum, [, kills]) => sum + kills, 0));
    });
  },
);

/** How many times. */
async function killAtEach(host: Host, from: PostureLevel, to: PostureLevel): Promise<number> {
  const slots: number[] = [];
  for (let record = 0, isThrough = false; !isThrough; record += 1) {
    const { slot, ...killed } = await killAt(host, [from, to], record);
    isThrough = killed.isThrough;
    slots.push(slot);
  }
  // Which record finds which is the disk's affair: a change waits for a slow one only so long.
  for (let tries = 0; tries < SLOW_DISKS && !slots.includes(from); tries += 1)
    slots.unshift((await killAt(host, [from, to], 0)).slot);
  // Never beyond either level.
  expect([...new Set(slots)].toSorted()).toEqual([from, to].toSorted());
  expect(slots.at(-1)).toBe(to);
  return slots.length;
}

/** How often the disk may be slow just when the first record is written. */
const SLOW_DISKS = 5;

async function killAt(
  host: Host,
  [from, to]: readonly [PostureLevel, PostureLevel],
  record: number,
): Promise<{ readonly isThrough: boolean; readonly slot: number }> {
  const at = `${from} to ${to}, record ${record}`;
  await host.stand(from);
  if (record === 0) {
    // The session is known before all of it stands in the kernel.
    await eventually(`what stands at ${from}`, async () => {
      expect(await host.seen(), at).toEqual(standing(from));
      return true;
    });
  }
  const isThrough = await host.goAndDie(to, record);
  const { slot, page } = await host.levels();
  // The page is first to tighten and last to open.
  expect(page, at).toBeLessThanOrEqual(slot);
  expect(await host.intended(), at).toBe(to);
  await host.noteLockdowns();
  expect(await host.start(), at).toBe(to);
  expect(await host.seen(), at).toEqual({ ...standing(to), peers: 0, flows: 0, routes: [] });
  await host.expectSnapshots(at, to);
  return { isThrough, slot };
}

interface Snapshot {
  readonly change: string;
  readonly late: boolean;
  readonly sessions: number;
}

interface Seen {
  readonly slot: number;
  readonly page: number;
  readonly devices: number;
  readonly peers: number;
  /** Whether the kernel has flows of a session; their number is not of interest. */
  readonly flows: number;
  readonly routes: readonly string[];
}

function standing(level: PostureLevel): Seen {
  const isOpen = level > 1;
  // The neighbour's target of the class management, and its address in the tunnel, where nothing but ordinary targets is.
  const routes = ['10.2.0.10', '10.99.0.2'].slice(0, [0, 0, 1][level] ?? 2);
  return { slot: level, page: level, devices: 1, peers: isOpen ? 1 : 0, flows: isOpen ? 1 : 0, routes };
}

/** A namespace with an outer interface, and the one gateway process in it. */
class Host implements AsyncDisposable {
  readonly options: { readonly instance: string };
  readonly #namespace: Namespace;
  readonly #folder: string;
  readonly #env: Readonly<Record<string, string>>;
  readonly #parts: AsyncDisposableStack;
  /** Lockdowns that began, by their epoch. */
  readonly #begun = new Set<string>();
  /** Of the snapshots that were told last. */
  late = 0;
  #running: Running | undefined;

  private constructor(
    parts: AsyncDisposableStack,
    namespace: Namespace,
    instance: string,
    folder: string,
    cache: string,
  ) {
    this.#parts = parts;
    this.#namespace = namespace;
    this.options = { instance };
    this.#folder = folder;
    this.#env = { TMPDIR: folder, NODE_COMPILE_CACHE: cache };
  }

  static async create(number: number, cache: string): Promise<Host> {
    await using parts = new AsyncDisposableStack();
    const folder = await mkdtemp(join(tmpdir(), 'shs-kill-'));
    parts.defer(() => rm(folder, { recursive: true, force: true }));
    const instance = instanceName('h', number);
    parts.defer(() => removeTraces(instance));
    const namespace = parts.use(await createNamespace(`kill-${number}`));
    const beside = parts.use(await createNamespace(`kill-beside-${number}`));
    await connect({ in: namespace, name: 'wan', addresses: [] }, { in: beside, name: 'wan', addresses: [] });
    return new Host(parts.move(), namespace, instance, folder, cache);
  }

  get pins(): string {
    return `/sys/fs/bpf/shellstream/${this.options.instance}`;
  }

  run(command: string, ...args: readonly string[]) {
    return attempt('nsenter', [`--net=${this.#namespace.path}`, command, ...args]);
  }

  /** The level at which a new run is ready. */
  async start(): Promise<number> {
    await this.#running?.[Symbol.asyncDispose]();
    const args = [process.execPath, GATEWAY, this.#folder, this.options.instance, this.#namespace.path];
    this.#running = start('setpriv', ['--pdeathsig', 'KILL', ...args], { env: this.#env });
    return numberIn(await this.#running.line(/^ready \d$/));
  }

  async stand(level: PostureLevel): Promise<void> {
    this.#gateway.write(`stand ${level}\n`);
    await this.#gateway.line(new RegExp(`^stands ${level}$`));
  }

  /** Whether the change had no such record: then it is killed behind the last. */
  async goAndDie(level: PostureLevel, record: number): Promise<boolean> {
    this.#gateway.write(`go ${level} ${record}\n`);
    const end = this.#gateway.finished.then(({ signal }) => signal);
    const went = this.#gateway.line(/^went/).catch(() => undefined);
    const isThrough = (await Promise.race([end, went])) !== 'SIGKILL';
    this.#gateway.kill('SIGKILL');
    expect(await end).toBe('SIGKILL');
    return isThrough;
  }

  /** A run that ends in order, at the level of before, leaves nothing. */
  async comeAndGo(): Promise<void> {
    if (this.#running === undefined) await this.start();
    await this.stand(5);
    this.#gateway.write('end\n');
    expect(await this.#gateway.finished).toMatchObject({ code: 0 });
    this.#running = undefined;
    expect(await remainsOf(this)).toEqual({
      devices: [],
      controlSockets: [],
      pinnedLinks: [],
      ownRoutes: [],
      foreignRoutes: [],
    });
    await this.start();
  }

  /** What others than the gateway say of it. */
  async seen(): Promise<Seen> {
    const { devices, ownRoutes } = await remainsOf(this);
    const { stdout } = await this.run('wg', 'show', 'all', 'peers');
    const flows = await countEntries(`${this.pins}/flow_policy`);
    return {
      ...(await this.levels()),
      devices: devices.length,
      peers: stdout.split('\n').filter((line) => line.startsWith(`shs${this.options.instance}-`)).length,
      flows: Math.min(flows, 1),
      routes: ownRoutes,
    };
  }

  async levels(): Promise<{ readonly slot: number; readonly page: number }> {
    const slots = await dumpNumbers(`${this.pins}/posture_level`);
    const page = await readFile(join(this.#folder, 'governance'));
    expect(page.readUInt32LE(SEQUENCE) % 2, 'a page that is whole').toBe(0);
    return { slot: slots.get(1) ?? 0, page: page.readUInt32LE(LEVEL) };
  }

  /** Of each lockdown that ever began there is one, with the session that stood; what is checked of them finds nothing. */
  async expectSnapshots(at: string, to: PostureLevel): Promise<void> {
    await this.noteLockdowns();
    const line = await this.#gateway.line(/^snapshots /);
    const { findings, told }: { findings: string[]; told: Snapshot[] } = JSON.parse(line.slice('snapshots '.length));
    expect(findings, at).toEqual([]);
    const changes = told.map(({ change }) => change);
    // A journal that has grown has forgotten some of those that were told of.
    expect(changes, at).toEqual(expect.arrayContaining([...this.#begun]));
    expect(new Set(changes).size, at).toBe(changes.length);
    if (to === 1) expect(told.at(-1)?.sessions, at).toBe(1);
    this.late = told.filter(({ late }) => late).length;
  }

  /** Those that the journal has. */
  async noteLockdowns(): Promise<void> {
    const text = await readFile(join(this.#folder, 'posture.journal'), 'utf8');
    for (const record of readJournal(text, nodeCrypto.sha256).records) {
      const isLockdown = record.kind === 'intent' && record.to === 1 && record.from > 1;
      if (isLockdown) this.#begun.add(String(record.kept.epoch));
    }
  }

  /** The last level that the journal says the dead run was going to. */
  async intended(): Promise<number | undefined> {
    const text = await readFile(join(this.#folder, 'posture.journal'), 'utf8');
    const intent = readJournal(text, nodeCrypto.sha256).records.findLast(({ kind }) => kind === 'intent');
    return intent?.kind === 'intent' ? intent.to : undefined;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#running?.[Symbol.asyncDispose]();
    await this.#parts.disposeAsync();
  }

  get #gateway(): Running {
    if (this.#running === undefined) throw new Error('no gateway runs');
    return this.#running;
  }
}

function numberIn(line: string): number {
  return Number(line.split(' ')[1]);
}
