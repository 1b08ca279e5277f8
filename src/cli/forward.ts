/** A local TCP listener whose connections become streams of a session. */
import { type AddressInfo, createServer, type Socket } from 'node:net';
import { pipeline } from 'node:stream/promises';
import type { Target } from '../../protocol/capability/model.ts';
import { reasonOf, ShellstreamError } from '../../protocol/errors.ts';
import type { Reason } from '../../protocol/reasons.ts';
import type { HostPort } from './arguments.ts';
import type { ConnectedSession } from './session-port.ts';

export interface Forward extends AsyncDisposable {
  readonly host: string;
  readonly port: number;
  /** Settles only when the listener breaks. */
  readonly failed: Promise<{ readonly reason: Reason; readonly byPeer: false }>;
}

/** `onRefused` hears why a connection was not carried. Rejects when the address cannot be listened on. */
export async function forward(
  session: ConnectedSession,
  target: Target,
  listen: HostPort,
  onRefused: (reason: Reason) => void,
): Promise<Forward> {
  const carried = new Set<Socket>();
  // The target may speak before the client does, and either may end its direction first.
  const server = createServer({ allowHalfOpen: true, pauseOnConnect: true, noDelay: true }, (socket) => {
    carried.add(socket);
    socket.on('close', () => carried.delete(socket));
    socket.on('error', () => socket.destroy());
    void carry(socket);
  });
  server.maxConnections = MOST_CONNECTIONS;
  const failed = Promise.withResolvers<{ readonly reason: Reason; readonly byPeer: false }>();
  await new Promise<void>((resolve, reject) => {
    server.once('error', (cause) => {
      reject(new ShellstreamError('INTERNAL', `cannot listen on ${listen.host} port ${listen.port}`, { cause }));
    });
    server.listen(listen, resolve);
  });
  server.on('error', () => failed.resolve({ reason: 'INTERNAL', byPeer: false }));
  const bound = addressOf(server.address());

  return {
    host: bound.family === 'IPv6' ? `[${bound.address}]` : bound.address,
    port: bound.port,
    failed: failed.promise,
    async [Symbol.asyncDispose]() {
      const closed = new Promise((resolve) => server.close(resolve));
      for (const socket of carried) socket.destroy();
      await closed;
    },
  };

  async function carry(socket: Socket): Promise<void> {
    try {
      const stream = await session.openStream(target);
      // Before `pipeline` ends the socket in good order: the client must not take a cut answer for a whole one.
      stream.once('error', () => socket.resetAndDestroy());
      await Promise.all([pipeline(socket, stream), pipeline(stream, socket)]);
    } catch (error) {
      // A client that went away is its own affair; a stream that was refused is the operator's.
      if (error instanceof ShellstreamError) onRefused(reasonOf(error));
      // A reset, not an end: the client must not take a cut answer for a whole one.
      socket.resetAndDestroy();
    }
  }
}

function addressOf(address: AddressInfo | string | null): AddressInfo {
  if (typeof address === 'object' && address !== null) return address;
  throw new ShellstreamError('INTERNAL', 'the listener has no address');
}

// As many as a session has streams by default.
const MOST_CONNECTIONS = 64;
