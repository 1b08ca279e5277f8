/**
 * Traffic that is compared with itself. `bulk.ts tcp HOST PORT BYTES` sends random bytes to an echo and says `intact` when
 * the same came back; `bulk.ts udp HOST PORT` the same with datagrams of many sizes, each until it came back;
 * `bulk.ts udp-echo HOST PORT` is what answers those.
 */
import { createHash, randomBytes } from 'node:crypto';
import { createSocket, type Socket } from 'node:dgram';
import { connect } from 'node:net';
import { systemClock } from '../../../src/base/clock.ts';

const [verb, host = '', port = '', bytes = ''] = process.argv.slice(2);
const kind = host.includes(':') ? 'udp6' : 'udp4';
const CHUNK = 64 * 1024;
/** The last ones are fragmented. */
const SIZES = [0, 1, 7, 512, 1200, 1371, 1372, 1373, 1392, 1393, 2800, 9000];
const AGAIN_AFTER_MS = 300;

if (verb === 'tcp') await tcp(Number(bytes));
else if (verb === 'udp') await udp();
else echo();

async function tcp(total: number): Promise<void> {
  const [sent, received] = [createHash('sha256'), createHash('sha256')];
  const socket = connect({ host, port: Number(port) });
  let [left, missing] = [total, total];
  const fill = (): void => {
    while (left > 0) {
      const chunk = randomBytes(Math.min(left, CHUNK));
      left -= chunk.length;
      sent.update(chunk);
      if (!socket.write(chunk)) return;
    }
  };
  socket.on('connect', fill).on('drain', fill);
  for await (const chunk of socket) {
    received.update(chunk);
    missing -= chunk.length;
    if (missing <= 0) break;
  }
  console.log(missing === 0 && sent.digest('hex') === received.digest('hex') ? 'intact' : 'differs');
}

async function udp(): Promise<void> {
  const socket = createSocket(kind);
  socket.connect(Number(port), host);
  await new Promise((resolve) => socket.once('connect', resolve));
  for (const size of SIZES) {
    const datagram = randomBytes(size);
    const back = await answer(socket, datagram);
    if (!back.equals(datagram)) {
      console.log(`differs at ${size} bytes`);
      process.exit(1);
    }
  }
  socket.close();
  console.log('intact');
}

/** UDP may lose one, the first of all for certain: it waits for the handshake. */
async function answer(socket: Socket, datagram: Buffer): Promise<Buffer> {
  let again = systemClock.after(0, send);
  function send(): void {
    socket.send(datagram);
    again = systemClock.after(AGAIN_AFTER_MS, send);
  }
  const late = (message: Buffer): boolean => message.length !== datagram.length;
  try {
    for (;;) {
      const message = await new Promise<Buffer>((resolve) => socket.once('message', resolve));
      if (!late(message)) return message;
    }
  } finally {
    again.cancel();
  }
}

function echo(): void {
  const socket = createSocket(kind);
  socket.on('message', (message, from) => socket.send(message, from.port, from.address));
  socket.bind(Number(port), host, () => console.log('listening'));
}
