/** A small Bascule: a real gRPC server and client on mutual TLS between SVIDs, that says what a test tells it to say. */

import type { MessageInitShape } from '@bufbuild/protobuf';
import { type Client, createClient } from '@connectrpc/connect';
import { Changes } from '../../certs-dev/changes.ts';
import {
  BasculeService,
  type Outcome,
  PostureService,
  type StatementSchema,
} from '../../protocol/gen/shellstream/bascule/v1/bascule_pb.ts';
import { grpcOver, peerOf, serveSpiffeGrpc } from '../../src/identity/spiffe-grpc.ts';
import { connectSpiffeTls, type SpiffeTlsListener, type SpiffeTlsParts } from '../../src/identity/spiffe-tls.ts';

export type Said = MessageInitShape<typeof StatementSchema>;

export class BasculeServer implements AsyncDisposable {
  readonly #tls: SpiffeTlsParts;
  readonly #changes = new Changes();
  readonly #said: Said[] = [];
  readonly watchers: string[] = [];
  #dying = new AbortController();
  #listener: SpiffeTlsListener | undefined;

  constructor(tls: SpiffeTlsParts) {
    this.#tls = tls;
  }

  /** Serves `Watch`. @param port 0: whatever is free; the answer is the one it is. */
  async start(host: string, port: number): Promise<number> {
    this.#dying = new AbortController();
    this.#listener = await serveSpiffeGrpc(this.#tls, {
      host,
      port,
      accepts: () => true,
      maxConnections: 8,
      maxMessageBytes: 4_096,
      routes: (router) =>
        router.service(BasculeService, {
          watch: (_request, context) => {
            this.watchers.push(peerOf(context));
            return this.#statements(AbortSignal.any([context.signal, this.#dying.signal]));
          },
        }),
    });
    return this.#listener.address.port;
  }

  /** To everybody who watches, and to whoever will. */
  say(statement: Said): void {
    this.#said.push(statement);
    this.#changes.announce();
  }

  /** By `Announce` of a gateway. */
  async announce(host: string, port: number, statement: Said): Promise<Outcome> {
    const connection = await connectSpiffeTls(this.#tls, { host, port }, () => true, AbortSignal.timeout(10_000));
    try {
      const client: Client<typeof PostureService> = createClient(
        PostureService,
        grpcOver(connection, { maxMessageBytes: 4_096 }),
      );
      return (await client.announce({ statement })).outcome;
    } finally {
      connection.socket.destroy();
    }
  }

  /** Connections end and nothing listens any more, until `start`. */
  async die(): Promise<void> {
    this.#dying.abort();
    await this.#listener?.[Symbol.asyncDispose]();
    this.#listener = undefined;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.die();
  }

  async *#statements(signal: AbortSignal): AsyncGenerator<{ statement: Said }> {
    let next = Math.max(0, this.#said.length - 1);
    while (!signal.aborted) {
      const { version } = this.#changes;
      for (; next < this.#said.length; next += 1) {
        const statement = this.#said[next];
        if (statement !== undefined) yield { statement };
      }
      await this.#changes.after(version, signal);
    }
  }
}
