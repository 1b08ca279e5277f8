import { once } from 'node:events';
import { createServer } from 'node:net';
import type { Target } from '../../protocol/capability/model.ts';

/** A TCP server on loopback that gives everything back, until the process ends; as a target it may be asked for. */
export async function loopbackEcho(): Promise<Target> {
  const server = createServer({ allowHalfOpen: true, noDelay: true }, (socket) => {
    socket.on('error', () => socket.destroy()).pipe(socket);
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  const address = server.address();
  if (address === null || typeof address === 'string') throw new Error('no port');
  return { prefix: { address: Uint8Array.of(127, 0, 0, 1), length: 32 }, protocol: 6, port: address.port };
}
