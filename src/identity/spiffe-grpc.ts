/** gRPC over `spiffe-tls`: a transport on one verified connection, and a server that knows who asks. */
import { createServer, type Http2Server, type Http2Session } from 'node:http2';
import {
  type ConnectRouter,
  createContextKey,
  createContextValues,
  type HandlerContext,
  type Transport,
} from '@connectrpc/connect';
import { createGrpcTransport } from '@connectrpc/connect-node';
import { ShellstreamError } from '../../protocol/errors.ts';
import type { SpiffeId } from '../../protocol/identity/spiffe-id.ts';
import { grpcListener } from './grpc-listener.ts';
import {
  type AuthenticatedSocket,
  listenSpiffeTls,
  type SpiffeTlsListener,
  type SpiffeTlsParts,
  type SpiffeTlsService,
} from './spiffe-tls.ts';
import type { VerifiedSvid } from './x509-svid.ts';

/** Calls on this connection and no other: when it is gone they fail, and whoever wants more dials again. */
export function grpcOver({ socket }: AuthenticatedSocket, limits: { readonly maxMessageBytes: number }): Transport {
  let isTaken = false;
  return createGrpcTransport({
    // Nothing resolves this name.
    baseUrl: 'https://spiffe.invalid',
    readMaxBytes: limits.maxMessageBytes,
    // A peer that is stopped or cut off says no word of it.
    pingIntervalMs: PING_MS,
    pingTimeoutMs: PING_MS,
    nodeOptions: {
      createConnection: () => {
        if (isTaken) throw new ShellstreamError('CONNECTION_LOST', 'the connection of these calls is gone');
        isTaken = true;
        return socket;
      },
    },
  });
}

export interface SpiffeGrpcService extends Omit<SpiffeTlsService, 'onConnection'> {
  readonly maxMessageBytes: number;
  routes(router: ConnectRouter): void;
}

/** Disposing ends every call and connection. */
export async function serveSpiffeGrpc(parts: SpiffeTlsParts, service: SpiffeGrpcService): Promise<SpiffeTlsListener> {
  const peers = new WeakMap<Http2Session, VerifiedSvid>();
  const handle = grpcListener({
    routes: service.routes,
    readMaxBytes: service.maxMessageBytes,
    contextValues: (request) => {
      const session = 'stream' in request ? request.stream.session : undefined;
      const peer = session === undefined ? undefined : peers.get(session);
      return createContextValues().set(PEER, peer?.spiffeId);
    },
  });
  const http = createServer({ maxSessionMemory: MAX_SESSION_MB, settings: SETTINGS }, handle);
  http.on('sessionError', () => undefined);
  return await listenSpiffeTls(parts, {
    ...service,
    onConnection: ({ socket, peer }) => peers.set(sessionOn(http, socket), peer),
  });
}

/** Who asks. */
export function peerOf(context: HandlerContext): SpiffeId {
  const peer = context.values.get(PEER);
  if (peer === undefined) throw new ShellstreamError('NOT_AUTHENTICATED', 'a call outside a verified connection');
  return peer;
}

const PEER = createContextKey<SpiffeId | undefined>(undefined);
const PING_MS = 10_000;
const MAX_SESSION_MB = 1;
const SETTINGS = { maxConcurrentStreams: 16, maxHeaderListSize: 8_192 };

/** The HTTP/2 session that the server makes of a connection, which it does at once. */
function sessionOn(http: Http2Server, socket: AuthenticatedSocket['socket']): Http2Session {
  let made: Http2Session | undefined;
  const note = (session: Http2Session): void => {
    made = session;
  };
  http.on('session', note);
  http.emit('connection', socket);
  http.off('session', note);
  if (made === undefined) throw new ShellstreamError('INTERNAL', 'no HTTP/2 on a connection');
  return made;
}
