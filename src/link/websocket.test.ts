/** Attacks on the listener, with sockets that speak as they like. */
import { createHash, randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { connect, createServer, Socket } from 'node:net';
import { afterEach, describe, expect, it, vi } from 'vitest';
import { reasonOf } from '../../protocol/errors.ts';
import { eventually } from '../../test/support/eventually.ts';
import { type Link, MAX_RECORD_BYTES, type Visit } from './link.ts';
import { dialWebSocket } from './websocket-client.ts';
import { listenWebSocket, type WebSocketListener, type WebSocketListenOptions } from './websocket-server.ts';

const cleanups: (() => unknown)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

const GOOD = [
  'GET / HTTP/1.1',
  'Host: gateway',
  'Connection: Upgrade',
  'Upgrade: websocket',
  'Sec-WebSocket-Version: 13',
  `Sec-WebSocket-Key: ${randomBytes(16).toString('base64')}`,
  'Sec-WebSocket-Protocol: shellstream.v1',
];

describe('an upgrade is answered', () => {
  it.each(['/', '/shellstream'])('on path %s', async (path) => {
    const { listener } = await listen();
    const { head } = await ask(listener, [`GET ${path} HTTP/1.1`, ...GOOD.slice(1)]);
    expect(head).toMatch(/^HTTP\/1\.1 101 /);
    expect(head).toContain('Sec-WebSocket-Protocol: shellstream.v1');
  });

  it('without compression, whatever is offered: it leaks secrets by their length and expands bombs', async () => {
    const { listener } = await listen();
    const { head } = await ask(listener, [...GOOD, 'Sec-WebSocket-Extensions: permessage-deflate']);
    expect(head).toMatch(/^HTTP\/1\.1 101 /);
    expect(head.toLowerCase()).not.toContain('extensions');
  });
});

describe('an upgrade is refused', () => {
  const without = (name: string): string[] => GOOD.filter((line) => !line.startsWith(name));
  it.each<readonly [string, readonly string[], string]>([
    ['without the subprotocol', without('Sec-WebSocket-Protocol'), '400'],
    [
      'with another subprotocol',
      [...without('Sec-WebSocket-Protocol'), 'Sec-WebSocket-Protocol: shellstream.v2'],
      '400',
    ],
    ['on another path', ['GET /admin HTTP/1.1', ...GOOD.slice(1)], '404'],
    ['on a path with a query', ['GET /?token=x HTTP/1.1', ...GOOD.slice(1)], '404'],
    ['on a path that climbs', ['GET /shellstream/../ HTTP/1.1', ...GOOD.slice(1)], '404'],
    ['by POST', ['POST / HTTP/1.1', ...GOOD.slice(1)], 'silence'],
    ['without a key', without('Sec-WebSocket-Key'), 'silence'],
    ['of another WebSocket version', [...without('Sec-WebSocket-Version'), 'Sec-WebSocket-Version: 7'], 'silence'],
    ['as plain HTTP', ['GET / HTTP/1.1', 'Host: gateway'], '426'],
  ])('%s', async (_name, lines, status) => {
    const { listener, links } = await listen();
    const { head, closed } = await ask(listener, lines);
    await closed;
    expect(head.split(' ')[1] ?? 'silence').toBe(status);
    expect(links).toHaveLength(0);
  });

  it('without a word to whom admission refuses, before anything is answered', async () => {
    const asked: string[] = [];
    const { listener, links } = await listen({
      admit: (address) => {
        asked.push(address);
        return false;
      },
    });
    const { head, closed } = await ask(listener, GOOD);
    await closed;
    expect([head, asked, links]).toEqual(['', ['127.0.0.1'], []]);
  });

  it('with headers over 8 KiB', async () => {
    const { listener, links } = await listen();
    const { closed } = await ask(listener, [...GOOD, `X-Big: ${'y'.repeat(9_000)}`]);
    await closed;
    expect(links).toHaveLength(0);
  });

  it('to a stranger that connects and says nothing (slowloris)', async () => {
    const { listener } = await listen({ upgradeTimeoutMs: 50 });
    await once(raw(listener), 'close');
  });

  it('to a stranger that drips its headers (slowloris)', async () => {
    const { listener } = await listen({ upgradeTimeoutMs: 50 });
    const socket = raw(listener);
    socket.write('GET / HTTP/1.1\r\nHost: ');
    // With an error, where they were not read in time.
    await new Promise((resolve) => socket.once('close', resolve));
  });

  it('to a stranger for whom there is no place, before a byte is read; it is told who asked, and who went', async () => {
    let free = 1;
    const met: string[] = [];
    const meet = (): Visit | undefined => {
      if (free === 0) return undefined;
      free -= 1;
      return {
        asked: () => {
          met.push('asked');
          free += 1;
        },
        [Symbol.dispose]: () => {
          if (met.push('went') === 1) free += 1;
        },
      };
    };
    const { listener } = await listen({ meet });
    const first = raw(listener);
    await once(first, 'connect');
    await once(raw(listener), 'close');
    first.end();
    await eventually('the listener without connections', () => listener.connections === 0);
    expect((await ask(listener, GOOD)).head).toMatch(/ 101 /);
    expect((await ask(listener, GOOD)).head).toMatch(/ 101 /);
    expect([free, met]).toEqual([1, ['went', 'asked', 'asked']]);
  });

  it('to the one connection too many', async () => {
    const { listener } = await listen({ maxConnections: 1 });
    const { head } = await ask(listener, GOOD);
    expect(head).toMatch(/ 101 /);
    await once(raw(listener), 'close');
    expect(listener.connections).toBe(1);
  });
});

describe('a peer after the upgrade', () => {
  it('that sends a record over the limit is cut before the record is read', async () => {
    const { ended, socket } = await upgraded();
    socket.write(frame(2, { declared: MAX_RECORD_BYTES + 1, bytes: new Uint8Array(10) }));
    expect(await ended).toBe('MALFORMED');
  });

  it('that declares 2^63 bytes is cut', async () => {
    const { ended, socket } = await upgraded();
    socket.write(Uint8Array.of(0x82, 0xff, 0x80, 0, 0, 0, 0, 0, 0, 0, 1, 2, 3, 4));
    expect(await ended).toBe('MALFORMED');
  });

  it('that sends fragments which together pass the limit is cut', async () => {
    const { ended, socket } = await upgraded();
    socket.write(frame(2, { bytes: new Uint8Array(40_000), isLast: false }));
    socket.write(frame(0, { bytes: new Uint8Array(40_000), isLast: true }));
    expect(await ended).toBe('MALFORMED');
  });

  it('that sends a record in a thousand slivers is cut', async () => {
    const { ended, socket } = await upgraded();
    socket.write(frame(2, { bytes: new Uint8Array(1), isLast: false }));
    for (let i = 0; i < 1_000; i++) socket.write(frame(0, { bytes: new Uint8Array(1), isLast: false }));
    expect(await ended).toBe('MALFORMED');
  });

  it.each<readonly [string, Uint8Array]>([
    ['a text frame', frame(1, { bytes: new TextEncoder().encode('hello') })],
    ['an empty record', frame(2, { bytes: new Uint8Array(0) })],
    ['a compressed frame, which was not agreed', frame(2, { bytes: new Uint8Array(4), reserved: 0x40 })],
    ['a frame without a mask', Uint8Array.of(0x82, 1, 7)],
    ['an unknown opcode', frame(3, { bytes: new Uint8Array(1) })],
    ['a ping of 200 bytes', frame(9, { bytes: new Uint8Array(200) })],
  ])('that sends %s is cut', async (_name, bytes) => {
    const { ended, socket } = await upgraded();
    socket.write(bytes);
    expect(await ended).toBe('MALFORMED');
  });

  it('that breaks off inside a record is told as a lost connection', async () => {
    const { ended, socket, records } = await upgraded();
    socket.end(frame(2, { declared: 1_000, bytes: new Uint8Array(10) }));
    expect(await ended).toBe('CONNECTION_LOST');
    expect(records).toEqual([]);
  });

  it('that resets the connection is told as a lost connection', async () => {
    const { ended, socket } = await upgraded();
    socket.resetAndDestroy();
    expect(await ended).toBe('CONNECTION_LOST');
  });

  it('that sends records in the packet of its upgrade is heard', async () => {
    const { listener, links } = await listen();
    const socket = raw(listener);
    socket.write(
      Buffer.concat([Buffer.from(`${GOOD.join('\r\n')}\r\n\r\n`), frame(2, { bytes: Uint8Array.of(1, 2) })]),
    );
    await once(socket, 'data');
    const link = links[0];
    const record = new Promise((resolve) => link?.onRecord(resolve));
    expect(await record).toEqual(Uint8Array.of(1, 2));
  });

  it('that is told records and the end together hears them in one piece, which cost one call of the kernel', async () => {
    const { link, socket } = await upgraded();
    const heard = once(socket, 'data');
    const writes = ['_write', '_writev'] as const;
    const [one, many] = writes.map((name) => vi.spyOn(Socket.prototype, name));
    cleanups.push(() => vi.restoreAllMocks());
    link.together(() => {
      for (const byte of [1, 2]) link.send(Uint8Array.of(byte));
      link.close();
    });
    const [piece] = (await heard) as [Buffer];
    expect([...piece]).toEqual([0x82, 1, 1, 0x82, 1, 2, 0x88, 2, 0x03, 0xe8]);
    expect(one).not.toHaveBeenCalled();
    expect(many).toHaveBeenCalledOnce();
  });

  it('that floods pings and reads no answer is cut', async () => {
    const { ended, socket } = await upgraded();
    socket.pause();
    const ping = frame(9, { bytes: new Uint8Array(100) });
    socket.write(Buffer.concat(Array.from({ length: 5_000 }, () => ping)));
    expect(await ended).toBe('CONNECTION_LOST');
  });

  it('does not outlive the listener', async () => {
    const { listener, socket, ended } = await upgraded();
    const closed = once(socket, 'close');
    await listener[Symbol.asyncDispose]();
    await closed;
    expect(await ended).toBe('CLOSED');
  });
});

describe('dialling', () => {
  it('fails when nobody listens', async () => {
    const { listener } = await listen();
    await listener[Symbol.asyncDispose]();
    expect(await refusal(dialWebSocket(`ws://127.0.0.1:${listener.port}/`, { timeoutMs: 5_000 }))).toBe(
      'CONNECTION_LOST',
    );
  });

  it('fails when the answer does not speak shellstream.v1', async () => {
    const port = await impostor((socket) => socket.write(upgradeAnswer(socket, [])));
    expect(await refusal(dialWebSocket(`ws://127.0.0.1:${port}/`, { timeoutMs: 5_000 }))).toBe('CONNECTION_LOST');
  });

  it('does not follow a redirect to a host that nobody configured', async () => {
    const { listener, links } = await listen();
    const port = await impostor((socket) =>
      socket.end(`HTTP/1.1 302 Found\r\nLocation: ws://127.0.0.1:${listener.port}/\r\nContent-Length: 0\r\n\r\n`),
    );
    expect(await refusal(dialWebSocket(`ws://127.0.0.1:${port}/`, { timeoutMs: 5_000 }))).toBe('CONNECTION_LOST');
    expect(links).toEqual([]);
  });

  it('ends at its timeout when the answer drips', async () => {
    const port = await impostor((socket) => socket.write('HTTP/1.1 101 Switch'));
    expect(await refusal(dialWebSocket(`ws://127.0.0.1:${port}/`, { timeoutMs: 50 }))).toBe('CONNECTION_LOST');
  });

  it('ends when it is aborted, before and during', async () => {
    const connected = Promise.withResolvers<Socket>();
    const port = await impostor(connected.resolve);
    const controller = new AbortController();
    const dialled = refusal(dialWebSocket(`ws://127.0.0.1:${port}/`, { timeoutMs: 60_000, signal: controller.signal }));
    await connected.promise;
    controller.abort();
    expect(await dialled).toBe('CONNECTION_LOST');
    const again = dialWebSocket(`ws://127.0.0.1:${port}/`, { timeoutMs: 60_000, signal: controller.signal });
    expect(await refusal(again)).toBe('CONNECTION_LOST');
  });

  it.each(['http://127.0.0.1:1/', 'file:///etc/passwd', 'gateway'])('takes no %s', async (url) => {
    expect(await refusal(dialWebSocket(url, { timeoutMs: 5_000 }))).toBe('CONNECTION_LOST');
  });
});

async function listen(
  overrides: Partial<WebSocketListenOptions> = {},
): Promise<{ listener: WebSocketListener; links: Link[] }> {
  const links: Link[] = [];
  const accept = (link: Link): void => void links.push(link);
  const listener = await listenWebSocket({ address: '127.0.0.1', port: 0, accept, admit: () => true, ...overrides });
  cleanups.push(async () => listener[Symbol.asyncDispose]());
  return { listener, links };
}

function raw(listener: WebSocketListener): Socket {
  const socket = connect(listener.port, '127.0.0.1');
  socket.on('error', () => {});
  socket.resume();
  cleanups.push(() => socket.destroy());
  return socket;
}

/** Sends a request and gives what comes first, up to the end of its headers, or to the end of the connection. */
async function ask(listener: WebSocketListener, lines: readonly string[]) {
  const socket = raw(listener);
  const closed = new Promise<void>((resolve) => socket.once('close', () => resolve()));
  let head = '';
  const answered = new Promise<void>((resolve) => {
    socket.on('data', (chunk: Buffer) => {
      head += chunk.toString('latin1');
      if (head.includes('\r\n\r\n')) resolve();
    });
  });
  socket.write(`${lines.join('\r\n')}\r\n\r\n`);
  await Promise.race([answered, closed]);
  return { head, socket, closed };
}

async function upgraded() {
  const { listener, links } = await listen();
  const { socket } = await ask(listener, GOOD);
  const link = links[0];
  if (link === undefined) throw new Error('no link');
  const records: Uint8Array[] = [];
  link.onRecord((record) => records.push(record));
  const ended = new Promise<string>((resolve) => link.onClose(resolve));
  return { listener, link, socket, records, ended };
}

/** A client's frame as RFC 6455 §5.2 lays it out, truthful or not. */
function frame(
  opcode: number,
  options: { bytes: Uint8Array; declared?: number; isLast?: boolean; reserved?: number },
): Uint8Array {
  const { bytes, declared = bytes.length, isLast = true, reserved = 0 } = options;
  const first = (isLast ? 0x80 : 0) | reserved | opcode;
  const header = declared < 126 ? [first, 0x80 | declared] : [first, 0xff, 0, 0, 0, 0, ...u32(declared)];
  return Uint8Array.of(...header, 0, 0, 0, 0, ...bytes);
}

function u32(value: number): number[] {
  return [value >>> 24, (value >>> 16) & 0xff, (value >>> 8) & 0xff, value & 0xff];
}

/** A server that answers the first bytes of each connection as the test likes. */
async function impostor(answer: (socket: Socket) => void): Promise<number> {
  const server = createServer((socket) => {
    cleanups.push(() => socket.destroy());
    socket.on('error', () => {});
    socket.once('data', (chunk: Buffer) => {
      keys.set(socket, /Sec-WebSocket-Key: (\S+)/i.exec(chunk.toString('latin1'))?.[1] ?? '');
      answer(socket);
    });
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  cleanups.push(() => void server.close());
  const address = server.address();
  if (address === null || typeof address === 'string') throw new Error('no port');
  return address.port;
}

const keys = new WeakMap<Socket, string>();

function upgradeAnswer(socket: Socket, more: readonly string[]): string {
  const accept = createHash('sha1')
    .update(`${keys.get(socket)}258EAFA5-E914-47DA-95CA-C5AB0DC85B11`)
    .digest('base64');
  const head = ['HTTP/1.1 101 Switching Protocols', 'Upgrade: websocket', 'Connection: Upgrade'];
  return `${[...head, `Sec-WebSocket-Accept: ${accept}`, ...more].join('\r\n')}\r\n\r\n`;
}

async function refusal(promise: Promise<Link>): Promise<string> {
  try {
    (await promise).close();
    return 'connected';
  } catch (error) {
    return reasonOf(error);
  }
}
