/**
 * One TCP stream that costs its ends as little as Node can, so that what is between them is measured: `source HOST PORT
 * BYTES` sends that much to each caller; `sink HOST PORT BYTES` calls, takes it and says how long it took.
 */
import { connect, createServer } from 'node:net';

const [role, host = '', port = '', bytes = ''] = process.argv.slice(2);
const total = Number(bytes);
if (role === 'source') source();
else sink();

function source(): void {
  const chunk = Buffer.alloc(1024 * 1024);
  const server = createServer((socket) => {
    let left = total;
    const fill = (): void => {
      while (left > 0) {
        const part = chunk.subarray(0, Math.min(left, chunk.length));
        left -= part.length;
        if (!socket.write(part)) return;
      }
      socket.end();
    };
    socket.on('drain', fill);
    socket.on('error', () => socket.destroy());
    fill();
  });
  server.listen(Number(port), host, () => process.stdout.write('listening\n'));
}

function sink(): void {
  let received = 0;
  let begun = 0;
  const onread = {
    // One buffer for all reads, and no events.
    buffer: Buffer.alloc(1024 * 1024),
    callback: (read: number): boolean => {
      received += read;
      return true;
    },
  };
  const socket = connect({ host, port: Number(port), onread });
  socket.once('connect', () => {
    begun = performance.now();
  });
  socket.once('end', () => {
    if (received !== total) throw new Error(`${received} bytes came of ${total}`);
    process.stdout.write(`took ${performance.now() - begun}\n`);
  });
}
