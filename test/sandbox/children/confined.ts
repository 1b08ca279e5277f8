/**
 * A process like a terminator that confined itself. `confined.ts ready`, or `returning` for one that may come back to a unix
 * socket, says `ready` and its port when it has; then each line
 * of stdin names something to try, and is answered with the name and what came of it, as JSON. `confined.ts unprepared` tries
 * to enter without the step before.
 */
import { spawn } from 'node:child_process';
import { randomBytes, scrypt } from 'node:crypto';
import { createSocket } from 'node:dgram';
import { once } from 'node:events';
import { openSync, readdirSync, readFileSync, readlinkSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { createRequire } from 'node:module';
import { connect } from 'node:net';
import { createInterface } from 'node:readline';
import { promisify } from 'node:util';
import { WebSocketServer } from 'ws';
import type * as Kernel from '../../../native/kernel/kernel.d.ts';
import { sleep, systemClock } from '../../../src/base/clock.ts';
import { loadNativeCrypto } from '../../../src/base/crypto-native.ts';
import { enterSandbox, prepareSandbox } from '../../../src/base/sandbox.ts';

const [verb, targetPort = '', unixPath = ''] = process.argv.slice(2);

if (verb === 'unprepared') {
  const rings = readdirSync('/proc/self/fd').map((fd) => linkOf(`/proc/self/fd/${fd}`));
  const hasRing = rings.includes('anon_inode:[io_uring]');
  console.log(JSON.stringify({ hasRing, entered: await outcome(enterSandbox) }));
  process.exit(0);
}

prepareSandbox();

const crypto = loadNativeCrypto();
// An attacker brings his own code for system calls that Node cannot make. This is code that makes them.
const kernel: typeof Kernel = createRequire(import.meta.url)('../../../native/kernel/kernel.node');
const web = createServer((_, response) => response.end('over HTTP'));
new WebSocketServer({ server: web }).on('connection', (socket) => {
  socket.on('message', (message) => socket.send(message));
});
web.listen({ port: 0, host: '127.0.0.1', reusePort: true });
await once(web, 'listening');
const port = Number(/"port":(\d+)/.exec(JSON.stringify(web.address()))?.[1]);
const commands = createInterface(process.stdin);

// More threads than are ever idle, some of them made after.
await promisify(scrypt)('warm', randomBytes(8), 16);
enterSandbox({ unixSockets: verb === 'returning' });
console.log(`ready ${port}`);

const TRIES: Record<string, () => unknown> = {
  timers: () => sleep(systemClock, 1).then(() => 'ticked'),
  'the crypto addon': () => {
    const [mine, yours] = [crypto.x25519Generate(), crypto.x25519Generate()];
    const secrets = [mine.dh(yours.publicKey), yours.dh(mine.publicKey)];
    return secrets.every((secret) => secret !== undefined && secret.join() === secrets[0]?.join());
  },
  'the pool of threads': async () => {
    const keys = Array.from({ length: 8 }, () => promisify(scrypt)('key', randomBytes(8), 32));
    return (await Promise.all(keys)).length;
  },
  'memory that comes and goes': () => {
    let kept: number[][] = [];
    for (let round = 0; round < 400; round++) {
      kept.push(new Array<number>(100_000).fill(round));
      if (kept.length > 40) kept = [];
    }
    return 'collected';
  },
  'a connection': () => received(connect(Number(targetPort), '127.0.0.1')),
  'a connection by IPv6': () => received(connect(Number(targetPort), '::1')),
  'a stack': () => new Error('with a stack').stack?.includes('confined.ts'),
  'standard error': () => process.stderr.write('to standard error\n'),

  'reading secrets': () => readFileSync('/etc/shadow'),
  'reading itself': () => readFileSync('/proc/self/environ'),
  'writing a file': () => writeFileSync(`${unixPath}.written`, ''),
  'the memory of its parent': () => openSync(`/proc/${process.ppid}/mem`, 'r+'),
  'listing processes': () => readdirSync('/proc'),
  'starting a program': () => once(spawn('/bin/true'), 'spawn'),
  'a unix socket': () => received(connect(unixPath)),
  'a unix socket of others': () => received(connect(`${unixPath}.closed`)),
  'a datagram': async () => {
    const socket = createSocket('udp4');
    socket.bind(0);
    await once(socket, 'listening');
  },
  'another listener': async () => {
    const server = createServer().listen(0, '127.0.0.1');
    await once(server, 'listening');
  },
  'a name': () => received(connect(Number(targetPort), 'localhost')),
  'a signal to its parent': () => process.kill(process.ppid, 0),
  netlink: () => new kernel.RouteNetlink().links(),
  'a TUN device': () => kernel.EmbeddedTunnel.open('shs-never', randomBytes(32), 0, 1420),
  'a link': () => kernel.KernelTunnel.open('shs-never', randomBytes(32), 0, 1420),
};

for await (const name of commands) {
  console.log(`${name}: ${JSON.stringify(await outcome(TRIES[name] ?? (() => 'no such try')))}`);
}

async function outcome(body: () => unknown): Promise<unknown> {
  try {
    return { is: (await body()) ?? 'done' };
  } catch (error) {
    if (!(error instanceof Error)) return { failed: String(error) };
    return { failed: 'code' in error && error.code !== 'GenericFailure' ? error.code : error.message };
  }
}

async function received(socket: ReturnType<typeof connect>): Promise<string> {
  try {
    const [chunk] = await once(socket, 'data');
    return String(chunk);
  } finally {
    socket.destroy();
  }
}

function linkOf(path: string): string {
  try {
    return readlinkSync(path);
  } catch {
    return '';
  }
}
