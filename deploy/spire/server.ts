import { createServer, type Http2Server, Http2ServerResponse, type ServerHttp2Session } from 'node:http2';
import { Code, type ConnectRouter } from '@connectrpc/connect';
import { connectNodeAdapter } from '@connectrpc/connect-node';
import { type Clock, sleep } from '../../src/base/clock.ts';

/** gRPC on one unix socket, bounded in everything that a caller can make grow. */
export class GrpcServer implements AsyncDisposable {
  readonly #clock: Clock;
  readonly #server: Http2Server;
  readonly #sessions = new Set<ServerHttp2Session>();
  readonly #closing = new AbortController();

  /** @param routes gets a signal that aborts when the server closes, for calls that stay open. */
  constructor(clock: Clock, routes: (router: ConnectRouter, closing: AbortSignal) => void) {
    this.#clock = clock;
    this.#server = createServer(
      {
        settings: { maxConcurrentStreams: MAX_STREAMS, maxHeaderListSize: MAX_HEADER_BYTES },
        maxSessionMemory: MAX_SESSION_MEGABYTES,
        // A connection that only resets its streams or sends frames out of place is ended (CVE-2023-44487).
        maxSessionInvalidFrames: MAX_INVALID_FRAMES,
        maxSessionRejectedStreams: MAX_INVALID_FRAMES,
      },
      connectNodeAdapter({
        routes: (router) => routes(router, this.#closing.signal),
        connect: false,
        grpcWeb: false,
        readMaxBytes: MAX_MESSAGE_BYTES,
        fallback: (_request, response) => noSuchMethod(response),
      }),
    );
    this.#server.maxConnections = MAX_CONNECTIONS;
    this.#server.on('session', (session) => this.#keep(session));
  }

  async listen(socketPath: string): Promise<void> {
    await new Promise<void>((resolve, reject) => {
      this.#server.once('error', reject);
      this.#server.listen(socketPath, resolve);
    });
  }

  /** Answers what was asked already, within a second, and closes every connection. Idempotent. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#closing.abort();
    const stopped = new Promise<void>((resolve) => this.#server.close(() => resolve()));
    const closed = [...this.#sessions].map(
      (session) => new Promise<void>((resolve) => (session.closed ? resolve() : session.close(resolve))),
    );
    const patience = new AbortController();
    await Promise.race([Promise.all([stopped, ...closed]), sleep(this.#clock, PATIENCE_MS, patience.signal)]);
    patience.abort();
    for (const session of this.#sessions) session.destroy();
  }

  #keep(session: ServerHttp2Session): void {
    this.#sessions.add(session);
    session.on('close', () => this.#sessions.delete(session));
    // Garbage instead of HTTP/2 ends its own connection; nobody has to be told.
    session.on('error', () => session.destroy());
  }
}

/** gRPC's own answer, which a host takes for what it is: a method of a later version. HTTP's 404 is none to every client. */
function noSuchMethod(response: object): void {
  if (!(response instanceof Http2ServerResponse)) return;
  const headers = { ':status': 200, 'content-type': 'application/grpc', 'grpc-status': String(Code.Unimplemented) };
  response.stream.respond(headers, { endStream: true });
}

/** SPIRE has one connection, with the broker's and the log's stream and a call for each SVID under way. */
const MAX_CONNECTIONS = 16;
const MAX_STREAMS = 256;
const MAX_MESSAGE_BYTES = 256 * 1024;
const MAX_HEADER_BYTES = 16 * 1024;
const MAX_SESSION_MEGABYTES = 8;
const MAX_INVALID_FRAMES = 64;
const PATIENCE_MS = 1000;
