/** What the filter does to real packets between namespaces, seen from outside: sockets, ping, `bpftool map dump`. */
import { readdir, rm } from 'node:fs/promises';
import { describe, expect, test } from 'vitest';
import { replacePostureMap } from '../support/bpf-maps.ts';
import { eventually } from '../support/eventually.ts';
import { connect, createNamespace, type Namespace } from '../support/namespaces.ts';
import { type Running, run, start } from '../support/processes.ts';
import { describeWith } from '../support/requirements.ts';
import { pinsOf, removeInstance, uniqueInstance, writePosture } from './flow-world.ts';

const HOST = '10.1.0.1';
const [GRANTED, UNGRANTED] = ['8080', '8081'];

describeWith(['root', 'namespaces', 'bpf', 'bpf objects', 'addon kernel'], 'enforcement by the kernel', () => {
  test('passes what is granted and drops a listening port that is not, IPv4 and IPv6', async () => {
    await using lab = await createLab();
    await reached(lab, HOST);
    await reached(lab, 'fd01::1');
    expect(await lab.pings(HOST)).toBe(true);
    expect(await lab.pings('fd01::1')).toBe(true);
    expect(await lab.reaches(HOST, UNGRANTED)).toBe(false);
    expect(await lab.reaches('fd01::1', UNGRANTED)).toBe(false);
    await lab.owner.line(new RegExp(`denied NO_FLOW ${UNGRANTED}`));
  });

  test('drops a forged source', async () => {
    await using lab = await createLab();
    await run('ip', ['-n', lab.peer.name, 'address', 'add', '10.1.0.9/24', 'dev', 'gov1']);
    expect((await lab.peer.attempt('ping', ['-c1', '-W1', '-I', '10.1.0.9', HOST])).code).not.toBe(0);
    await lab.owner.line(/denied SOURCE_NOT_PINNED/);
  });

  test('lets the host open nothing towards the peer', async () => {
    await using lab = await createLab();
    expect((await lab.host.attempt('ping', ['-c1', '-W1', '10.1.0.2'])).code).not.toBe(0);
  });

  test('stops an established connection when governance lowers the level, while the owner is stopped', async () => {
    await using lab = await createLab();
    const talk = lab.talk();
    await talk.line(/^connected/);
    talk.write('before\n');
    await talk.line(/^before/);
    lab.owner.kill('SIGSTOP');
    await writePosture(lab.pins, 2);
    talk.write('meanwhile\n');
    await until(async () => (await deniedBy(lab.pins, POSTURE)) > 0);
    expect(talk.sofar().stdout).not.toContain('meanwhile');
    await writePosture(lab.pins, 5);
    await talk.line(/^meanwhile/);
    lab.owner.kill('SIGCONT');
  });

  test('tells the owner of a level that governance wrote', async () => {
    await using lab = await createLab();
    await writePosture(lab.pins, 9);
    expect(await lab.owner.line(/^posture/)).toBe('posture 9');
  });

  test('puts a pin back that somebody removed', async () => {
    await using lab = await createLab();
    const pin = `${lab.pins}/posture_level`;
    await rm(pin);
    await until(async () => (await readdir(lab.pins)).includes('posture_level'));
    await writePosture(lab.pins, 4);
    expect(await lab.owner.line(/^posture/)).toBe('posture 4');
  });

  test('tells what another map says that somebody put in the place of the one that programs read', async () => {
    await using lab = await createLab();
    await replacePostureMap(lab.pins);
    await writePosture(lab.pins, 3);
    expect(await lab.owner.line(/^posture 3/)).toBe('posture 3 foreign');
  });

  test('stands after SIGKILL, and lets nothing pass once the lease has lapsed', async () => {
    await using lab = await createLab({ leaseMs: 6000 });
    expect(await lab.pings(HOST)).toBe(true);
    lab.owner.kill('SIGKILL');
    await lab.owner.finished;
    expect(await lab.reaches(HOST, UNGRANTED)).toBe(false);
    // A single ping may be lost for other reasons on a busy machine; the programs say which.
    await until(async () => !(await lab.pings(HOST)) && (await deniedBy(lab.pins, LEASE_EXPIRED)) > 0);
    expect(await lab.pings(HOST)).toBe(false);
  });

  test('is taken over by the next owner, who starts with empty maps and the posture as it was', async () => {
    await using lab = await createLab();
    await writePosture(lab.pins, 4);
    lab.owner.kill('SIGKILL');
    await lab.owner.finished;
    await using next = lab.own();
    await next.line(/^up/);
    expect(await slots(lab.pins)).toEqual([4, 5]);
    expect(await lab.pings(HOST)).toBe(true);
    expect(await entriesIn(lab.pins, 'flow_policy')).toBe(4);
  });

  test('has one owner: a second process is refused while the first lives', async () => {
    await using lab = await createLab();
    await using second = lab.own();
    await second.line(/is owned by a running process/);
    expect((await second.finished).code).not.toBe(0);
  });

  test('keeps no process alive', async () => {
    await using lab = await createLab({ mode: 'leave' });
    expect((await lab.owner.finished).code).toBe(0);
    expect(await lab.reaches(HOST, UNGRANTED)).toBe(false);
    await reached(lab, HOST);
  });

  describe('maps', () => {
    test('hold what was granted, and nothing else', async () => {
      await using lab = await createLab();
      expect(await entriesIn(lab.pins, 'flow_policy')).toBe(4);
      expect(await entriesIn(lab.pins, 'flow_prefixes')).toBe(0);
      expect(await entriesIn(lab.pins, 'source_slots')).toBe(2);
      expect(await entriesIn(lab.pins, 'flow_state')).toBe(0);
      await lab.pings(HOST);
      expect(await entriesIn(lab.pins, 'flow_state')).toBe(1);
    });
  });
});

interface Lab extends AsyncDisposable {
  readonly host: Namespace;
  readonly peer: Namespace;
  readonly pins: string;
  /** The process that owns the flow table; the host's side `gov0` is governed. */
  readonly owner: Running;
  own(): Running;
  /** A connection from the peer to the granted port. */
  talk(): Running;
  reaches(address: string, port: string): Promise<boolean>;
  /** Whether one of up to fifteen is answered: a busy machine may lose one, by nobody's word. */
  pings(address: string): Promise<boolean>;
}

const POSTURE = 3;
const LEASE_EXPIRED = 6;

async function createLab({ leaseMs = 600_000, mode = 'stay' } = {}): Promise<Lab> {
  await using owned = new AsyncDisposableStack();
  const host = owned.use(await createNamespace('host'));
  const peer = owned.use(await createNamespace('peer'));
  await connect(
    { in: host, name: 'gov0', addresses: ['10.1.0.1/24', 'fd01::1/64'] },
    { in: peer, name: 'gov1', addresses: ['10.1.0.2/24', 'fd01::2/64'] },
  );
  await host.startNode('test/dataplane/children/echo.ts', ['listen', GRANTED, UNGRANTED]).line(/^listening/);
  const instance = uniqueInstance();
  const pins = pinsOf(instance);
  owned.defer(() => removeInstance(instance));
  // Outside the namespace: `ip netns exec` has a /sys of its own, and pins in it would end with the process.
  const own = (): Running =>
    start(process.execPath, [
      `${import.meta.dirname}/children/flows.ts`,
      instance,
      host.path,
      'gov0',
      `${leaseMs}`,
      mode,
    ]);
  const owner = owned.use(own());
  await owner.line(/^up/);
  const resources = owned.move();
  return {
    host,
    peer,
    pins,
    owner,
    own,
    talk: () => peer.startNode('test/dataplane/children/echo.ts', ['talk', HOST, GRANTED]),
    reaches: async (address, port) => {
      const probe = `exec 3<>/dev/tcp/${address}/${port}; echo ok >&3; read -r -t 2 line <&3; [ "$line" = ok ]`;
      return (await peer.attempt('timeout', ['2', 'bash', '-c', probe])).code === 0;
    },
    pings: async (address) => (await peer.attempt('ping', ['-c1', '-i0.2', '-w3', address])).code === 0,
    [Symbol.asyncDispose]: () => resources.disposeAsync(),
  };
}

/** The port that is granted, by a probe that only waits two seconds for it. */
const reached = (lab: Lab, address: string): Promise<true> =>
  eventually(`${address} ${GRANTED}`, () => lab.reaches(address, GRANTED));

/** Asks again until it is so; the test's own time limit ends it. */
async function until(isSo: () => Promise<boolean>): Promise<void> {
  while (!(await isSo()));
}

interface Dumped {
  readonly key: readonly string[];
  readonly value?: readonly string[];
  readonly values?: readonly { readonly value: readonly string[] }[];
}

async function dump(pins: string, map: string): Promise<readonly Dumped[]> {
  const { stdout } = await run('bpftool', ['-j', 'map', 'dump', 'pinned', `${pins}/${map}`]);
  return JSON.parse(stdout) as readonly Dumped[];
}

async function entriesIn(pins: string, map: string): Promise<number> {
  return (await dump(pins, map)).length;
}

async function slots(pins: string): Promise<readonly number[]> {
  return (await dump(pins, 'posture_level')).map(({ value = [] }) => Number(value[0]));
}

/** Packets dropped for a cause, of all processors. */
async function deniedBy(pins: string, cause: number): Promise<number> {
  const entry = (await dump(pins, 'denial_stats'))[cause];
  return (entry?.values ?? []).reduce((sum, { value }) => sum + Number(value[0]) + 256 * Number(value[1]), 0);
}
