import { execFile } from 'node:child_process';
import { once } from 'node:events';
import { chmod } from 'node:fs/promises';
import { dirname } from 'node:path';
import { promisify } from 'node:util';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { ShellstreamError } from '../../protocol/errors.ts';
import { describeWith } from '../../test/support/requirements.ts';
import { peerCredentialsOf } from '../dataplane/linux/index.ts';
import { connectControl } from './client.ts';
import { ControlWorld, reason, request, seenByServer, settled } from './control-world.ts';
import { FACTS, ManualClock, session } from './fixtures.ts';
import { frame } from './frame.ts';
import type { Actor } from './ports.ts';

const OWNER: Actor = { uid: 0, gid: 0, pid: 4242 };
const STRANGER: Actor = { uid: 65534, gid: 65534, pid: 4243 };
const OBSERVER: Actor = { uid: 1000, gid: 77, pid: 4244 };

let world: ControlWorld;

beforeEach(async () => {
  world = await ControlWorld.create();
});

afterEach(() => world[Symbol.asyncDispose]());

describe('a site owner at the control socket', () => {
  it('reads status, sessions, peers and findings as the gateway has them', async () => {
    world.view.open(session('s-1'));
    world.view.peerList = [
      {
        name: 'beta',
        spiffeId: 'spiffe://beta.test/gateway',
        address: '192.0.2.7:7843',
        state: 'held',
        lastFailure: { reason: 'PEER_HELD', atMs: 5, detail: 'held' },
        hold: { id: 'h-1', sinceMs: 4, epoch: 9n, cause: 'drain', reason: 'it went to posture level 1' },
      },
    ];
    world.view.findings = [{ name: 'lease', state: 'warning', detail: 'late', mend: 'look at the load' }];
    await world.start();
    const client = await world.console();

    expect(await client.status()).toEqual(await world.view.status());
    expect(await client.session('s-1')).toEqual(session('s-1'));
    expect(await client.sessions({})).toEqual(await world.view.sessions({}));
    expect(await client.peers()).toMatchObject(world.view.peerList);
    expect(await client.diagnose()).toEqual(world.view.findings);
  });

  it('is answered at posture level 1, and without an SVID', async () => {
    world.view.state('map', 1, 'lockdown');
    world.view.facts = {
      ...FACTS,
      spiffeId: undefined,
      identity: { workloadApiConnected: false, detail: 'no socket', bundles: [] },
    };
    await world.start();
    const client = await world.console();

    expect((await client.status()).posture.effective).toBe(1);
    expect((await client.setPosture({ level: 2, reason: 'checked' })).effective).toBe(1);
  });

  it('sets the posture under the name the kernel gave', async () => {
    await world.start();
    const client = await world.console();
    const posture = await client.setPosture({ level: 3, reason: 'odd traffic', forMs: 60_000 });

    expect(posture.effective).toBe(3);
    expect(posture.sources).toMatchObject([
      { source: 'console', level: 3, reason: 'odd traffic', governs: true, expiresAtMs: world.clock.now() + 60_000 },
    ]);
    expect(world.view.orders).toEqual([{ verb: 'setPosture', by: OWNER }]);
  });

  it('drains and ends sessions, and is told when there is no such session', async () => {
    world.view.open(session('s-1'));
    world.view.open(session('s-2'));
    await world.start();
    const client = await world.console();

    expect(await client.drain('s-1', 4_000)).toBe(true);
    expect((await client.session('s-1'))?.state).toBe('draining');
    expect(await client.end('s-2', 'by hand')).toBe(true);
    expect(await client.end('s-2', 'by hand')).toBe(false);
    expect(await client.session('s-2')).toBeUndefined();
  });

  it('filters sessions, and gets all of them where one answer cannot hold them', async () => {
    const ids = Array.from({ length: 1001 }, (_, n) => `s-${String(n).padStart(4, '0')}`);
    const peer = `spiffe://beta.test/${'x'.repeat(2_000)}`;
    for (const id of ids) world.view.open(session(id, { peer, type: id < 's-0500' ? 'operator' : 'mesh' }));
    await world.start();
    const client = await world.console();

    expect((await client.sessions({})).map(({ id }) => id)).toEqual(ids);
    expect(await client.sessions({ type: 'operator' })).toHaveLength(500);
    expect(await client.sessions({ peer: 'spiffe://nobody.test/' })).toEqual([]);
  });

  it('has concurrent questions answered each with its own answer', async () => {
    world.view.open(session('s-1'));
    await world.start();
    const client = await world.console();
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
    await world.start();
    const { raw, next } = await world.stranger();
    raw.write(frame(request({ case: 'setPosture', value: setPosture })));
    expect(await next()).toMatchObject({ refused: 'MALFORMED' });
    expect(world.view.orders).toEqual([]);
  });

  it('confirms no posture for who does not say which: it may be what another console set', async () => {
    await world.start();
    const posture = await (await world.console()).setPosture({ level: 3, reason: 'x', confirmWithinMs: 60_000 });
    const { raw, next } = await world.stranger();
    raw.write(frame(request({ case: 'confirmPosture', value: {} })));
    expect(await next()).toMatchObject({ refused: 'MALFORMED' });
    expect(await world.view.posture()).toEqual(posture);
  });
});

describe('watch', () => {
  it('turns the connection into a stream of events', async () => {
    await world.start();
    const watcher = await world.console();
    const events = watcher.watch();
    const first = events.next();
    await settled(() => world.view.watcherCount === 1);
    world.view.open(session('s-1'));
    world.view.state('console', 2, 'incident');
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
    world.view.emit({ kind: 'denied', atMs: 1, denial });
    world.view.emit({
      kind: 'drain-received',
      atMs: 2,
      id: 's-1',
      peer: 'p',
      reason: 'POSTURE_END',
      level: 1,
      deadlineMs: 0,
    });
    const held = { kind: 'held', atMs: 3, id: 'aa', peer: 'p', cause: 'drain', reason: 'lockdown' } as const;
    const released = { kind: 'released', atMs: 4, id: 'aa', peer: 'p', by: 'document' } as const;
    world.view.emit(held);
    world.view.emit(released);
    await world.view.end('s-1', '', OWNER);

    expect((await first).value).toMatchObject({ kind: 'session-opened', session: { id: 's-1' } });
    expect((await events.next()).value).toMatchObject({ kind: 'posture-changed', from: 5, to: 2, reason: 'incident' });
    expect((await events.next()).value).toEqual({ kind: 'denied', atMs: 1, denial });
    expect((await events.next()).value).toMatchObject({ kind: 'drain-received', reason: 'POSTURE_END', level: 1 });
    expect([(await events.next()).value, (await events.next()).value]).toEqual([held, released]);
    expect((await events.next()).value).toMatchObject({ kind: 'session-ended', id: 's-1', reason: 'CLOSED' });
  });

  it('is one subscription for all, given back when the last one leaves', async () => {
    await world.start();
    const [one, two] = [await world.console(), await world.console()];
    void one
      .watch()
      .next()
      .catch(() => {});
    void two
      .watch()
      .next()
      .catch(() => {});
    await settled(() => world.view.watcherCount === 1);
    one[Symbol.dispose]();
    two[Symbol.dispose]();
    await settled(() => world.view.watcherCount === 0);
  });

  it('loses events, counted, to a console that does not read; the gateway’s memory stays bounded', async () => {
    await world.start();
    const { raw, next } = await world.stranger();
    raw.write(frame(request({ case: 'watch', value: {} })));
    expect(await next()).toMatchObject({ case: 'watching' });
    raw.pause();
    const total = 20_000;
    for (let n = 0; n < total; n++) {
      world.view.emit({
        kind: 'session-ended',
        atMs: n,
        id: 'x'.repeat(100),
        peer: '',
        reason: 'CLOSED',
        byPeer: true,
      });
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
    await world.start();
    const { raw, next } = await world.stranger();
    raw.write(frame(request({ case: 'watch', value: {} })));
    await next();
    raw.write(frame(request({ case: 'status', value: {} })));
    await once(raw, 'close');
    await settled(() => world.view.watcherCount === 0);
  });
});

describe('who may ask', () => {
  it('another user is refused with a reason, and nothing is done', async () => {
    world.caller = STRANGER;
    world.view.open(session('s-1'));
    await world.start();
    const client = await world.console();
    await expect(client.end('s-1', '')).rejects.toThrow(/CAPABILITY_NOT_GRANTED: user 65534 is no site owner here/);
    expect(await world.view.session('s-1')).toBeDefined();
  });

  it('a process the kernel does not name is refused', async () => {
    world.caller = undefined;
    await world.start();
    await expect((await world.console()).status()).rejects.toThrow(/CAPABILITY_NOT_GRANTED/);
  });

  it('a caller who is gone before the kernel is asked cannot bring the gateway down', async () => {
    await world.start({
      credentialsOf: () => {
        throw new ShellstreamError('NOT_AUTHENTICATED', 'no descriptor');
      },
    });
    expect(await reason((await world.console()).status())).toBe('CAPABILITY_NOT_GRANTED');
    expect(await reason((await world.console()).status())).toBe('CAPABILITY_NOT_GRANTED');
  });

  it('a member of the observers’ group may look, and may change nothing', async () => {
    world.caller = OBSERVER;
    world.view.open(session('s-1'));
    await world.start({ access: { siteOwners: new Set([0]), observerGroup: 77 } });
    const client = await world.console();

    expect((await client.status()).instance).toBe('test');
    expect(await reason(client.end('s-1', ''))).toBe('CAPABILITY_NOT_GRANTED');
    expect(await reason(client.drain('s-1', 1))).toBe('CAPABILITY_NOT_GRANTED');
    expect(await reason(client.setPosture({ level: 5, reason: 'all is well' }))).toBe('CAPABILITY_NOT_GRANTED');
    expect(await reason(client.setAside('map', 'it lies'))).toBe('CAPABILITY_NOT_GRANTED');
    expect(world.view.orders).toEqual([]);
  });

  it('observers that take every place cannot keep the site owner out', async () => {
    world.caller = OBSERVER;
    await world.start({ access: { siteOwners: new Set([0]), observerGroup: 77 }, mostConnections: 4 });
    const consoles = [await world.console(), await world.console(), await world.console()];
    const outcomes = await Promise.allSettled(consoles.map((client) => client.status()));
    expect(outcomes.map(({ status }) => status)).toEqual(['fulfilled', 'fulfilled', 'rejected']);

    world.caller = OWNER;
    expect((await (await world.console()).status()).instance).toBe('test');
  });

  it('a flood of connections ends at the limit, with OVERLOADED', async () => {
    await world.start({ mostConnections: 2 });
    const [one, two, three] = [await world.console(), await world.console(), await world.console()];
    await one.status();
    await two.status();
    expect(await reason(three.status())).toBe('OVERLOADED');
    one[Symbol.dispose]();
    await settled(async () => (await (await world.console()).status().catch(() => undefined)) !== undefined);
  });
});

describeWith(['root'], 'a process of uid 65534', () => {
  it('cannot open the socket', async () => {
    await chmod(world.folder, 0o755);
    await world.start();
    expect(await dial({})).toBe('open');
    expect(await dial({ uid: 65534, gid: 65534 })).toBe('EACCES');
  });
});

describeWith(['root', 'addon kernel'], 'a process of uid 65534 that can open the socket all the same', () => {
  it('is refused by its peer credentials', async () => {
    await world.start({ credentialsOf: peerCredentialsOf });
    for (const [path, mode] of [
      [world.folder, 0o755],
      [dirname(world.path), 0o755],
      [world.path, 0o666],
    ] as const) {
      await chmod(path, mode);
    }
    expect(await dial({ uid: 65534, gid: 65534 })).toContain('user 65534 is no site owner here');
    expect((await (await world.console()).status()).instance).toBe('test');
  });
});

/** What a process of those ids gets from the socket: `open`, an error's code, or the words it is sent. */
async function dial(ids: { readonly uid?: number; readonly gid?: number }): Promise<string> {
  // It becomes that user by itself: another user may not be able to reach this Node at all.
  const become =
    ids.uid === undefined ? '' : `process.setgroups([]); process.setgid(${ids.gid}); process.setuid(${ids.uid});`;
  const script = `${become} require('net').connect(${JSON.stringify(world.path)})
    .on('connect', function () { if (!process.getuid()) { console.log('open'); this.destroy(); } })
    .on('data', (bytes) => console.log(bytes.toString('latin1')))
    .on('error', (error) => console.log(error.code))`;
  const { stdout } = await promisify(execFile)(process.execPath, ['-e', script], { cwd: '/' });
  return stdout.trim();
}

describe('a gateway that goes', () => {
  it('fails the question, and ends the watch with CONNECTION_LOST', async () => {
    const server = await world.start();
    const [asking, watching] = [await world.console(), await world.console()];
    const event = reason(watching.watch().next());
    await settled(() => world.view.watcherCount === 1);
    await server[Symbol.asyncDispose]();
    expect(await event).toBe('CONNECTION_LOST');
    expect(await reason(asking.status())).toBe('CONNECTION_LOST');
    expect(await reason(world.console())).toBe('CONNECTION_LOST');
  });

  it('or hangs: the console does not wait for ever', async () => {
    world.view.status = () => new Promise(() => {});
    await world.start();
    const consoleClock = new ManualClock();
    const client = world.stack.use(await connectControl({ path: world.path, clock: consoleClock, timeoutMs: 500 }));
    const status = reason(client.status());
    await seenByServer();
    consoleClock.advance(500);
    expect(await status).toBe('CONNECTION_LOST');
  });
});
