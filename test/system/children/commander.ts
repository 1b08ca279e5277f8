/**
 * Where code that took a terminator over calls home. Each line of a caller is printed as `PORT LINE`, the port being the
 * caller's; a line `PORT LINE` on standard input goes to that caller. Takes the address and port to listen on.
 */
import { createServer, type Socket } from 'node:net';
import { createInterface } from 'node:readline';

const [address = '', port = ''] = process.argv.slice(2);
const callers = new Map<number, Socket>();
const server = createServer((socket) => {
  const from = socket.remotePort ?? 0;
  callers.set(from, socket);
  socket.on('error', () => socket.destroy());
  socket.on('close', () => console.log(`${from} gone`));
  createInterface({ input: socket }).on('line', (line) => console.log(`${from} ${line}`));
  console.log(`${from} calls`);
});
server.listen(Number(port), address, () => console.log('listening'));
createInterface({ input: process.stdin }).on('line', (line) => {
  const space = line.indexOf(' ');
  callers.get(Number(line.slice(0, space)))?.write(`${line.slice(space + 1)}\n`);
});
