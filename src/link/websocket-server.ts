/** The listener for sessions: HTTP only as far as the upgrade to `shellstream.v1`, everything before it bounded. */
import { once } from 'node:events';
import { createServer, type IncomingMessage } from 'node:http';
import type { Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import { type WebSocket, WebSocketServer } from 'ws';
import { ShellstreamError } from '../../protocol/errors.ts';
import { plainAddress } from './base-link.ts';
import type { Link } from './link.ts';
import { SUBPROTOCOL, WEBSOCKET_LIMITS, WebSocketLink } from './websocket-link.ts';

export interface WebSocketListenOptions {
  readonly address: string;
  /** 0: one that is free. */
  readonly port: number;
  /** Whether other processes of this user share the port. */
  readonly reusePort?: boolean;
  /** A new connection; the link reads nothing before it has a record listener. */
  readonly accept: (link: Link) => void;
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
const MAX_HEADER_BYTES = 8_192;

/** @throws the system's error when the address cannot be bound */
export async function listenWebSocket(options: WebSocketListenOptions): Promise<WebSocketListener> {
  const upgradeTimeoutMs = options.upgradeTimeoutMs ?? 5_000;
  const upgrades = new WebSocketServer({
    ...WEBSOCKET_LIMITS,
    noServer: true,
    clientTracking: false,
    handleProtocols: () => SUBPROTOCOL,
  });
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

  const sockets = new Set<Socket>();
  const links = new Set<WebSocketLink>();
  server.on('connection', (socket) => {
    sockets.add(socket);
    socket.once('close', () => sockets.delete(socket));
    // Between two handlers a socket has none of its own, and an error without one ends the process.
    socket.on('error', () => socket.destroy());
  });
  server.on('clientError', (_error, socket) => socket.destroy());
  server.on('request', (_request, response) => {
    response.writeHead(426, { Connection: 'close', Upgrade: 'websocket' }).end();
  });
  server.on('upgrade', (request, socket, head) => {
    const refusal = refuse(request, options.admit);
    if (refusal === 'silently') socket.destroy();
    else if (refusal !== undefined) answer(socket, refusal);
    else upgrades.handleUpgrade(request, socket, head, (webSocket) => welcome(webSocket, request.socket));
  });
  upgrades.on('wsClientError', (_error, socket) => socket.destroy());

  const welcome = (webSocket: WebSocket, socket: Socket): void => {
    const link = new WebSocketLink(webSocket, socket);
    links.add(link);
    socket.once('close', () => links.delete(link));
    options.accept(link);
  };

  server.listen({ host: options.address, port: options.port, reusePort: options.reusePort ?? false });
  await once(server, 'listening');
  const bound = server.address();
  if (bound === null || typeof bound === 'string') throw new ShellstreamError('INTERNAL', 'no TCP address');
  const stopped = once(server, 'close');
  return {
    address: bound.address,
    port: bound.port,
    get connections() {
      return sockets.size;
    },
    stop: () => {
      server.close();
    },
    async [Symbol.asyncDispose]() {
      server.close();
      for (const link of links) link.abort();
      for (const socket of sockets) socket.destroy();
      await stopped;
    },
  };
}

type Refusal = 'silently' | '404 Not Found' | '400 Bad Request';

/** Why an upgrade is refused; what `ws` checks itself (method, key, version) is not repeated. */
function refuse(request: IncomingMessage, admit: (remoteAddress: string) => boolean): Refusal | undefined {
  if (!admit(plainAddress(request.socket.remoteAddress))) return 'silently';
  if (!PATHS.has(request.url)) return '404 Not Found';
  const offered = request.headers['sec-websocket-protocol'] ?? '';
  return offered.split(',').some((name) => name.trim() === SUBPROTOCOL) ? undefined : '400 Bad Request';
}

function answer(socket: Duplex, status: string): void {
  socket.once('finish', () => socket.destroy());
  socket.end(`HTTP/1.1 ${status}\r\nConnection: close\r\nContent-Length: 0\r\n\r\n`);
}
