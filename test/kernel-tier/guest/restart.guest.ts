/** An enforcer that dies under a session on the kernel's WireGuard: what its next run goes on with, and what it ends. */
import { readdir, rm } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { afterAll, expect, test, vi } from 'vitest';
import { writePosture } from '../../dataplane/flow-world.ts';
import { HOST, type Lab, PORTS } from '../../lab/lab.ts';
import { labSuite } from '../../lab/lab-suite.ts';
import { remainsOf } from '../../lab/remains.ts';
import type { Site } from '../../lab/site.ts';
import { eventually } from '../../support/eventually.ts';
import type { Running } from '../../support/processes.ts';

/** Each test starts three gateways and more. */
vi.setConfig({ testTimeout: 400_000 });

/** Longer than an enforcer takes to start on an emulated processor that others keep busy. */
const LEASE_S = 120;
/** For what waits until one is over; no packet of its session is looked at. */
const SHORT_LEASE_S = 10;
/** Bytes, in comparison with what handshakes and keepalives take. */
const MUCH = 60_000;
/** Whom the terminator runs as. */
const NOBODY = 65_534;

// The tests follow one another: each goes on with the gateways as the one before it left them.
labSuite('an enforcer that is killed, on the WireGuard of the kernel', { start: false }, (lab) => {
  let terminator: Running | undefined;

  afterAll(async () => {
    await terminator?.[Symbol.asyncDispose]();
    await rm(dirname(socketOf(lab().b)), { recursive: true, force: true });
  });

  /** Site-a comes, when everything at site-b is there for it. */
  const openSession = async ({ a, b }: Lab): Promise<void> => {
    await a.start();
    await eventually('a session', async () => (await b.sessions('mesh')).length === 1);
    await eventually('the granted target', () => a.greeting(HOST, PORTS.granted));
  };

  test('its tunnel, peers, handshake and a stream through them are as before; its terminator has the session, under new keys too, until it ends', async () => {
    const { a, b } = lab();
    await startEnforcer(b, LEASE_S);
    terminator = await startTerminator(b);
    await openSession(lab());
    await using stream = a.inside('nc', [HOST, String(PORTS.granted)]);
    await stream.line(/^hello/);
    stream.write(`${'x'.repeat(MUCH)}\n`);
    await stream.line(/^x+$/);
    const before = { kernel: await tunnelOf(b), session: await sessionOf(b), peer: await sessionOf(a) };
    expect(before.kernel.peers).toHaveLength(1);

    await b.kill();
    await echo(stream, 'while nobody is there');
    await startEnforcer(b, LEASE_S);
    await terminator.line(/"msg":"an enforcer is back"/);
    expect(b.log).toMatch(/"sessions":1,"ended":0,"msg":"the tunnel of a former run goes on"/);
    expect({ kernel: await tunnelOf(b), session: await sessionOf(b), peer: await sessionOf(a) }).toEqual(before);
    // A peer that was made anew would count anew.
    expect(await receivedBy(b)).toBeGreaterThan(MUCH);
    await echo(stream, 'with the next one');

    a.options.gateway.rotate();
    await terminator.line(/"msg":"session attested again"/);
    await eventually('one new key at both ends', async () => {
      const [ours, theirs] = [await keyAt(b), await keyAt(a)];
      return ours === theirs && ours !== before.kernel.peers[0]?.presharedKey;
    });
    await echo(stream, 'under the new key');

    await a.stop();
    await untilNothing(b);
  });

  test('at level 1 meanwhile it goes on with nothing: peer, routes and record are gone, and the terminator ends the session', async () => {
    const { a, b } = lab();
    await openSession(lab());
    const session = await sessionOf(b);
    await b.kill();
    await writePosture(b.pins, 1);
    await startEnforcer(b, LEASE_S);
    await untilNothing(b);
    // An enforcer that is back late finds it ended: at level 1 its connection carries nothing.
    const lost = `"session":"${session}","reason":"CONNECTION_LOST".*"msg":"session ended"`;
    await terminator?.line(new RegExp(`"ended":1,"msg":"an enforcer is back"|${lost}`));
    expect(await a.greeting(HOST, PORTS.granted)).toBeUndefined();
    await a.stop();
    await writePosture(b.pins, 5);
    await b.stop();
  });

  test('whose terminator died too: nobody comes back for the session, and after a lease it is taken away', async () => {
    const { b } = lab();
    await terminator?.[Symbol.asyncDispose]();
    await startEnforcer(b, SHORT_LEASE_S);
    terminator = await startTerminator(b);
    await openSession(lab());
    await b.kill();
    terminator.kill('SIGKILL');
    await terminator.finished;
    await startEnforcer(b, SHORT_LEASE_S);
    expect(b.log).toMatch(/"sessions":1,"ended":0,"msg":"the tunnel of a former run goes on"/);
    await b.gateway.line(/"msg":"nobody came back for a session"/);
    await untilNothing(b);
  });
});

/** As systemd's units have them: it and its terminators do not end with each other. */
function startEnforcer(b: Site, leaseSeconds: number): Promise<void> {
  return b.start({ posture: { leaseSeconds }, terminators: { socket: socketOf(b), user: NOBODY } });
}

async function startTerminator(b: Site): Promise<Running> {
  const user = ['--reuid', String(NOBODY), '--regid', String(NOBODY), '--clear-groups'];
  const which = ['--instance', b.options.instance, '--socket', socketOf(b)];
  const terminator = b.inside('setpriv', [...user, process.execPath, b.program, 'terminator', ...which]);
  await terminator.line(/"msg":"terminator started"/);
  return terminator;
}

/** Its folder is where that user gets to. */
const socketOf = (site: Site): string => `/run/${site.options.instance}-terminators/gateway.sock`;

async function sessionOf(site: Site): Promise<string | undefined> {
  const [session] = await site.sessions('mesh');
  return session?.id;
}

/** The service behind the tunnel gives back what it was told. */
async function echo(stream: Running, words: string): Promise<void> {
  stream.write(`${words}\n`);
  await stream.line(new RegExp(`^${words}$`), 60_000);
}

/** No peer, no route, no session, and no record of one. */
async function untilNothing(site: Site): Promise<void> {
  await eventually('nothing of the session is left', async () => {
    const { peers } = await tunnelOf(site);
    const { ownRoutes } = await remainsOf(site);
    const kept = await readdir(join(site.options.directory, 'run', 'standing'));
    const left = { peers, ownRoutes, kept, sessions: await site.sessions('mesh') };
    expect(left).toEqual({ peers: [], ownRoutes: [], kept: [], sessions: [] });
    return true;
  });
}

interface Tunnel {
  readonly ifindex: number;
  readonly publicKey: string;
  readonly port: string;
  readonly peers: readonly {
    readonly publicKey: string;
    readonly presharedKey: string;
    readonly endpoint: string;
    readonly allowedIps: string;
  }[];
}

/** What the kernel has, but for what goes on by itself: counters, and the time of the last handshake. */
async function tunnelOf(site: Site): Promise<Tunnel> {
  const { stdout } = await site.run('wg', 'show', site.interfaceName, 'dump');
  const [device, ...rows] = stdout
    .trim()
    .split('\n')
    .map((line) => line.split('\t'));
  const [, publicKey = '', port = ''] = device ?? [];
  const peers = rows.map(([key = '', presharedKey = '', endpoint = '', allowedIps = '']) => ({
    publicKey: key,
    presharedKey,
    endpoint,
    allowedIps,
  }));
  return { ifindex: await site.ifindex(site.interfaceName), publicKey, port, peers };
}

/** Bytes from its one peer. */
async function receivedBy(site: Site): Promise<number> {
  const { stdout } = await site.run('wg', 'show', site.interfaceName, 'transfer');
  return Number(stdout.split('\t')[1]);
}

async function keyAt(site: Site): Promise<string | undefined> {
  return (await tunnelOf(site)).peers[0]?.presharedKey;
}
