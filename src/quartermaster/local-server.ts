/** Quartermaster on a unix socket of this host: the kernel says who asks, as at the control socket. It reads and no more. */
import { createServer as createHttp } from 'node:http2';
import { createServer, type Socket } from 'node:net';
import { SUBMIT_LIMITS } from '../../protocol/quartermaster/index.ts';
import type { Logger } from '../base/logger.ts';
import { grpcListener } from '../identity/grpc-listener.ts';
import { listenAt } from '../link/index.ts';
import { consoleCaller } from './access.ts';
import type { Quartermaster } from './service.ts';

export interface LocalServerParts {
  /** Absolute path of the socket. */
  readonly path: string;
  readonly quartermaster: Quartermaster;
  /** Users that are site_owner on this host; nobody else is heard. */
  readonly siteOwners: ReadonlySet<number>;
  /** SO_PEERCRED of the connection; a throw counts as a stranger. */
  readonly credentialsOf: (socket: Socket) => { readonly uid: number };
  readonly log: Logger;
}

/** Refuses (INTERNAL) when the path is another's, or could be replaced by another user. */
export async function serveLocally(parts: LocalServerParts): Promise<AsyncDisposable> {
  const { path, quartermaster, log } = parts;
  const connected = new Set<Socket>();
  const server = createServer((socket) => {
    const uid = userOf(parts, socket);
    if (uid === undefined || connected.size >= MOST_CONNECTIONS) {
      log.warn('a stranger at Quartermaster’s socket was refused', { uid });
      socket.destroy();
      return;
    }
    connected.add(socket);
    socket.on('close', () => connected.delete(socket));
    const caller = consoleCaller(uid, 'site_owner');
    const handle = grpcListener({
      routes: quartermaster.routes(() => caller),
      readMaxBytes: SUBMIT_LIMITS.messageBytes,
    });
    // One for each connection: who asks is bound to it and cannot be mistaken.
    const http = createHttp({ maxSessionMemory: MAX_SESSION_MB, settings: SETTINGS }, handle);
    http.on('sessionError', () => undefined);
    http.emit('connection', socket);
  });
  const place = await listenAt(server, { path });
  server.on('error', (error) => log.error('Quartermaster’s socket failed', { error }));
  return {
    async [Symbol.asyncDispose]() {
      for (const socket of connected) socket.destroy();
      await new Promise((resolve) => server.close(resolve));
      await place[Symbol.asyncDispose]();
    },
  };
}

const MOST_CONNECTIONS = 32;
const MAX_SESSION_MB = 4;
const SETTINGS = { maxConcurrentStreams: 16, maxHeaderListSize: 8_192 };

function userOf({ credentialsOf, siteOwners }: LocalServerParts, socket: Socket): number | undefined {
  try {
    const { uid } = credentialsOf(socket);
    return siteOwners.has(uid) ? uid : undefined;
  } catch {
    return undefined;
  }
}
