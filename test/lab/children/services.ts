/**
 * Services behind a site: on each port given as argument a greeting with the port, then everything back as it came.
 * Prints how the client's direction of each connection was over: `PORT ended`, or `PORT broken` when it was cut.
 */
import { once } from 'node:events';
import { createServer } from 'node:net';

const ports = process.argv.slice(2).map(Number);
for (const port of ports) {
  const server = createServer({ allowHalfOpen: true }, (socket) => {
    socket.on('end', () => console.log(`${port} ended`));
    socket.on('error', () => console.log(`${port} broken`));
    socket.write(`hello ${port}\n`);
    socket.pipe(socket);
  });
  server.listen(port);
  await once(server, 'listening');
}
console.log(`serving ${ports.join(' ')}`);
