/**
 * SIGKILL at each step of a session's way through spool, kernel, tile and checkpoint, in a gateway with a kernel beneath it,
 * and the next run: what was promised is there, what stood in the kernel was announced, what was announced is accounted for
 * once, and what outsiders hold is the beginning of what they get. Each run recovers from the kill before and is the next victim.
 */
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, expect, test, vi } from 'vitest';
import { describeFinding, parseVerifierKey, verifyLog } from '../../protocol/evidence/index.ts';
import { Phase } from '../../protocol/gen/shellstream/evidence/v1/evidence_pb.ts';
import type { PostureLevel } from '../../protocol/posture/index.ts';
import { nodeCrypto } from '../../src/base/crypto-node.ts';
import { LogDirectory, nodeEd25519 } from '../../src/evidence/index.ts';
import { instanceName, removeTraces } from '../lab/leftovers.ts';
import { countEntries } from '../support/bpf-maps.ts';
import { connect, createNamespace, type Namespace } from '../support/namespaces.ts';
import { attempt, type Running, start } from '../support/processes.ts';
import { describeWith } from '../support/requirements.ts';
import { artifactsIn } from '../support/spool-records.ts';

vi.setConfig({ testTimeout: 1_200_000 });
const GATEWAY = fileURLToPath(new URL('../system/children/killed-recorder.ts', import.meta.url));
const ORIGIN = 'a.test/killed';

describeWith(
  ['root', 'namespaces', 'bpf', 'bpf objects', 'addon kernel', 'tun', 'wg'],
  'a gateway killed at each step of a session’s evidence',
  () => {
    const parts = new AsyncDisposableStack();
    /** The first anchors each record by itself, the second commits and publishes in groups and leaves some out. */
    const hosts: Host[] = [];

    beforeAll(async () => {
      const cache = await mkdtemp(join(tmpdir(), 'shs-kill-cache-'));
      parts.defer(() => rm(cache, { recursive: true, force: true }));
      for (const level of [2, 5] as const) hosts.push(parts.use(await Host.create(level, cache)));
    });
    afterAll(() => parts.disposeAsync());

    test('nothing promised is lost, nothing stands unannounced, each session is accounted for once, the log verifies', async () => {
      const killed = await Promise.all(hosts.map(killAtEach));
      expect(killed[0]).toEqual(expect.arrayContaining(['commit before', 'tile rm after', 'checkpoint rename before']));
      expect(killed[1]).toEqual(
        expect.arrayContaining(['commit after', 'kernel install after', 'kernel addPeer after']),
      );
      for (const points of killed) expect(points.length, points.join()).toBeGreaterThan(FEWEST_POINTS);
    });
  },
);

const FEWEST_POINTS = 5;

/** The steps at which it was killed. */
async function killAtEach(host: Host): Promise<readonly string[]> {
  await host.start();
  await host.stand();
  const points = pointsOf(await host.go(), host.level);
  const killed: string[] = [];
  for (const [name, count] of points) {
    const dead = await host.goAndDie(name, count);
    // What commits in groups does not always take as many.
    if (dead === undefined) continue;
    killed.push(name);
    const next = await host.start();
    expect(next.problem, `${name}, the ${count}. time`).toBeUndefined();
    await host.expectKept(`${name}, the ${count}. time`, dead, next);
  }
  if (host.level < 3) await host.dieAtStart();
  await host.end();
  expect(new Set(killed)).toEqual(new Set(points.map(([name]) => name)));
  return killed;
}

/**
 * Where it is killed, out of the steps that a session takes: before what makes something durable, and after everything.
 * The kernel is the second host's, files are the first one's.
 */
function pointsOf(steps: readonly string[], level: PostureLevel): readonly (readonly [string, number])[] {
  const points = new Map<string, readonly (readonly [string, number])[]>();
  for (const name of steps) {
    const isCommit = name.startsWith('commit');
    const isHere = isCommit || name.startsWith('kernel') === level > 2;
    if (!isHere || !(name.endsWith('after') || name.endsWith('before'))) continue;
    // Of transactions there are several, from the intent's to the outcome's.
    const count = isCommit ? steps.filter((step) => step === name).length : 1;
    const times = Array.from({ length: count }, (_, i) => i + 1);
    points.set(
      name,
      times.map((time) => [name, time]),
    );
  }
  return [...points.values()].flat();
}

/** What a run says of itself when it is ready. */
interface Ready {
  readonly problem?: string;
  readonly verifierKey: string;
  readonly entries: number;
  readonly leftOut: number;
  readonly openIntents: number;
  readonly compensated: number;
}

/** What there is of a run after its death. */
interface Dead {
  /** How much of each was durable, as it said. */
  readonly promised: { readonly log: number; readonly leftOut: number };
  /** Of the session in the kernel. */
  readonly stands: boolean;
}

/** A namespace with an outer interface, and the one gateway process in it. */
class Host implements AsyncDisposable {
  readonly #instance: string;
  readonly level: PostureLevel;
  readonly #namespace: Namespace;
  readonly #folder: string;
  readonly #env: Readonly<Record<string, string>>;
  readonly #parts: AsyncDisposableStack;
  readonly #held: Uint8Array[] = [];
  #verifierKey = '';
  #running: Running | undefined;

  private constructor(
    place: { level: PostureLevel; namespace: Namespace; instance: string; folder: string; cache: string },
    parts: AsyncDisposableStack,
  ) {
    this.#instance = place.instance;
    this.level = place.level;
    this.#namespace = place.namespace;
    this.#folder = place.folder;
    this.#env = { TMPDIR: place.folder, NODE_COMPILE_CACHE: place.cache };
    this.#parts = parts;
  }

  static async create(level: PostureLevel, cache: string): Promise<Host> {
    await using parts = new AsyncDisposableStack();
    const folder = await mkdtemp(join(tmpdir(), 'shs-kill-'));
    parts.defer(() => rm(folder, { recursive: true, force: true }));
    const instance = instanceName('h', level);
    parts.defer(() => removeTraces(instance));
    const namespace = parts.use(await createNamespace(`evidence-${level}`));
    const beside = parts.use(await createNamespace(`evidence-beside-${level}`));
    await connect({ in: namespace, name: 'wan', addresses: [] }, { in: beside, name: 'wan', addresses: [] });
    return new Host({ level, namespace, instance, folder, cache }, parts.move());
  }

  #run(command: string, ...args: readonly string[]) {
    return attempt('nsenter', [`--net=${this.#namespace.path}`, command, ...args]);
  }

  async start(): Promise<Ready> {
    await this.#launch();
    const ready: Ready = JSON.parse((await this.#gateway.line(/^ready /)).slice('ready '.length));
    this.#verifierKey = ready.verifierKey;
    return ready;
  }

  async stand(): Promise<void> {
    this.#gateway.write(`level ${this.level}\n`);
    await this.#gateway.line(/^stands/);
  }

  /** A session's whole way; the steps that it took. */
  async go(): Promise<readonly string[]> {
    this.#gateway.write('go\n');
    return JSON.parse((await this.#gateway.line(/^went /)).slice('went '.length));
  }

  /** Undefined: it took that step less often, and lives. */
  async goAndDie(step: string, count: number): Promise<Dead | undefined> {
    const place = `${step.replaceAll(' ', '-')} ${count}`;
    this.#gateway.write(`go ${place}\n`);
    return await this.#dead(new RegExp(`^survived ${place}$`));
  }

  /** In the midst of a session, and then where the next run tells what became of it: the one after does that, and only once. */
  async dieAtStart(): Promise<void> {
    for (const step of ['commit before', 'commit after'] as const) {
      expect(await this.goAndDie('kernel activate after', 1)).toBeDefined();
      await this.#launch(step.replaceAll(' ', '-'), '1');
      const dead = await this.#dead(/^ready /);
      if (dead === undefined) throw new Error(`no ${step} at the start`);
      expect(dead.stands, 'it is taken away before it is told').toBe(false);
      const next = await this.start();
      expect(next.compensated).toBe(step === 'commit before' ? 1 : 0);
      await this.expectKept(step, dead, next);
    }
  }

  async expectKept(what: string, { promised, stands }: Dead, next: Ready): Promise<void> {
    expect(next, what).toMatchObject({ openIntents: 0 });
    expect(next.entries, what).toBeGreaterThanOrEqual(promised.log);
    expect(next.leftOut, what).toBeGreaterThanOrEqual(promised.leftOut);
    // What the kernel had was announced, so it is told of.
    if (stands) expect(next.compensated, what).toBe(1);
    expect(await this.#stands(), what).toBe(false);
    if (this.level < 3) await this.#expectWhole(what);
  }

  /** In order, and everything that it ever recorded. */
  async end(): Promise<void> {
    await this.go();
    this.#gateway.write('end\n');
    expect(await this.#gateway.finished).toMatchObject({ code: 0 });
    await this.#expectWhole('the end');
    const sessions = this.#sessions();
    expect(sessions.size).toBeGreaterThan(FEWEST_POINTS);
    const ends = [...sessions.values()].map(({ ends: told }) => told);
    expect(sessions.values().every(({ intents, ends: told }) => intents === 1 && told.length === 1)).toBe(true);
    expect(new Set(ends.flat())).toEqual(new Set([Phase.OUTCOME, Phase.COMPENSATION]));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#running?.[Symbol.asyncDispose]();
    await this.#parts.disposeAsync();
  }

  async #launch(...deadly: readonly string[]): Promise<void> {
    await this.#running?.[Symbol.asyncDispose]();
    const place = [this.#folder, this.#instance, this.#namespace.path];
    const args = ['--pdeathsig', 'KILL', process.execPath, GATEWAY, ...place, ...deadly];
    this.#running = start('setpriv', args, { env: this.#env });
  }

  /** @param unless what it says when it lives */
  async #dead(unless: RegExp): Promise<Dead | undefined> {
    const lives = await this.#gateway.line(unless).then(
      () => true,
      () => false,
    );
    if (lives) return undefined;
    const { signal, stdout, stderr } = await this.#gateway.finished;
    expect(signal, `${stdout}${stderr}`).toBe('SIGKILL');
    const checkpoint = await readFile(join(this.#folder, 'evidence', 'log', 'checkpoint')).catch(() => undefined);
    if (checkpoint !== undefined) this.#held.push(checkpoint);
    const after = (lane: string): number =>
      Math.max(
        0,
        ...[...stdout.matchAll(new RegExp(`^durable ${lane} (\\d+)$`, 'gm'))].map(([, at]) => Number(at) + 1),
      );
    return { promised: { log: after('log'), leftOut: after('left-out') }, stands: await this.#stands() };
  }

  /** As others than the gateway say. */
  async #stands(): Promise<boolean> {
    const [peers, routes] = await Promise.all([
      this.#run('wg', 'show', 'all', 'peers'),
      this.#run('ip', 'route', 'show', 'proto', '83'),
    ]);
    const hasPeer = peers.stdout.split('\n').some((line) => line.startsWith(`shs${this.#instance}-`));
    const flows = await countEntries(`/sys/fs/bpf/shellstream/${this.#instance}/flow_policy`);
    return hasPeer || routes.stdout !== '' || flows > 0;
  }

  /** The log as an outsider checks it who kept every checkpoint that he saw. */
  async #expectWhole(what: string): Promise<void> {
    const { sha256 } = nodeCrypto;
    const trust = { origin: ORIGIN, keys: [parseVerifierKey(sha256, this.#verifierKey)], witnesses: [] };
    const source = new LogDirectory(join(this.#folder, 'evidence', 'log'));
    const { findings } = await verifyLog({ sha256, ed25519: nodeEd25519, source, trust, held: this.#held });
    expect(findings.map(describeFinding), what).toEqual([]);
  }

  /** Of the spool that nobody has open any more. */
  #sessions(): Map<string, { intents: number; ends: Phase[] }> {
    const sessions = new Map<string, { intents: number; ends: Phase[] }>();
    for (const { body } of artifactsIn(join(this.#folder, 'evidence', 'spool', 'evidence.db'))) {
      if (body.case !== 'sessionTransit') continue;
      const id = Buffer.from(body.value.sessionId).toString('hex');
      const session = sessions.get(id) ?? { intents: 0, ends: [] };
      sessions.set(id, session);
      if (body.value.phase === Phase.INTENT) session.intents += 1;
      else session.ends.push(body.value.phase);
    }
    return sessions;
  }

  get #gateway(): Running {
    if (this.#running === undefined) throw new Error('no gateway runs');
    return this.#running;
  }
}
