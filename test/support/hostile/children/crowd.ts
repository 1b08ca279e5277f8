/**
 * The attack: a crowd from thousands of networks at once, with nothing but TCP. Each of `count` connections comes from an
 * address of its own below 10.66.0.0/16, which the host must have. What each does:
 *
 *     silent     connects, and says nothing
 *     half-open  asks for the upgrade, gets it, and says nothing; some come again whenever they are cut
 *     inits      asks for the upgrade, sends a valid ATTEST-INIT, takes the answer, and comes again
 *     drip       sends the upgrade a byte at a time, or after the upgrade a record
 *
 * Prints a line of JSON whenever a hundred more have come to something, and for each end of a drip.
 */
import { connect, type Socket } from 'node:net';
import { initiate } from '../../../../protocol/handshake/index.ts';
import { sleep, systemClock } from '../../../../src/base/clock.ts';
import { loadCryptoProvider } from '../../../../src/base/crypto.ts';

interface Arguments {
  readonly what: 'silent' | 'half-open' | 'inits' | 'drip';
  readonly host: string;
  readonly port: number;
  readonly count: number;
}

const { what, host, port, count }: Arguments = JSON.parse(process.argv[2] ?? '');
const UPGRADE = [
  'GET / HTTP/1.1',
  `Host: ${host}`,
  'Connection: Upgrade',
  'Upgrade: websocket',
  'Sec-WebSocket-Version: 13',
  'Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==',
  'Sec-WebSocket-Protocol: shellstream.v1',
  '\r\n',
].join('\r\n');
/** Attempts at once; more would be the client's own doing that they fail. */
const AT_ONCE = 200;
const AGAIN_MS = 20;
const DRIP_MS = 200;

const crypto = loadCryptoProvider();
const handshake = { crypto, staticKey: crypto.x25519Generate() };
const counts = { connected: 0, upgraded: 0, verified: 0, cut: 0 };
let done = 0;
let next = 0;

function tell(kind: keyof typeof counts): void {
  counts[kind] += 1;
}

function settled(): void {
  done += 1;
  if (done % 100 === 0 || done === count) console.log(JSON.stringify({ done, ...counts }));
}

/** Resolves when it is known what the gateway does with it. */
function visit(): Promise<Socket> {
  next += 1;
  const localAddress = `10.66.${next & 255}.${1 + ((next >> 8) % 250)}`;
  return new Promise((resolve) => {
    const socket = connect({ host, port, localAddress });
    let received = Buffer.alloc(0);
    let isUpgraded = false;
    socket.on('error', () => undefined);
    socket.once('close', () => {
      tell('cut');
      resolve(socket);
    });
    socket.once('connect', () => {
      tell('connected');
      if (what === 'silent') resolve(socket);
      else socket.write(UPGRADE);
    });
    socket.on('data', (chunk) => {
      received = Buffer.concat([received, chunk]);
      if (!isUpgraded && received.includes('\r\n\r\n')) {
        isUpgraded = true;
        received = received.subarray(received.indexOf('\r\n\r\n') + 4);
        tell('upgraded');
        if (what === 'half-open') resolve(socket);
        else socket.write(init());
      }
      // A binary frame whose record is ATTEST-VERIFY: lengths of two bytes.
      if (isUpgraded && received[0] === 0x82 && received[4] === 2) {
        tell('verified');
        resolve(socket);
      }
    });
  });
}

function init(): Buffer {
  const { record } = initiate(handshake, { versions: [1], sessionType: 'operator', mode: 'overlay' });
  return Buffer.concat([Buffer.of(0x82, 0x80 | record.length, 0, 0, 0, 0), record]);
}

async function crowd(): Promise<void> {
  const held: Socket[] = [];
  const one = async (): Promise<void> => {
    while (next < count) {
      const socket = await visit();
      if (what === 'inits') socket.destroy();
      else held.push(socket);
      settled();
    }
  };
  await Promise.all(Array.from({ length: AT_ONCE }, one));
  console.log(`all ${JSON.stringify(counts)}`);
  if (what === 'half-open') await Promise.all(Array.from({ length: AT_ONCE }, comeAgain));
}

async function comeAgain(): Promise<never> {
  for (;;) {
    const socket = await visit();
    if (!socket.destroyed) await new Promise((resolve) => socket.once('close', resolve));
    await sleep(systemClock, AGAIN_MS);
  }
}

async function drip(where: 'upgrade' | 'record'): Promise<void> {
  const socket = connect({ host, port, localAddress: where === 'upgrade' ? '10.66.1.1' : '10.66.2.1' });
  const over = new AbortController();
  socket.on('error', () => undefined);
  socket.once('close', () => over.abort());
  socket.resume();
  if (where === 'record') socket.write(UPGRADE);
  for (const byte of where === 'upgrade' ? Buffer.from(UPGRADE) : init()) {
    await sleep(systemClock, DRIP_MS, over.signal);
    if (over.signal.aborted) return console.log(`cut in the ${where}`);
    socket.write(Buffer.of(byte));
  }
  console.log(`suffered in the ${where}`);
}

if (what === 'drip') await Promise.all([drip('upgrade'), drip('record')]);
else await crowd();
process.stdin.resume();
