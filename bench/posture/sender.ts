/** Sends numbered UDP packets as fast as one event loop turns: `start`, `stop`, and `time N` asks when packet N left. */
import { createSocket } from 'node:dgram';
import { createInterface } from 'node:readline';

const REMEMBERED = 1 << 20;

const [host = '', port = ''] = process.argv.slice(2);
const socket = createSocket('udp4');
const sentAt = new BigInt64Array(REMEMBERED);
const packet = Buffer.alloc(8);
let sequence = 0;
let isRunning = false;

// A packet that the filter drops on its way out may come back as an error of the socket: that is what is measured.
socket.on('error', () => undefined);
socket.connect(Number(port), host, () => process.stdout.write('ready\n'));

createInterface({ input: process.stdin }).on('line', (line) => {
  const [verb = '', argument = ''] = line.split(' ');
  if (verb === 'start') {
    isRunning = true;
    next();
  } else if (verb === 'stop') {
    isRunning = false;
  } else {
    process.stdout.write(`time ${argument} ${sentAt[Number(argument) % REMEMBERED]}\n`);
  }
});

function next(): void {
  if (!isRunning) return;
  sequence += 1;
  packet.writeDoubleLE(sequence);
  sentAt[sequence % REMEMBERED] = process.hrtime.bigint();
  socket.send(Buffer.from(packet), () => undefined);
  setImmediate(next);
}
