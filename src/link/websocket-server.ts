/** The listener for sessions: HTTP only as far as the upgrade to `shellstream.v1`, everything before it bounded. */
import { once } from 'node:events';
import { createServer, type IncomingMessage } from 'node:http';
import type { Socket } from 'node:net';
import { ShellstreamError } from '../../protocol/errors.ts';
import { plainAddress } from './base-link.ts';
import type { Link, Visit } from './link.ts';
import { WebSocketLink } from './websocket-link.ts';
import { MAX_HEADER_BYTES, requestedKey, SUBPROTOCOL, upgradeAnswer } from './websocket-upgrade.ts';

export interface WebSocketListenOptions {
  readonly address: string;
  /** 0: one that is free. */
  readonly port: number;
  /** Whether other processes of this user share the port. */
  readonly reusePort?: boolean;
  /** A new connection; the link reads nothing before it has a record listener. */
  readonly accept: (link: Link) => void;
  /** Asked when a connection comes, before a byte of it is read; undefined: it is cut. Disposed of when it is gone. */
  readonly meet?: (remoteAddress: string) => Visit | undefined;
  /** Asked before the upgrade is answered, and so before any cryptography; false: the connection is cut without a word. */
  readonly admit: (remoteAddress: string) => boolean;
  /** Connections at once, upgraded or not; 10,000 unless told. */
  readonly maxConnections?: number;
  /** For a connection to ask for the upgrade, milliseconds; 5,000 unless told. */
  readonly upgradeTimeoutMs?: number;
}

/** Disposing stops listening and ends every connection. */
export interface WebSocketListener extends AsyncDisposable {
  readonly address: string;
  readonly port: number;
  /** Connections now, upgraded or not. */
  readonly connections: number;
  /** No new connections; those that are up stay. */
  stop(): void;
}

const PATHS: ReadonlySet<string | undefined> = new Set(['/', '/shellstream']);

/** @throws the system's error when the address cannot be bound */
export async function listenWebSocket(options: WebSocketListenOptions): Promise<WebSocketListener> {
  const upgradeTimeoutMs = options.upgradeTimeoutMs ?? 5_000;
  const server = createServer({
    maxHeaderSize: MAX_HEADER_BYTES,
    headersTimeout: upgradeTimeoutMs,
    requestTimeout: upgradeTimeoutMs,
    connectionsCheckingInterval: Math.max(upgradeTimeoutMs / 5, 10),
    keepAliveTimeout: 1,
    insecureHTTPParser: false,
  });
  server.maxConnections = options.maxConnections ?? 10_000;
  server.maxRequestsPerSocket = 1;

  /** Every connection, with its link once it has been upgraded. */
  const connections = new Map<Socket, WebSocketLink | undefined>();
  const visits = new Map<Socket, Visit>();
  server.on('connection', (socket) => {
    connections.set(socket, undefined);
    socket.once('close', () => {
      connections.delete(socket);
      visits.get(socket)?.[Symbol.dispose]();
      visits.delete(socket);
    });
    // Between two handlers a socket has none of its own, and an error without one ends the process.
    socket.on('error', () => socket.destroy());
    if (options.meet === undefined) return;
    const visit = options.meet(plainAddress(socket.remoteAddress));
    if (visit === undefined) socket.destroy();
    else visits.set(socket, visit);
  });
  server.on('clientError', (_error, socket) => socket.destroy());
  server.on('request', (_request, response) => {
    response.writeHead(426, { Connection: 'close', Upgrade: 'websocket' }).end();
  });
  server.on('upgrade', (request: IncomingMessage, _socket, head: Buffer) => {
    const { socket } = request;
    visits.get(socket)?.asked();
    const decision = decide(request, options.admit);
    if (decision === 'silence') socket.destroy();
    else if ('refusal' in decision) answer(socket, decision.refusal);
    else if (socket.readable && socket.writable) {
      socket.write(upgradeAnswer(decision.key), 'latin1');
      const link = new WebSocketLink(socket, head, 'server');
      connections.set(socket, link);
      options.accept(link);
    } else socket.destroy();
  });

  server.listen({ host: options.address, port: options.port, reusePort: options.reusePort ?? false });
  await once(server, 'listening');
  const bound = server.address();
  if (bound === null || typeof bound === 'string') throw new ShellstreamError('INTERNAL', 'no TCP address');
  const stopped = once(server, 'close');
  return {
    address: bound.address,
    port: bound.port,
    get connections() {
      return connections.size;
    },
    stop: () => {
      server.close();
    },
    async [Symbol.asyncDispose]() {
      server.close();
      for (const [socket, link] of connections) {
        link?.abort();
        socket.destroy();
      }
      await stopped;
    },
  };
}

type Decision = 'silence' | { readonly refusal: '404 Not Found' | '400 Bad Request' } | { readonly key: string };

function decide(request: IncomingMessage, admit: (remoteAddress: string) => boolean): Decision {
  const { url, method, headers } = request;
  if (!admit(plainAddress(request.socket.remoteAddress))) return 'silence';
  if (!PATHS.has(url)) return { refusal: '404 Not Found' };
  const offered = headers['sec-websocket-protocol'] ?? '';
  if (!offered.split(',').some((name) => name.trim() === SUBPROTOCOL)) return { refusal: '400 Bad Request' };
  const key = requestedKey(method, headers);
  return key === undefined ? 'silence' : { key };
}

function answer(socket: Socket, status: string): void {
  socket.once('finish', () => socket.destroy());
  socket.end(`HTTP/1.1 ${status}\r\nConnection: close\r\nContent-Length: 0\r\n\r\n`);
}
