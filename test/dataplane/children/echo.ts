/** `echo.ts listen PORT…` echoes lines over TCP; `echo.ts talk HOST PORT` sends its stdin there and prints what comes back. */
import { createConnection, createServer } from 'node:net';

const [verb, ...args] = process.argv.slice(2);
if (verb === 'listen') {
  for (const port of args) {
    const server = createServer((socket) => {
      socket.on('error', () => socket.destroy());
      socket.pipe(socket);
    });
    await new Promise<void>((resolve) => server.listen(Number(port), '::', resolve));
  }
  console.log('listening');
} else {
  const [host = '', port = ''] = args;
  const socket = createConnection({ host, port: Number(port) });
  socket.on('connect', () => console.log('connected'));
  socket.on('error', (error) => {
    console.log(`failed ${error.message}`);
    process.exit(1);
  });
  socket.pipe(process.stdout);
  process.stdin.pipe(socket);
}
