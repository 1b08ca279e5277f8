import { once } from 'node:events';
import { createServer } from 'node:net';
import type { Target } from '../../protocol/capability/model.ts';

export interface LoopbackEcho extends Disposable {
  /** As a session may ask for it. */
  readonly target: Target;
}

/** A TCP server on loopback that gives everything back, until it is disposed or the process ends. */
export async function loopbackEcho(): Promise<LoopbackEcho> {
  const server = createServer({ allowHalfOpen: true, noDelay: true }, (socket) => {
    socket.on('error', () => socket.destroy()).pipe(socket);
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  const address = server.address();
  if (address === null || typeof address === 'string') throw new Error('no port');
  return {
    target: { prefix: { address: Uint8Array.of(127, 0, 0, 1), length: 32 }, protocol: 6, port: address.port },
    [Symbol.dispose]: () => void server.close(),
  };
}
