/** One TCP stream: `sink HOST PORT` takes and confirms, `source HOST PORT BYTES` sends and says how long it took. */
import { connect, createServer } from 'node:net';

const [role, host = '', port = '', bytes = ''] = process.argv.slice(2);
if (role === 'sink') sink();
else await source(Number(bytes));

function sink(): void {
  const server = createServer({ allowHalfOpen: true }, (socket) => {
    let received = 0;
    socket.on('data', (chunk) => {
      received += chunk.length;
    });
    socket.on('end', () => socket.end(String(received)));
    socket.on('error', () => socket.destroy());
  });
  server.listen(Number(port), host, () => process.stdout.write('listening\n'));
}

async function source(total: number): Promise<void> {
  const chunk = Buffer.alloc(256 * 1024);
  const socket = connect({ host, port: Number(port), allowHalfOpen: true });
  await new Promise((resolve, reject) => socket.once('connect', resolve).once('error', reject));
  const begun = performance.now();
  for (let sent = 0; sent < total; sent += chunk.length) {
    if (!socket.write(chunk)) await new Promise((resolve) => socket.once('drain', resolve));
  }
  socket.end();
  let confirmed = '';
  for await (const part of socket) confirmed += String(part);
  if (Number(confirmed) !== total) throw new Error(`the sink got ${confirmed} bytes of ${total}`);
  process.stdout.write(`took ${performance.now() - begun}\n`);
}
