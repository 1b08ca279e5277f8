import { once } from 'node:events';
import { connect, createServer } from 'node:net';
import { Duplex } from 'node:stream';
import { text } from 'node:stream/consumers';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { Target } from '../../protocol/capability/model.ts';
import { ShellstreamError } from '../../protocol/errors.ts';
import type { Reason } from '../../protocol/reasons.ts';
import { FakeWorld } from './fixtures.ts';
import type { ConnectedSession, SessionNotice } from './session-port.ts';

const ARGV = [
  ...['connect', '--workload-api', 'unix:///run/agent.sock'],
  ...['--gateway', '[fd00::1]:7843', '--gateway-id', 'spiffe://beta.test/gateway'],
];
const TARGET: Target = { prefix: { address: Uint8Array.of(10, 1, 0, 5), length: 32 }, protocol: 6, port: 443 };

let world: FakeWorld;
let session: FakeSession;

beforeEach(() => {
  world = new FakeWorld();
  session = new FakeSession();
  world.session = async () => session;
});

afterEach(() => world.interruption.abort());

describe('--ping', () => {
  it('opens, says the grant and by whom, and the round trip, and closes', async () => {
    const ran = await world.run(...ARGV, '--ping');
    expect(ran).toEqual({
      code: 0,
      err: '',
      out: [
        'session s-1 as spiffe://alpha.test/operator',
        'granted: overlay, CONNECT, tcp://10.1.0.5:443',
        "level 3, by the gateway's posture; until 2027-01-15T09:00:00.000Z",
        'round trip 1.5 ms',
        '',
      ].join('\n'),
    });
    expect(session.isClosed).toBe(true);
    expect(world.asked).toEqual([
      {
        identity: { kind: 'workload-api', socket: '/run/agent.sock' },
        gateway: { host: 'fd00::1', port: 7843 },
        gatewayId: 'spiffe://beta.test/gateway',
        type: 'operator',
        mode: 'overlay',
        capabilities: ['OBSERVE'],
        targets: [],
        posture: 5,
      },
    ]);
  });

  it('as JSON is one object a line', async () => {
    const { out } = await world.run(...ARGV, '--ping', '--json', '--posture', '4');
    expect(
      out
        .trimEnd()
        .split('\n')
        .map((line) => JSON.parse(line)),
    ).toEqual([
      {
        grant: {
          session: 's-1',
          spiffeId: 'spiffe://alpha.test/operator',
          mode: 'overlay',
          capabilities: ['CONNECT'],
          targets: ['tcp://10.1.0.5:443'],
          effectiveLevel: 3,
          governedBy: 'peer',
          expiresAtMs: 1_800_003_600_000,
        },
      },
      { roundTripMs: 1.5 },
    ]);
    expect(world.asked).toMatchObject([{ posture: 4 }]);
  });

  it('of a gateway that refuses is exit code 1 with its reason, in JSON too', async () => {
    world.session = () => Promise.reject(new ShellstreamError('POSTURE_ISOLATED'));
    const ran = await world.run(...ARGV, '--ping', '--json');
    expect({ ...ran, err: JSON.parse(ran.err) }).toEqual({
      code: 1,
      out: '',
      err: { error: 'POSTURE_ISOLATED', detail: 'posture level 1: nothing remote' },
    });
  });

  it('asks for exactly the capabilities named, each once', async () => {
    await world.run(...ARGV, '--ping', '--capability', 'CONNECT', '--capability', 'SHELL', '--capability', 'SHELL');
    expect(world.asked).toMatchObject([{ capabilities: ['CONNECT', 'SHELL'] }]);
  });

  it('takes its identity from SPIFFE_ENDPOINT_SOCKET where no option names one', async () => {
    world.environment.SPIFFE_ENDPOINT_SOCKET = 'unix:///run/spire.sock';
    await world.run('connect', ...ARGV.slice(3), '--ping');
    await world.run('connect', ...ARGV.slice(3), '--ping', '--config', '/etc/x.yaml');
    expect(world.asked).toMatchObject([
      { identity: { kind: 'workload-api', socket: '/run/spire.sock' } },
      { identity: { kind: 'config', path: '/etc/x.yaml' } },
    ]);
  });
});

describe('the forward', () => {
  it('carries each connection as a stream to the one target, both ways, with half-closes', async () => {
    const { running, port } = await forwarding();
    const [one, two] = [connect(port, '127.0.0.1'), connect(port, '127.0.0.1')];
    one.end('first');
    two.end('second');
    expect(await Promise.all([text(one), text(two)])).toEqual(['echo: first', 'echo: second']);
    expect(session.opened).toEqual([TARGET, TARGET]);

    world.interruption.abort();
    expect(await running).toMatchObject({ code: 0, err: '' });
    expect(session.isClosed).toBe(true);
  });

  it('a target that speaks first is heard', async () => {
    session.greeting = 'SSH-2.0\r\n';
    const { port } = await forwarding();
    const socket = connect(port, '127.0.0.1');
    const [greeting] = await once(socket, 'data');
    expect(String(greeting)).toBe('SSH-2.0\r\n');
    socket.destroy();
  });

  it('a stream that is refused resets that connection only, and the operator reads why', async () => {
    const { port } = await forwarding();
    session.refuseNext = 'TARGET_NOT_ALLOWED';
    const refused = connect(port, '127.0.0.1');
    const [error] = await once(refused, 'error').catch((error: unknown) => [error]);
    expect(error).toMatchObject({ code: 'ECONNRESET' });
    await world.err.until(/a connection was not carried: TARGET_NOT_ALLOWED/);

    const taken = connect(port, '127.0.0.1');
    taken.end('still');
    expect(await text(taken)).toBe('echo: still');
  });

  it('a stream that breaks is a reset, never the clean end of a cut answer', async () => {
    const { port } = await forwarding();
    const socket = connect(port, '127.0.0.1');
    socket.write('x');
    await session.streamOpened();
    session.streams.at(-1)?.destroy(new ShellstreamError('POSTURE_END'));
    const [error] = await once(socket, 'error').catch((error: unknown) => [error]);
    expect(error).toMatchObject({ code: 'ECONNRESET' });
  });

  it('says posture and drain as they come, and ends with the session, with its reason', async () => {
    const { running } = await forwarding();
    session.notify({ kind: 'level', effectiveLevel: 2, governedBy: 'local' });
    session.notify({ kind: 'draining', reason: 'POSTURE_DRAIN', deadlineMs: 4_000 });
    session.end({ reason: 'POSTURE_END', byPeer: true });
    const ran = await running;
    expect(ran).toMatchObject({ code: 1, err: 'shellstream: POSTURE_END: the gateway ended the session\n' });
    expect(ran.out).toContain(
      "level 2, by this side's posture\ndraining: POSTURE_DRAIN; the session ends within 4000 ms\n",
    );
  });

  it('takes local connections with it when the session ends', async () => {
    const { running, port } = await forwarding();
    const socket = connect(port, '127.0.0.1');
    socket.on('error', () => {});
    await session.streamOpened();
    session.end({ reason: 'EXPIRED', byPeer: false });
    await once(socket, 'close');
    expect(await running).toMatchObject({ code: 1 });
  });

  it('of a port that is taken is exit code 1, and the session is closed', async () => {
    const other = createServer().listen(0, '127.0.0.1');
    await once(other, 'listening');
    const address = other.address();
    const port = typeof address === 'object' ? address?.port : 0;
    const ran = await world.run(...ARGV, '--target', 'tcp://10.1.0.5:443', '--listen', `127.0.0.1:${port}`);
    other.close();
    expect(ran).toMatchObject({ code: 1, err: expect.stringContaining(`cannot listen on 127.0.0.1 port ${port}`) });
    expect(session.isClosed).toBe(true);
  });
});

async function forwarding() {
  const running = world.run(...ARGV, '--target', 'tcp://10.1.0.5:443');
  const [, port] = await world.out.until(/listening on 127\.0\.0\.1:(\d+)\n/);
  return { running, port: Number(port) };
}

/** A session whose far end answers each stream with what it said, once it has said everything. */
class FakeSession implements ConnectedSession {
  readonly id = 's-1';
  readonly spiffeId = 'spiffe://alpha.test/operator';
  readonly mode = 'overlay';
  readonly capabilities = ['CONNECT'] as const;
  readonly targets = [TARGET];
  readonly effectiveLevel = 3;
  readonly governedBy = 'peer';
  readonly expiresAtMs = 1_800_003_600_000;
  readonly ended: ConnectedSession['ended'];
  readonly end: (end: Awaited<ConnectedSession['ended']>) => void;
  readonly opened: Target[] = [];
  readonly streams: Duplex[] = [];
  refuseNext: Reason | undefined;
  greeting = '';
  isClosed = false;
  readonly #listeners = new Set<(notice: SessionNotice) => void>();
  readonly #firstStream = Promise.withResolvers<void>();

  constructor() {
    const { promise, resolve } = Promise.withResolvers<Awaited<ConnectedSession['ended']>>();
    this.ended = promise;
    this.end = resolve;
  }

  async ping(): Promise<number> {
    return 1.5;
  }

  async openStream(target: Target): Promise<Duplex> {
    const reason = this.refuseNext;
    this.refuseNext = undefined;
    if (reason !== undefined) throw new ShellstreamError(reason);
    this.opened.push(target);
    const stream = echo(this.greeting);
    this.streams.push(stream);
    this.#firstStream.resolve();
    return stream;
  }

  streamOpened(): Promise<void> {
    return this.#firstStream.promise;
  }

  onNotice(listener: (notice: SessionNotice) => void): Disposable {
    this.#listeners.add(listener);
    return { [Symbol.dispose]: () => void this.#listeners.delete(listener) };
  }

  notify(notice: SessionNotice): void {
    for (const listener of this.#listeners) listener(notice);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.isClosed = true;
  }
}

function echo(greeting: string): Duplex {
  let said = '';
  const stream = new Duplex({
    read() {},
    write(bytes, _encoding, done) {
      said += bytes;
      done();
    },
    final(done) {
      stream.push(`echo: ${said}`);
      stream.push(null);
      done();
    },
  });
  if (greeting !== '') stream.push(greeting);
  return stream;
}
