import { once } from 'node:events';
import { chmodSync, existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { type AddressInfo, createServer, type Server } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { WebSocket } from 'ws';
import { type Running, run, start } from '../support/processes.ts';
import { describeWith, needs } from '../support/requirements.ts';

const CHILD = fileURLToPath(new URL('./children/confined.ts', import.meta.url));

describeWith(['addon crypto', 'addon kernel', 'addon sandbox'], 'a process that confined itself', () => {
  const folder = mkdtempSync(join(tmpdir(), 'shellstream-sandbox-'));
  const servers: Server[] = [];
  let confined: Running;
  let port = 0;

  beforeAll(async () => {
    const greeting = createServer((socket) => socket.end('hello'));
    const local = createServer((socket) => socket.end('hello'));
    servers.push(greeting, local);
    // Dual stack: reached by 127.0.0.1 and by ::1.
    await once(greeting.listen(0, '::'), 'listening');
    await once(local.listen(join(folder, 'socket')), 'listening');
    const target = String((greeting.address() as AddressInfo).port);
    confined = start(process.execPath, [CHILD, 'ready', target, join(folder, 'socket')]);
    port = Number((await confined.line(/^ready /)).split(' ')[1]);
  });

  afterAll(async () => {
    await confined[Symbol.asyncDispose]();
    for (const server of servers) server.close();
    rmSync(folder, { recursive: true });
  });

  async function tried(name: string): Promise<unknown> {
    confined.write(`${name}\n`);
    return JSON.parse((await confined.line(new RegExp(`^${name}: `))).slice(name.length + 2));
  }

  test.each([
    ['timers', 'ticked'],
    ['the crypto addon', true],
    ['the pool of threads', 8],
    ['memory that comes and goes', 'collected'],
    ['a connection', 'hello'],
    ['a connection by IPv6', 'hello'],
    ['a stack', true],
    ['standard error', true],
  ])('still has %s', async (name, is) => {
    expect(await tried(name)).toEqual({ is });
  });

  test('still answers HTTP, and strangers by WebSocket', async () => {
    expect(await (await fetch(`http://127.0.0.1:${port}/`)).text()).toBe('over HTTP');
    const socket = new WebSocket(`ws://127.0.0.1:${port}`);
    await once(socket, 'open');
    socket.send('there and back');
    expect(String((await once(socket, 'message'))[0])).toBe('there and back');
    socket.close();
    await once(socket, 'close');
  });

  test.each([
    ['reading secrets', 'EPERM'],
    ['reading itself', 'EPERM'],
    ['writing a file', 'EPERM'],
    ['the memory of its parent', 'EPERM'],
    ['listing processes', 'EPERM'],
    ['starting a program', 'EPERM'],
    ['a unix socket', 'EPERM'],
    ['a datagram', 'EPERM'],
    ['another listener', 'EPERM'],
    ['a signal to its parent', 'EPERM'],
  ])('taken over, gets no further by %s', async (name, failed) => {
    expect(await tried(name)).toEqual({ failed });
  });

  test.each(['netlink', 'a TUN device', 'a link'])('taken over, gets no %s', async (name) => {
    expect(await tried(name)).toEqual({ failed: expect.stringMatching(/not permitted/) });
  });

  test('taken over, resolves no names', async () => {
    expect(await tried('a name')).toEqual({ failed: expect.stringMatching(/^E/) });
  });

  test('after all that it lives, and wrote nothing', async () => {
    expect(await tried('timers')).toEqual({ is: 'ticked' });
    expect(existsSync(join(folder, 'socket.written'))).toBe(false);
  });

  test('each of its threads is under the filter and has no capability, also where root started it', (context) => {
    needs(context, 'root');
    const threads = readdirSync(`/proc/${confined.pid}/task`);
    expect(threads.length).toBeGreaterThan(4);
    for (const thread of threads) {
      const status = readFileSync(`/proc/${confined.pid}/task/${thread}/status`, 'utf8');
      const field = (name: string): string | undefined => new RegExp(`^${name}:\\s*(\\S+)$`, 'm').exec(status)?.[1];
      expect([field('Seccomp'), field('NoNewPrivs')]).toEqual(['2', '1']);
      for (const set of ['CapInh', 'CapPrm', 'CapEff', 'CapBnd', 'CapAmb']) expect(field(set)).toBe('0'.repeat(16));
    }
  });

  test('that may come back to a unix socket reaches one that lets it, no other one, and nothing else', async () => {
    const closed = createServer((socket) => socket.end('hello'));
    servers.push(closed);
    await once(closed.listen(join(folder, 'socket.closed')), 'listening');
    chmodSync(join(folder, 'socket.closed'), 0);
    await using returning = start(process.execPath, [CHILD, 'returning', '1', join(folder, 'socket')]);
    await returning.line(/^ready /);
    const outcomes: unknown[] = [];
    const names = ['a unix socket', 'a unix socket of others', 'a datagram', 'reading secrets', 'another listener'];
    for (const name of names) {
      returning.write(`${name}\n`);
      outcomes.push(JSON.parse((await returning.line(new RegExp(`^${name}: `))).slice(name.length + 2)));
    }
    expect(outcomes).toEqual([
      { is: 'hello' },
      { failed: 'EACCES' },
      { failed: 'EPERM' },
      { failed: 'EPERM' },
      { failed: 'EPERM' },
    ]);
  });

  test('is not entered with a ring open, by which every call would go past the filter', async () => {
    const { hasRing, entered } = JSON.parse((await run(process.execPath, [CHILD, 'unprepared'])).stdout);
    expect(entered).toEqual(hasRing ? { failed: expect.stringMatching(/io_uring/) } : { is: 'done' });
  });
});
