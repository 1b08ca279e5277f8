/** Takes numbered UDP packets: `await TAG` tells of the next one, `last TAG` which was the latest. */
import { createSocket } from 'node:dgram';
import { createInterface } from 'node:readline';

const [host = '', port = ''] = process.argv.slice(2);
let latest = 0;
let awaited: string | undefined;

const socket = createSocket({ type: 'udp4', recvBufferSize: 4 * 1024 * 1024 });
socket.on('message', (packet) => {
  latest = packet.readDoubleLE();
  if (awaited === undefined) return;
  process.stdout.write(`flowing ${awaited}\n`);
  awaited = undefined;
});
socket.bind(Number(port), host, () => process.stdout.write('ready\n'));

createInterface({ input: process.stdin }).on('line', (line) => {
  const [verb, tag = ''] = line.split(' ');
  if (verb === 'await') awaited = tag;
  else process.stdout.write(`last ${tag} ${latest}\n`);
});
