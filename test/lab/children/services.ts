/** Services behind a site: on each port given as argument a greeting with the port, then everything back as it came. */
import { once } from 'node:events';
import { createServer } from 'node:net';

const ports = process.argv.slice(2).map(Number);
for (const port of ports) {
  const server = createServer({ allowHalfOpen: true }, (socket) => {
    socket.on('error', () => socket.destroy());
    socket.write(`hello ${port}\n`);
    socket.pipe(socket);
  });
  server.listen(port);
  await once(server, 'listening');
}
console.log(`serving ${ports.join(' ')}`);
