/** A gateway of several processes: what the death of each takes with it, and what it does not. */
import { afterEach, expect, test, vi } from 'vitest';
import { grantOf, listeningPort } from '../lab/answers.ts';
import { GRANTED_TARGET, HOST, type Lab, PORTS, TO_SITE_B } from '../lab/lab.ts';
import { labSuite } from '../lab/lab-suite.ts';
import { eventually } from '../support/eventually.ts';
import { patient } from '../support/patience.ts';
import type { Running } from '../support/processes.ts';
import { footprintOf, holdersOf, isAlive, originsOf, terminatorsOf } from '../support/terminators.ts';

/** Each test starts six processes and more, and waits for the death of some. */
vi.setConfig({ testTimeout: 180_000, hookTimeout: 120_000 });

const TWO = { terminators: { count: 2 } };

labSuite('a gateway with two terminators', { start: false }, (lab) => {
  const visitors: Visitor[] = [];
  const stopped: number[] = [];
  let people = 0;

  afterEach(async () => {
    // One that a test stopped, and whose enforcer is dead, would stay for ever.
    for (const pid of stopped.splice(0)) if (await isAlive(pid)) process.kill(pid, 'SIGKILL');
    for (const visitor of visitors.splice(0)) await visitor.process[Symbol.asyncDispose]();
    await lab().a.stop();
    await lab().b.stop();
  });

  /** Somebody of site-a with a stream to a service behind site-b. */
  const visit = async (): Promise<Visitor> => {
    const { a, b } = lab();
    const person = await a.person({ path: `/visitors/${people++}`, tier: 'journeyman' });
    const process = a.startConnect(person, ...TO_SITE_B, ...GRANTED_TARGET, '--json');
    const { session } = grantOf(await process.line(/"grant"/));
    const port = listeningPort(await process.line(/"listening"/));
    const [origin = ''] = await originsOf(a, [process.pid]);
    const terminator = (await holdersOf(b)).get(origin) ?? 0;
    const visitor = { process, session, port, terminator };
    visitors.push(visitor);
    return visitor;
  };
  /** Visitors until each of these processes has one, and `least` of them in all. */
  const visitUntil = async (terminators: readonly number[], least = 0): Promise<void> => {
    const isEnough = (): boolean =>
      visitors.length >= least && terminators.every((pid) => visitors.some(({ terminator }) => terminator === pid));
    for (let tries = 0; !isEnough(); tries++) {
      if (tries > 24) throw new Error(`no visitor for one of ${terminators.join(', ')}`);
      await visit();
    }
  };
  const isServed = ({ port }: Visitor): Promise<boolean> =>
    eventually('its service', async () => (await lab().a.greeting('127.0.0.1', port)) === `hello ${PORTS.granted}`);
  /** The enforcer says that a terminator is gone, and then takes away what it held. */
  const areGone = (dead: readonly Visitor[]): Promise<unknown> =>
    eventually('the end of what it held', async () => {
      const left = (await lab().b.sessions()).map(({ id }) => id);
      return dead.every(({ session }) => !left.includes(session));
    });

  test('SIGKILL of one terminator ends its sessions and no others; packets of the rest go on, and another comes', async () => {
    const { a, b } = lab();
    await startTwo(lab());
    const before = await terminatorsOf(b);
    expect(before).toHaveLength(2);
    await visitUntil(before);
    const mesh = await meshHolder(lab());
    const victim = before.find((pid) => pid !== mesh) ?? 0;
    const [dead, alive] = [ofTerminator(visitors, victim), ofTerminator(visitors, mesh)];
    // What comes before the tunnel's first handshake is not always kept.
    await eventually('the tunnel', () => a.greeting(HOST, PORTS.granted));
    await using ping = a.inside('ping', ['-i', '0.05', HOST]);
    await ping.line(/icmp_seq=1 /);

    process.kill(victim, 'SIGKILL');
    for (const visitor of dead) expect((await visitor.process.finished).code).toBe(1);
    await b.gateway.line(/"msg":"a terminator is gone"/);
    for (const visitor of alive) expect(await isServed(visitor)).toBe(true);
    await areGone(dead);
    const left = (await b.sessions()).map(({ id }) => id);
    expect(left).toEqual(expect.arrayContaining(alive.map(({ session }) => session)));

    const now = await eventually('another terminator', async () => {
      const pids = await terminatorsOf(b);
      return pids.length === 2 && pids.includes(mesh) && !pids.includes(victim) && pids;
    });
    await visitUntil(now);
    for (const visitor of ofTerminator(visitors, now.find((pid) => pid !== mesh) ?? 0)) {
      expect(await isServed(visitor)).toBe(true);
    }
    ping.kill('SIGINT');
    // Whatever was asked last may not have been answered when it ended.
    const { stdout } = await ping.finished;
    const answered = [...stdout.matchAll(/icmp_seq=(\d+) /g)].map(([, sequence]) => Number(sequence));
    expect(answered).toEqual(answered.map((_, index) => index + 1));
    expect((await b.sessions('mesh')).length).toBe(1);
  });

  test('SIGKILL of the terminator that holds the mesh: its peer comes again, and the visitors of the other stay', async () => {
    const { a, b } = lab();
    await startTwo(lab());
    await visitUntil(await terminatorsOf(b));
    const [before] = await b.sessions('mesh');
    const victim = await meshHolder(lab());
    const alive = visitors.filter(({ terminator }) => terminator !== victim);
    await eventually('the tunnel', () => a.greeting(HOST, PORTS.granted));

    process.kill(victim, 'SIGKILL');
    await eventually('another mesh session', async () => {
      const [now] = await b.sessions('mesh');
      return now !== undefined && now.id !== before?.id;
    });
    expect(await eventually('the tunnel again', () => a.greeting(HOST, PORTS.granted))).toBe(`hello ${PORTS.granted}`);
    expect(alive.length).toBeGreaterThan(0);
    for (const visitor of alive) expect(await isServed(visitor)).toBe(true);
  });

  test('one that stops answering is replaced, and what it held goes with it', async () => {
    const { b } = lab();
    await startTwo(lab());
    const [victim = 0, other = 0] = await terminatorsOf(b);
    await visitUntil([victim, other]);
    const [dead, alive] = [ofTerminator(visitors, victim), ofTerminator(visitors, other)];
    process.kill(victim, 'SIGSTOP');
    stopped.push(victim);
    await b.gateway.line(/"msg":"a terminator is gone"/, patient(20_000));
    await eventually('its death', async () => !(await isAlive(victim)));
    await areGone(dead);
    for (const visitor of alive) expect(await isServed(visitor)).toBe(true);
  });

  test('terminators that die again and again cost the enforcer neither descriptors, nor processes, nor memory', async () => {
    const { b } = lab();
    await startTwo(lab());
    const { pid } = b.gateway;
    const replaceOne = async (): Promise<void> => {
      const pids = await terminatorsOf(b);
      await visit();
      process.kill(pids[0] ?? 0, 'SIGKILL');
      await eventually('another terminator', async () => {
        const now = await terminatorsOf(b);
        return now.length === 2 && !now.includes(pids[0] ?? 0);
      });
    };
    await replaceOne();
    const before = await settledFootprint(pid);
    for (let round = 0; round < 4; round++) await replaceOne();
    const after = await eventually('as few descriptors as before', async () => {
      const now = await footprintOf(pid);
      return now.descriptors <= before.descriptors && now.zombies === 0 && now;
    });
    expect(after.rssKb).toBeLessThan(before.rssKb + 40_000);
  });

  test('SIGKILL of the enforcer takes its terminators with it, also one that does not run just then', async () => {
    const { b } = lab();
    await startTwo(lab());
    const terminators = await terminatorsOf(b);
    await visitUntil(terminators);
    const [idle = 0] = terminators;
    process.kill(idle, 'SIGSTOP');
    stopped.push(idle);
    process.kill(b.gateway.pid, 'SIGKILL');
    for (const pid of terminators) await eventually(`the end of ${pid}`, async () => !(await isAlive(pid)));
    for (const { process } of visitors) expect((await process.finished).code).toBe(1);
    expect(await terminatorsOf(b)).toEqual([]);
  });
});

interface Visitor {
  readonly process: Running;
  readonly session: string;
  /** Of its forward, in site-a. */
  readonly port: number;
  /** The process at site-b that holds its connection. */
  readonly terminator: number;
}

async function startTwo({ a, b }: Lab): Promise<void> {
  await Promise.all([b.start(TWO), a.start(TWO)]);
  await Promise.all([a, b].map((site) => site.gateway.line(/"msg":"session opened"/)));
}

/** The process at site-b that holds the session with site-a's gateway. */
async function meshHolder({ a, b }: Lab): Promise<number> {
  return await eventually('who holds the mesh', async () => {
    const [origin = ''] = await originsOf(a, await terminatorsOf(a));
    return (await holdersOf(b)).get(origin);
  });
}

function ofTerminator(visitors: readonly Visitor[], pid: number): readonly Visitor[] {
  return visitors.filter(({ terminator }) => terminator === pid);
}

/** When it is no longer about to open or close anything. */
async function settledFootprint(pid: number) {
  let last = await footprintOf(pid);
  return await eventually('a footprint that stands still', async () => {
    const former = last;
    last = await footprintOf(pid);
    return former.descriptors === last.descriptors && last;
  });
}
