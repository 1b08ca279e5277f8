/** The command against a real control socket; where signals and exit codes count, as a process of its own. */
import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { systemClock } from '../base/clock.ts';
import { silentLogger } from '../base/logger.ts';
import { FACTS, session, temporaryFolder } from '../control/fixtures.ts';
import { MemoryGateway } from '../control/memory-view.ts';
import type { Actor } from '../control/ports.ts';
import { startControl } from '../control/server.ts';
import { FakeWorld } from './fixtures.ts';

const PROGRAM = fileURLToPath(new URL('../roots/shellstream.ts', import.meta.url));
const LATER = 4_000_000_000_000;

let world: AsyncDisposableStack;
let socket: string;
let view: MemoryGateway;
let caller: Actor;
let gateway: AsyncDisposable;

beforeEach(async () => {
  world = new AsyncDisposableStack();
  socket = join(world.use(await temporaryFolder()).path, 'test', 'control.sock');
  view = new MemoryGateway(systemClock, {
    ...FACTS,
    identity: { ...FACTS.identity, svidExpiresAtMs: LATER },
  });
  caller = { uid: 0, gid: 0, pid: 1 };
  gateway = world.use(
    await startControl({
      path: socket,
      access: { siteOwners: new Set([0]) },
      view,
      clock: systemClock,
      log: silentLogger,
      credentialsOf: () => caller,
    }),
  );
});

afterEach(() => world.disposeAsync());

describe('status', () => {
  it('tells people what the gateway is and lacks', async () => {
    view.state('map', 4, 'watch');
    view.peerList = [
      {
        name: 'beta',
        spiffeId: 'spiffe://beta.test/gateway',
        address: 'b.test:7843',
        state: 'connected',
        session: 's-1',
      },
      {
        name: 'gamma',
        spiffeId: 'spiffe://gamma.test/gateway',
        state: 'expected',
        lastFailure: { reason: 'PEER_HELD', atMs: 0, detail: 'evil\u001b[2J' },
      },
    ];
    const ran = await shellstream('status');
    expect(ran).toMatchObject({ code: 0, err: '' });
    expect(ran.out).toMatch(/^instance {2,}test, version 0\.1\.0, up /m);
    expect(ran.out).toMatch(/^identity {2,}spiffe:\/\/alpha\.test\/gateway, expires in /m);
    expect(ran.out).toMatch(/^tunnel {2,}embedded \(the kernel has no wireguard\), shstest0 on UDP 51840$/m);
    expect(ran.out).toMatch(/^quartermaster {2,}remote, waiting, acknowledged below 12, nothing behind$/m);
    expect(ran.out).toMatch(/^translated +192\.168\.77\.0\/24 is 10\.1\.77\.0\/24 to peers$/m);
    expect(ran.out).toMatch(/^forwards +beta to gamma, gamma to beta \(not both connected\)$/m);
    expect(ran.out).toMatch(/^posture level 4 for .* \(epoch 1\)\n {3}SOURCE +LEVEL .*\n\* {2}map +4 /m);
    expect(ran.out).toMatch(/^beta +connected +b\.test:7843 +s-1$/m);
    expect(ran.out).toMatch(/^gamma +expected +dials us +PEER_HELD, .* ago: evil\\u\{1b\}\[2J$/m);
    expect(ran.out).toMatch(/^PROBLEMS\nthe trust bundle of beta\.test is stale: /m);
    expect(ran.out).not.toContain('\u001b');
  });

  it('tells since when Quartermaster is not reached, and how much waits', async () => {
    const away = {
      state: 'connecting',
      behind: 5,
      behindBytes: 1_700,
      problem: 'nobody listens',
      forgotten: 1,
    } as const;
    const quartermaster = FACTS.evidence.quartermaster && {
      ...FACTS.evidence.quartermaster,
      ...away,
      awaySinceMs: view.facts.startedAtMs,
    };
    view.facts = { ...view.facts, evidence: { ...FACTS.evidence, quartermaster } };
    const { out } = await shellstream('status');
    expect(out).toMatch(
      /^quartermaster {2,}remote, not reached for .+, acknowledged below 12, 5 entries behind, about 2 KiB, lost .* 1 times: nobody listens$/m,
    );
  });

  it('tells programs the same as JSON', async () => {
    const { out } = await shellstream('status', '--json');
    expect(JSON.parse(out)).toMatchObject({
      instance: 'test',
      posture: { effective: 5, epoch: 0, sources: [] },
      tunnel: { driver: 'embedded' },
      counts: { sessions: 0 },
      translations: [{ internal: '192.168.77.0/24', external: '10.1.77.0/24' }],
      forwards: [
        { from: 'beta', stands: true },
        { from: 'gamma', stands: false },
      ],
      peers: [],
      health: { isLive: true, isReady: true, problems: [expect.stringContaining('beta.test')] },
    });
  });
});

describe('sessions', () => {
  beforeEach(() => {
    view.open(session('s-1', { expiresAtMs: LATER }));
    view.open(session('s-2', { type: 'operator', tunnel: undefined, streams: [], expiresAtMs: LATER }));
  });

  it('list filters and shows', async () => {
    const { out } = await shellstream('sessions', 'list');
    expect(out.split('\n')).toHaveLength(4);
    expect(out).toMatch(/^s-1 +spiffe:\/\/beta\.test\/gateway +responder +mesh +overlay +active +4 by peer /m);
    const filtered = await shellstream('sessions', 'list', '--type', 'operator', '--json');
    expect(JSON.parse(filtered.out)).toMatchObject({ sessions: [{ id: 's-2', type: 'operator', peerLevel: 4 }] });
  });

  it('show tells targets, tunnel and streams; numbers too large for JSON are strings', async () => {
    const { out } = await shellstream('sessions', 'show', 's-1');
    expect(out).toMatch(/^10\.1\.0\.5\/32 +tcp +443 +ordinary +3$/m);
    expect(out).toMatch(/^OFFERED BY THE INITIATOR .*\n10\.2\.0\.9\/32 +udp +any +management +2$/m);
    expect(out).toMatch(/^tunnel +handshake 1 s ago, 192\.0\.2\.7:51840, /m);
    expect(out).toMatch(/^1 +10\.1\.0\.5:443 +peer /m);
    const { out: asJson } = await shellstream('sessions', 'show', 's-1', '--json');
    expect(JSON.parse(asJson)).toMatchObject({
      id: 's-1',
      targets: [{ prefix: '10.1.0.5/32', protocol: 6, port: 443, class: 'ordinary', floor: 3 }],
      offered: [{ prefix: '10.2.0.9/32', protocol: 17, port: 0, class: 'management', floor: 2 }],
      counters: { packets: 12, bytes: 34567, denied: 1 },
      tunnel: { receivedBytes: '9007199254740993', sentBytes: 5 },
    });
  });

  it('drain and end do so, once', async () => {
    expect(await shellstream('sessions', 'drain', 's-1', '--deadline', '1h')).toMatchObject({
      code: 0,
      out: 'draining s-1, it ends within 1 h\n',
    });
    expect((await view.session('s-1'))?.state).toBe('draining');
    const ended = await shellstream('sessions', 'end', 's-2', '--reason', 'by hand', '--json');
    expect({ ...ended, out: JSON.parse(ended.out) }).toEqual({ code: 0, out: { id: 's-2', ended: true }, err: '' });
    for (const verb of ['show', 'drain', 'end']) {
      const ran = await shellstream('sessions', verb, 's-2');
      expect(ran).toMatchObject({ code: 1, out: '', err: expect.stringContaining('there is no live session "s-2"') });
    }
  });
});

describe('posture', () => {
  it('set says it for the console, with reason and end; get reads it', async () => {
    const set = await shellstream('posture', 'set', '3', '--reason', 'odd traffic', '--for', '30m');
    expect(set).toMatchObject({ code: 0, err: '' });
    expect(set.out).toMatch(/^posture level 3 for .*\n.*\n\* {2}console +3 .* in (30 min|29 min 5\d s) +odd traffic$/m);
    const { out } = await shellstream('posture', 'get', '--json');
    expect(JSON.parse(out)).toMatchObject({
      effective: 3,
      epoch: 1,
      sources: [{ source: 'console', level: 3, reason: 'odd traffic', governs: true, setAside: false }],
    });
  });

  it('set --confirm-within says what it goes back to, until confirm', async () => {
    const { out } = await shellstream('posture', 'set', '2', '--reason', 'risky', '--confirm-within', '2m');
    const told =
      /the console goes back to 5 in (?:2 min|1 min 5\d s), unless: shellstream (posture confirm --epoch \d+)\n$/;
    const confirm = told.exec(out)?.[1]?.split(' ') ?? [];
    expect((await shellstream(...confirm)).out).toMatch(/^posture level 2 (?:(?!goes back).)*$/s);
    expect(await shellstream(...confirm)).toMatchObject({ code: 1, err: expect.stringContaining('MALFORMED') });
  });

  it('confirm of what another console set since is refused', async () => {
    const set = ['posture', 'set', '2', '--reason', 'risky', '--confirm-within', '2m', '--json'];
    const own: { unconfirmed: { epoch: number } } = JSON.parse((await shellstream(...set)).out);
    await shellstream('posture', 'set', '4', '--reason', 'another console', '--confirm-within', '2m');
    expect(await shellstream('posture', 'confirm', '--epoch', String(own.unconfirmed.epoch))).toMatchObject({
      code: 1,
      err: expect.stringContaining('POSTURE_CHANGED'),
    });
    expect((await view.posture()).unconfirmed).toBeDefined();
  });

  it('set --dry-run says what would end and be cut off, and does nothing', async () => {
    view.open(session('s-1'));
    const { out } = await shellstream('posture', 'set', '1', '--reason', 'x', '--dry-run');
    expect(out).toContain('posture level 5 would become 1; nothing was done');
    expect(out).toContain('sessions: 1 end, 0 drain');
    expect(out).toContain('cut off: eth0');
    expect(out).toMatch(/^s-1 .* end$/m);
    expect((await view.posture()).effective).toBe(5);
  });

  it('set --dry-run says which governed routes would go, the first of many by name', async () => {
    const route = '10.5.0.0/24 table 254 metric 0 dev lan0';
    view.routesAtNormal = { count: 12_345, first: [route] };
    const dryRun = ['posture', 'set', '1', '--reason', 'x', '--dry-run'];
    const { out } = await shellstream(...dryRun);
    expect(out).toContain('governed routes: 12345 withdrawn, 0 restored\n');
    expect(out).toMatch(/^10\.5\.0\.0\/24 table 254 metric 0 dev lan0 {2}withdrawn\nand 12344 more +withdrawn$/m);
    expect(JSON.parse((await shellstream(...dryRun, '--json')).out)).toMatchObject({
      withdrawn: { count: 12_345, first: [route] },
      restored: { count: 0, first: [] },
    });
  });

  it('set --dry-run of a lockdown says that mesh peers hold the site from then on', async () => {
    view.open(session('s-1'));
    const dryRun = async (level: string): Promise<string> =>
      (await shellstream('posture', 'set', level, '--reason', 'x', '--dry-run')).out;
    expect(await dryRun('1')).toContain('mesh peers: 1; those that have this site');
    expect(await dryRun('4')).not.toContain('mesh peers');
  });

  it('set --dry-run says whether it cuts off whoever asks', async () => {
    const dryRun = async (interfaceName?: string): Promise<unknown> => {
      const world = new FakeWorld();
      world.shell = { interface: interfaceName };
      const { out } = await world.run(
        'posture',
        'set',
        '1',
        '--reason',
        'x',
        '--dry-run',
        '--json',
        '--socket',
        socket,
      );
      return JSON.parse(out).cutsOwnSession;
    };
    expect([await dryRun('eth0'), await dryRun('eth1'), await dryRun()]).toEqual([true, false, true]);
  });

  it('set-aside silences what a source has said so far, and not what it says next', async () => {
    view.state('map', 2, 'slot 0 says 2');
    const aside = await shellstream('posture', 'set-aside', 'map', '--reason', 'its writer is broken');
    expect(aside.out).toMatch(/^posture level 5 for .*\n.*\n +map +2 .*set aside: slot 0 says 2$/m);
    view.state('map', 3, 'slot 0 says 3');
    const { out } = await shellstream('posture', 'get', '--json');
    expect(JSON.parse(out)).toMatchObject({ effective: 3 });
    const unknown = await shellstream('posture', 'set-aside', 'bascule', '--reason', 'it never was there');
    expect(unknown).toMatchObject({ code: 1, err: 'shellstream: MALFORMED: no source bascule says anything\n' });
  });

  it('set-aside of a statement that is not the last one any more is refused', async () => {
    view.state('map', 2, 'slot 0 says 2');
    const told: { sources: { epoch: number }[] } = JSON.parse((await shellstream('posture', 'get', '--json')).out);
    const meant = ['--reason', 'its writer is broken', '--epoch', String(told.sources[0]?.epoch)];
    view.state('map', 1, 'slot 0 says 1');
    expect(await shellstream('posture', 'set-aside', 'map', ...meant)).toMatchObject({
      code: 1,
      err: expect.stringContaining('POSTURE_CHANGED'),
    });
    expect((await view.posture()).effective).toBe(1);
    expect((await shellstream('posture', 'set-aside', 'map', '--reason', 'x', '--epoch', '-1')).code).toBe(2);
  });

  it('set that the gateway refuses is exit code 1 with its reason', async () => {
    const ran = await shellstream('posture', 'set', '3', '--reason', 'two\nlines', '--json');
    expect(ran).toMatchObject({ code: 1, out: '' });
    expect(JSON.parse(ran.err)).toEqual({ error: 'MALFORMED', detail: 'a reason is 1 to 256 characters in one line' });
    expect((await shellstream('posture', 'set', '3', '--reason', '  ')).code).toBe(1);
  });

  it('of another user is refused, and stays', async () => {
    caller = { uid: 65534, gid: 65534, pid: 1 };
    expect(await shellstream('posture', 'set', '1', '--reason', 'mine now')).toEqual({
      code: 1,
      out: '',
      err: 'shellstream: CAPABILITY_NOT_GRANTED: user 65534 is no site owner here\n',
    });
    expect((await view.posture()).effective).toBe(5);
  });
});

describe('events', { timeout: 60_000 }, () => {
  it('come one a line until the operator interrupts, which is no failure', async () => {
    const { child, lines } = await watching();
    view.state('map', 2, 'incident');
    view.emit({
      kind: 'denied',
      atMs: 0,
      denial: {
        cause: 'NO_FLOW',
        ifindex: 7,
        direction: 'in',
        protocol: 6,
        source: Uint8Array.of(10, 0, 0, 1),
        destination: Uint8Array.from([0xfd, ...new Array(14).fill(0), 1]),
        sourcePort: 40000,
        destinationPort: 22,
      },
    });
    expect((await lines.next()).value).toMatch(/Z {2}posture 5 to 2 by map: incident \(epoch 1\)$/);
    expect((await lines.next()).value).toBe(
      '1970-01-01T00:00:00.000Z  denied NO_FLOW: tcp 10.0.0.1:40000 to [fd00::1]:22, in on interface 7',
    );
    child.kill('SIGINT');
    expect(await once(child, 'exit')).toEqual([0, null]);
  });

  it('as JSON are one object a line; a gateway that goes is exit code 1', async () => {
    const { child, lines } = await watching('--json');
    view.emit({
      kind: 'drain-received',
      atMs: 7,
      id: 's-1',
      peer: 'p',
      reason: 'POSTURE_END',
      level: 1,
      deadlineMs: 0,
    });
    expect(JSON.parse((await lines.next()).value ?? '')).toEqual({
      kind: 'drain-received',
      atMs: 7,
      id: 's-1',
      peer: 'p',
      reason: 'POSTURE_END',
      level: 1,
      deadlineMs: 0,
    });
    const exited = once(child, 'exit');
    await gateway[Symbol.asyncDispose]();
    expect(await exited).toEqual([1, null]);
  });
});

describe('without a gateway', () => {
  it('every verb that asks one is exit code 1 and says where it looked', async () => {
    await gateway[Symbol.asyncDispose]();
    expect(await shellstream('status')).toEqual({
      code: 1,
      out: '',
      err: `shellstream: CONNECTION_LOST: ${socket}: no gateway answers there\n`,
    });
  });

  it('--instance names its place', async () => {
    const ran = await new FakeWorld().run('status', '--instance', 'nosuch');
    expect(ran.err).toContain('/run/shellstream/nosuch/control.sock: no gateway answers there');
  });
});

describe('as a process', { timeout: 60_000 }, () => {
  it('it prints and exits as it does in this one', async () => {
    expect(JSON.parse((await spawned('status', '--json', '--socket', socket)).out)).toMatchObject({ instance: 'test' });
    const stranger = { uid: 65534, gid: 65534, pid: 1 };
    caller = stranger;
    expect(await spawned('status', '--socket', socket)).toMatchObject({ code: 1, out: '' });
    expect(await spawned('posture', 'set', '9', '--reason', 'x')).toMatchObject({ code: 2, out: '' });
  });

  it('a reader of events that leaves is no failure', async () => {
    const { child, lines } = await watching();
    view.state('map', 2, 'incident');
    await lines.next();
    child.stdout?.destroy();
    const exited = once(child, 'exit');
    view.state('map', 3, 'incident');
    view.state('map', 2, 'incident');
    expect(await exited).toEqual([0, null]);
  });
});

/** In this process, through the real socket. */
function shellstream(...argv: readonly string[]) {
  const console = new FakeWorld();
  console.clock = systemClock;
  return console.run(...argv, '--socket', socket);
}

function spawned(...argv: readonly string[]): Promise<{ code: number | null; out: string; err: string }> {
  return new Promise((resolve) => {
    const child = execFile(process.execPath, [PROGRAM, ...argv], (_error, out, err) => {
      resolve({ code: child.exitCode, out, err });
    });
  });
}

async function watching(...argv: readonly string[]) {
  const child: ChildProcess = spawn(process.execPath, [PROGRAM, 'events', '--socket', socket, ...argv], {
    stdio: ['ignore', 'pipe', 'ignore'],
  });
  world.defer(() => void child.kill('SIGKILL'));
  while (view.watcherCount === 0) await new Promise((resolve) => setImmediate(resolve));
  if (child.stdout === null) throw new Error('no stdout');
  return { child, lines: createInterface(child.stdout)[Symbol.asyncIterator]() };
}
