import { execFile } from 'node:child_process';
import { once } from 'node:events';
import { chmod, mkdir, readdir, stat, symlink, writeFile } from 'node:fs/promises';
import { connect, createServer, type Socket } from 'node:net';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { create, fromBinary, type MessageInitShape, toBinary } from '@bufbuild/protobuf';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { reasonOf } from '../../protocol/errors.ts';
import { RequestSchema, ResponseSchema } from '../../protocol/gen/shellstream/control/v1/control_pb.ts';
import { reasonFromWire } from '../../protocol/reasons.ts';
import { systemClock } from '../base/clock.ts';
import { type ControlClient, connectControl } from './client.ts';
import { FACTS, ManualClock, session, temporaryFolder } from './fixtures.ts';
import { FrameReader, frame, LARGEST_REQUEST, LARGEST_RESPONSE } from './frame.ts';
import { MemoryGateway } from './memory-view.ts';
import type { Actor } from './ports.ts';
import { type ControlOptions, startControl } from './server.ts';

const OWNER: Actor = { uid: 0, gid: 0, pid: 4242 };
const STRANGER: Actor = { uid: 65534, gid: 65534, pid: 4243 };
const OBSERVER: Actor = { uid: 1000, gid: 77, pid: 4244 };

let world: AsyncDisposableStack;
let folder: string;
let path: string;
let clock: ManualClock;
let view: MemoryGateway;
let caller: Actor | undefined;

beforeEach(async () => {
  world = new AsyncDisposableStack();
  folder = world.use(await temporaryFolder()).path;
  path = join(folder, 'test', 'control.sock');
  clock = new ManualClock();
  view = new MemoryGateway(clock, FACTS);
  caller = OWNER;
});

afterEach(() => world.disposeAsync());

describe('a site owner at the control socket', () => {
  it('reads status, sessions, peers and findings as the gateway has them', async () => {
    view.open(session('s-1'));
    view.peerList = [
      {
        name: 'beta',
        spiffeId: 'spiffe://beta.test/gateway',
        address: '192.0.2.7:7843',
        state: 'held',
        lastFailure: { reason: 'PEER_HELD', atMs: 5, detail: 'held' },
        hold: { id: 'h-1', sinceMs: 4, epoch: 9n },
      },
    ];
    view.findings = [{ name: 'lease', state: 'warning', detail: 'late', mend: 'look at the load' }];
    await start();
    const client = await console();

    expect(await client.status()).toEqual(await view.status());
    expect(await client.session('s-1')).toEqual(session('s-1'));
    expect(await client.sessions({})).toEqual(await view.sessions({}));
    expect(await client.peers()).toMatchObject(view.peerList);
    expect(await client.diagnose()).toEqual(view.findings);
  });

  it('is answered at posture level 1, and without an SVID', async () => {
    view.state('map', 1, 'lockdown');
    view.facts = {
      ...FACTS,
      spiffeId: undefined,
      identity: { workloadApiConnected: false, detail: 'no socket', bundles: [] },
    };
    await start();
    const client = await console();

    expect((await client.status()).posture.effective).toBe(1);
    expect((await client.setPosture({ level: 2, reason: 'checked' })).effective).toBe(1);
  });

  it('sets the posture under the name the kernel gave', async () => {
    await start();
    const client = await console();
    const posture = await client.setPosture({ level: 3, reason: 'odd traffic', forMs: 60_000 });

    expect(posture.effective).toBe(3);
    expect(posture.sources).toMatchObject([
      { source: 'console', level: 3, reason: 'odd traffic', governs: true, expiresAtMs: clock.now() + 60_000 },
    ]);
    expect(view.orders).toEqual([{ verb: 'setPosture', by: OWNER }]);
  });

  it('drains and ends sessions, and is told when there is no such session', async () => {
    view.open(session('s-1'));
    view.open(session('s-2'));
    await start();
    const client = await console();

    expect(await client.drain('s-1', 4_000)).toBe(true);
    expect((await client.session('s-1'))?.state).toBe('draining');
    expect(await client.end('s-2', 'by hand')).toBe(true);
    expect(await client.end('s-2', 'by hand')).toBe(false);
    expect(await client.session('s-2')).toBeUndefined();
  });

  it('filters sessions, and gets more of them than one answer holds', async () => {
    const ids = Array.from({ length: 1001 }, (_, n) => `s-${String(n).padStart(4, '0')}`);
    for (const id of ids) view.open(session(id, id < 's-0500' ? { type: 'operator' } : {}));
    await start();
    const client = await console();

    expect((await client.sessions({})).map(({ id }) => id)).toEqual(ids);
    expect(await client.sessions({ type: 'operator' })).toHaveLength(500);
    expect(await client.sessions({ peer: 'spiffe://nobody.test/' })).toEqual([]);
  });

  it('has concurrent questions answered each with its own answer', async () => {
    view.open(session('s-1'));
    await start();
    const client = await console();
    const [one, none, status] = await Promise.all([client.session('s-1'), client.session('s-2'), client.status()]);
    expect([one?.id, none, status.instance]).toEqual(['s-1', undefined, 'test']);
  });

  it.each([
    ['level 0', { level: 0, reason: 'x' }],
    ['level 6', { level: 6, reason: 'x' }],
    ['no reason', { level: 3, reason: '' }],
    ['a reason that forges a second log line', { level: 3, reason: 'x\nposture set by root' }],
    ['a reason with a terminal escape', { level: 3, reason: '\u001b[2J' }],
    ['a reason as long as a book', { level: 3, reason: 'x'.repeat(257) }],
    ['a length of zero', { level: 3, reason: 'x', forMs: 0n }],
  ])('cannot set a posture of %s', async (_, setPosture) => {
    await start();
    const { raw, next } = await stranger();
    raw.write(frame(request({ case: 'setPosture', value: setPosture })));
    expect(await next()).toMatchObject({ refused: 'MALFORMED' });
    expect(view.orders).toEqual([]);
  });
});

describe('watch', () => {
  it('turns the connection into a stream of events', async () => {
    await start();
    const watcher = await console();
    const events = watcher.watch();
    const first = events.next();
    await settled(() => view.watcherCount === 1);
    view.open(session('s-1'));
    view.state('console', 2, 'incident');
    const denial = {
      cause: 'NO_FLOW',
      ifindex: 7,
      direction: 'in',
      protocol: 6,
      source: Uint8Array.of(10, 0, 0, 1),
      destination: Uint8Array.of(10, 0, 0, 2),
      sourcePort: 40000,
      destinationPort: 22,
    } as const;
    view.emit({ kind: 'denied', atMs: 1, denial });
    view.emit({
      kind: 'drain-received',
      atMs: 2,
      id: 's-1',
      peer: 'p',
      reason: 'POSTURE_END',
      level: 1,
      deadlineMs: 0,
    });
    await view.end('s-1', '', OWNER);

    expect((await first).value).toMatchObject({ kind: 'session-opened', session: { id: 's-1' } });
    expect((await events.next()).value).toMatchObject({ kind: 'posture-changed', from: 5, to: 2, reason: 'incident' });
    expect((await events.next()).value).toEqual({ kind: 'denied', atMs: 1, denial });
    expect((await events.next()).value).toMatchObject({ kind: 'drain-received', reason: 'POSTURE_END', level: 1 });
    expect((await events.next()).value).toMatchObject({ kind: 'session-ended', id: 's-1', reason: 'CLOSED' });
  });

  it('is one subscription for all, given back when the last one leaves', async () => {
    await start();
    const [one, two] = [await console(), await console()];
    void one
      .watch()
      .next()
      .catch(() => {});
    void two
      .watch()
      .next()
      .catch(() => {});
    await settled(() => view.watcherCount === 1);
    one[Symbol.dispose]();
    two[Symbol.dispose]();
    await settled(() => view.watcherCount === 0);
  });

  it('loses events, counted, to a console that does not read; the gateway’s memory stays bounded', async () => {
    await start();
    const { raw, next } = await stranger();
    raw.write(frame(request({ case: 'watch', value: {} })));
    expect(await next()).toMatchObject({ case: 'watching' });
    raw.pause();
    const total = 20_000;
    for (let n = 0; n < total; n++) {
      view.emit({ kind: 'session-ended', atMs: n, id: 'x'.repeat(100), peer: '', reason: 'CLOSED', byPeer: true });
    }
    raw.resume();
    let seen = 0;
    let lost = 0;
    while (seen + lost < total) {
      const event = await next();
      if (event.case !== 'event') throw new Error('no event');
      if (event.value.what.case === 'lost') lost += Number(event.value.what.value.events);
      else seen += 1;
    }
    expect(lost).toBeGreaterThan(total / 2);
    expect(seen + lost).toBe(total);
  });

  it('hangs up on a console that goes on talking', async () => {
    await start();
    const { raw, next } = await stranger();
    raw.write(frame(request({ case: 'watch', value: {} })));
    await next();
    raw.write(frame(request({ case: 'status', value: {} })));
    await once(raw, 'close');
    await settled(() => view.watcherCount === 0);
  });
});

describe('who may ask', () => {
  it('another user is refused with a reason, and nothing is done', async () => {
    caller = STRANGER;
    view.open(session('s-1'));
    await start();
    const client = await console();
    await expect(client.end('s-1', '')).rejects.toThrow(/CAPABILITY_NOT_GRANTED: user 65534 is no site owner here/);
    expect(await view.session('s-1')).toBeDefined();
  });

  it('a process the kernel does not name is refused', async () => {
    caller = undefined;
    await start();
    await expect((await console()).status()).rejects.toThrow(/CAPABILITY_NOT_GRANTED/);
  });

  it('a member of the observers’ group may look, and may change nothing', async () => {
    caller = OBSERVER;
    view.open(session('s-1'));
    await start({ access: { siteOwners: new Set([0]), observerGroup: 77 } });
    const client = await console();

    expect((await client.status()).instance).toBe('test');
    expect(await reason(client.end('s-1', ''))).toBe('CAPABILITY_NOT_GRANTED');
    expect(await reason(client.drain('s-1', 1))).toBe('CAPABILITY_NOT_GRANTED');
    expect(await reason(client.setPosture({ level: 5, reason: 'all is well' }))).toBe('CAPABILITY_NOT_GRANTED');
    expect(view.orders).toEqual([]);
  });

  it('observers that take every place cannot keep the site owner out', async () => {
    caller = OBSERVER;
    await start({ access: { siteOwners: new Set([0]), observerGroup: 77 }, mostConnections: 4 });
    const consoles = [await console(), await console(), await console()];
    const outcomes = await Promise.allSettled(consoles.map((client) => client.status()));
    expect(outcomes.map(({ status }) => status)).toEqual(['fulfilled', 'fulfilled', 'rejected']);

    caller = OWNER;
    expect((await (await console()).status()).instance).toBe('test');
  });

  it('a flood of connections ends at the limit, with OVERLOADED', async () => {
    await start({ mostConnections: 2 });
    const [one, two, three] = [await console(), await console(), await console()];
    await one.status();
    await two.status();
    expect(await reason(three.status())).toBe('OVERLOADED');
    one[Symbol.dispose]();
    await settled(async () => (await (await console()).status().catch(() => undefined)) !== undefined);
  });

  it.runIf(process.getuid?.() === 0)('a process of uid 65534 cannot open the socket at all', async () => {
    await chmod(folder, 0o755);
    await start();
    const script = `require('net').connect(${JSON.stringify(path)}).on('connect', () => process.exit(0)).on('error', e => { console.log(e.code); process.exit(1) })`;
    const asNobody = promisify(execFile)(process.execPath, ['-e', script], { uid: 65534, gid: 65534, cwd: '/' });
    await expect(asNobody).rejects.toMatchObject({ stdout: 'EACCES\n' });
    const asOwner = promisify(execFile)(process.execPath, ['-e', script], { cwd: '/' });
    await expect(asOwner).resolves.toBeDefined();
  });
});

describe('hostile bytes', () => {
  it.each([
    ['a length above the limit, before its bytes come', lengthOf(LARGEST_REQUEST + 1)],
    ['a length of 4 GiB', lengthOf(0xffff_ffff)],
    ['an empty message', lengthOf(0)],
    ['bytes that are no protobuf', frame(Buffer.from('GET / HTTP/1.1\r\n'))],
    ['a request of a later version', frame(Buffer.from([0xfa, 0x07, 0x00]))],
    ['a condition of a later version inside a known order', frame(Buffer.from([0x2a, 0x03, 0xfa, 0x07, 0x00]))],
    ['trailing bytes', frame(Buffer.concat([request({ case: 'status', value: {} }), Buffer.from([0])]))],
    ['an identifier with a line break', frame(request({ case: 'end', value: { id: 'a\nb' } }))],
    ['an identifier without end', frame(request({ case: 'session', value: { id: 'a'.repeat(129) } }))],
    ['a type that is none', frame(request({ case: 'sessions', value: { type: 'root' } }))],
  ])('%s is refused as MALFORMED', async (_, bytes) => {
    await start();
    const { raw, next } = await stranger();
    raw.write(bytes);
    expect(await next()).toMatchObject({ refused: 'MALFORMED' });
    expect(await (await console()).posture()).toMatchObject({ effective: 5 });
  });

  it('a request that is cut off and never ends is dropped after the idle time', async () => {
    await start({ idleMs: 1_000 });
    const { raw } = await stranger();
    const whole = frame(request({ case: 'session', value: { id: 's-1' } }));
    raw.write(whole.subarray(0, 6));
    await seenByServer();
    clock.advance(999);
    expect(raw.closed).toBe(false);
    clock.advance(1);
    await once(raw, 'close');
  });

  it('a byte at a time does not buy more time', async () => {
    await start({ idleMs: 1_000 });
    const { raw } = await stranger();
    const closed = once(raw, 'close');
    for (const byte of frame(request({ case: 'session', value: { id: 's-1' } })).subarray(0, 7)) {
      raw.write(Buffer.of(byte));
      await seenByServer();
      clock.advance(150);
    }
    await closed;
  });

  it('two requests at once are answered one after the other', async () => {
    await start();
    const { raw, next } = await stranger();
    const status = frame(request({ case: 'status', value: {} }));
    raw.write(Buffer.concat([status, frame(request({ case: 'posture', value: {} })), status.subarray(0, 3)]));
    expect(await next()).toMatchObject({ case: 'status' });
    expect(await next()).toMatchObject({ case: 'posture' });
    raw.write(status.subarray(3));
    expect(await next()).toMatchObject({ case: 'status' });
  });

  it('an answer that grows past 1 MiB becomes a refusal, not a broken frame', async () => {
    view.peerList = Array.from({ length: 3 }, () => ({ name: 'x'.repeat(400_000), spiffeId: '', state: 'waiting' }));
    await start();
    const client = await console();
    expect(await reason(client.peers())).toBe('INTERNAL');
    expect((await client.status()).instance).toBe('test');
  });

  it('a fault inside the gateway is INTERNAL and tells nothing else', async () => {
    view.peers = () => Promise.reject(new Error('the secret is 42'));
    await start();
    await expect((await console()).peers()).rejects.toThrow(/^INTERNAL: a fault of this side$/);
  });
});

describe('the socket’s path', () => {
  it('is 0600 in a folder of 0700, with nothing beside it', async () => {
    await start();
    expect(((await stat(path)).mode & 0o777).toString(8)).toBe('600');
    expect(((await stat(join(folder, 'test'))).mode & 0o777).toString(8)).toBe('700');
    expect(await readdir(join(folder, 'test'))).toEqual(['control.sock']);
  });

  it('is gone when the gateway has gone', async () => {
    const server = await start();
    await server[Symbol.asyncDispose]();
    expect(await readdir(join(folder, 'test'))).toEqual([]);
  });

  it('of a gateway that was killed is taken over', async () => {
    await mkdir(join(folder, 'test'), { mode: 0o700 });
    const script = `require('net').createServer().listen(${JSON.stringify(path)}, () => process.kill(process.pid, 'SIGKILL'))`;
    await promisify(execFile)(process.execPath, ['-e', script]).catch(() => {});
    expect((await stat(path)).isSocket()).toBe(true);
    await start();
    expect((await (await console()).status()).instance).toBe('test');
  });

  it('of a live gateway is refused, and that gateway keeps it', async () => {
    await start();
    await expect(startControl(options())).rejects.toThrow(/another gateway answers there/);
    expect((await (await console()).status()).instance).toBe('test');
  });

  it('is refused where a symbolic link lies, even to a socket', async () => {
    await mkdir(join(folder, 'test'), { mode: 0o700 });
    const elsewhere = join(folder, 'elsewhere.sock');
    const other = createServer().listen(elsewhere);
    world.defer(() => void other.close());
    await once(other, 'listening');
    await symlink(elsewhere, path);
    await expect(startControl(options())).rejects.toThrow(/no socket lies there/);
  });

  it('is refused where a file lies, and the file is kept', async () => {
    await mkdir(join(folder, 'test'), { mode: 0o700 });
    await writeFile(path, 'mine');
    await expect(startControl(options())).rejects.toThrow(/no socket lies there/);
    expect((await stat(path)).size).toBe(4);
  });

  it('is refused in a folder that others may write to, and in one behind a symbolic link', async () => {
    await mkdir(join(folder, 'test'));
    await chmod(join(folder, 'test'), 0o777);
    await expect(startControl(options())).rejects.toThrow(/others may write/);
    await symlink(join(folder, 'test'), join(folder, 'link'));
    await expect(startControl({ ...options(), path: join(folder, 'link', 'control.sock') })).rejects.toThrow(
      /no folder/,
    );
  });

  it.runIf(process.getuid?.() === 0)('is refused in a folder of another user', async () => {
    const { chown } = await import('node:fs/promises');
    await mkdir(join(folder, 'test'), { mode: 0o700 });
    await chown(join(folder, 'test'), 65534, 65534);
    await expect(startControl(options())).rejects.toThrow(/another user/);
  });

  it('is refused when it does not fit in a socket address', async () => {
    await expect(startControl({ ...options(), path: join(folder, 'x'.repeat(98)) })).rejects.toThrow(/98 bytes/);
  });
});

describe('a gateway that goes', () => {
  it('fails the question, and ends the watch with CONNECTION_LOST', async () => {
    const server = await start();
    const [asking, watching] = [await console(), await console()];
    const event = reason(watching.watch().next());
    await settled(() => view.watcherCount === 1);
    await server[Symbol.asyncDispose]();
    expect(await event).toBe('CONNECTION_LOST');
    expect(await reason(asking.status())).toBe('CONNECTION_LOST');
    expect(await reason(console())).toBe('CONNECTION_LOST');
  });

  it('or hangs: the console does not wait for ever', async () => {
    view.status = () => new Promise(() => {});
    await start();
    const consoleClock = new ManualClock();
    const client = world.use(await connectControl({ path, clock: consoleClock, timeoutMs: 500 }));
    const status = reason(client.status());
    await seenByServer();
    consoleClock.advance(500);
    expect(await status).toBe('CONNECTION_LOST');
  });
});

function options(changes: Partial<ControlOptions> = {}): ControlOptions {
  return {
    path,
    access: { siteOwners: new Set([0]) },
    view,
    clock,
    log: { info() {}, warn() {}, error() {} },
    credentialsOf: () => caller,
    ...changes,
  };
}

async function start(changes: Partial<ControlOptions> = {}) {
  const server = await startControl(options(changes));
  world.use(server);
  return server;
}

async function console(): Promise<ControlClient> {
  return world.use(await connectControl({ path, clock: systemClock }));
}

function request(ask: NonNullable<MessageInitShape<typeof RequestSchema>['ask']>): Buffer {
  return Buffer.from(toBinary(RequestSchema, create(RequestSchema, { ask })));
}

/** A client that writes whatever bytes the test wants. */
async function stranger() {
  const raw: Socket = connect(path);
  world.defer(() => void raw.destroy());
  await once(raw, 'connect');
  const reader = new FrameReader(LARGEST_RESPONSE);
  raw.on('error', () => {});
  raw.on('data', (bytes) => {
    reader.push(bytes);
    raw.emit('progress');
  });
  const next = async () => {
    for (;;) {
      const message = reader.next();
      if (message !== undefined) {
        const { answer } = fromBinary(ResponseSchema, message);
        return answer.case === 'refused' ? { case: answer.case, refused: reasonFromWire(answer.value.reason) } : answer;
      }
      await once(raw, 'progress');
    }
  };
  return { raw, next };
}

/** Both ends live in this process: after a few turns of its loop the server has read what was written. */
async function seenByServer(): Promise<void> {
  for (let turn = 0; turn < 5; turn++) await new Promise((resolve) => setImmediate(resolve));
}

async function settled(isTrue: () => boolean | Promise<boolean>): Promise<void> {
  while (!(await isTrue())) await new Promise((resolve) => setImmediate(resolve));
}

async function reason(outcome: Promise<unknown>): Promise<string> {
  return outcome.then(
    () => 'no refusal',
    (error: unknown) => reasonOf(error),
  );
}

function lengthOf(length: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(length);
  return bytes;
}
