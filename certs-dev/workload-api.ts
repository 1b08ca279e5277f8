import { rm } from 'node:fs/promises';
import { createServer, type Http2Server, type ServerHttp2Session } from 'node:http2';
import type { JsonObject } from '@bufbuild/protobuf';
import { Code, ConnectError, type ConnectRouter, type HandlerContext } from '@connectrpc/connect';
import { connectNodeAdapter } from '@connectrpc/connect-node';
import { SpiffeWorkloadAPI } from '../protocol/gen/spiffe/workload/workload_pb.ts';
import type { Changes } from './changes.ts';
import type { EntryIdentity } from './entry.ts';

/** What the agent of a trust domain knows, behind every socket it serves. */
export interface Agent {
  readonly trustDomain: string;
  /** Announced when any entry, rotation or federation changed. */
  readonly changes: Changes;
  /** Of the own and the federated trust domains. */
  bundles(): readonly BundleDocuments[];
  /** Throws ConnectError InvalidArgument. */
  validateJwt(token: string, audience: string): Promise<{ readonly subject: string; readonly claims: JsonObject }>;
}

export interface BundleDocuments {
  readonly trustDomain: string;
  /** Concatenated DER. */
  readonly x509: Uint8Array;
  /** A JWK set. */
  readonly jwt: Uint8Array;
}

/**
 * The SPIFFE Workload API on one unix socket, for one entry. SPIRE tells workloads apart by who calls; here the socket
 * tells, since Node cannot read peer credentials. Error codes are those that SPIRE's agent was seen to give.
 */
export class WorkloadApiServer {
  readonly socketPath: string;
  readonly #agent: Agent;
  /** Undefined: a caller that is registered for nothing. */
  readonly #entry: EntryIdentity | undefined;
  readonly #dying = new AbortController();
  readonly #sessions = new Set<ServerHttp2Session>();
  readonly #server: Http2Server;

  constructor(socketPath: string, agent: Agent, entry: EntryIdentity | undefined) {
    this.socketPath = socketPath;
    this.#agent = agent;
    this.#entry = entry;
    const handle = connectNodeAdapter({ routes: (router) => this.#routes(router), connect: false, grpcWeb: false });
    this.#server = createServer(handle);
    this.#server.on('session', (session) => {
      this.#sessions.add(session);
      session.on('close', () => this.#sessions.delete(session));
    });
  }

  async listen(): Promise<void> {
    await rm(this.socketPath, { force: true });
    await new Promise<void>((resolve, reject) => {
      this.#server.once('error', reject);
      this.#server.listen(this.socketPath, resolve);
    });
  }

  /** Ends every stream with code 1, as a dying agent does, and every connection; then the socket is gone. */
  async close(): Promise<void> {
    this.#dying.abort();
    const closed = [...this.#sessions].map(
      (session) => new Promise<void>((resolve) => (session.closed ? resolve() : session.close(resolve))),
    );
    const stopped = new Promise<void>((resolve) => this.#server.close(() => resolve()));
    await Promise.all(closed);
    await stopped;
    await rm(this.socketPath, { force: true });
  }

  #routes(router: ConnectRouter): void {
    const agent = this.#agent;
    router.service(SpiffeWorkloadAPI, {
      fetchX509SVID: (_request, context) =>
        this.#stream(context, () => {
          const svid = this.#registered().x509();
          const [own, ...federated] = agent.bundles();
          const x509SvidKey = svid.privateKey.export({ type: 'pkcs8', format: 'der' });
          const x509Svid = Buffer.concat(svid.chain);
          return {
            svids: [{ spiffeId: svid.spiffeId, x509Svid, x509SvidKey, bundle: own?.x509 ?? new Uint8Array() }],
            federatedBundles: Object.fromEntries(federated.map((bundle) => [idOf(bundle), bundle.x509])),
          };
        }),
      fetchX509Bundles: (_request, context) =>
        this.#stream(context, () => {
          this.#registered().x509();
          return { bundles: Object.fromEntries(agent.bundles().map((bundle) => [idOf(bundle), bundle.x509])) };
        }),
      fetchJWTBundles: (_request, context) =>
        this.#stream(context, () => {
          this.#registered().x509();
          return { bundles: Object.fromEntries(agent.bundles().map((bundle) => [idOf(bundle), bundle.jwt])) };
        }),
      fetchJWTSVID: ({ audience, spiffeId }, context) => {
        requireHeader(context);
        if (audience.length === 0) throw new ConnectError('audience must be specified', Code.InvalidArgument);
        const entry = this.#registered();
        const svid = entry.jwt(audience);
        if (spiffeId !== '' && spiffeId !== entry.spiffeId)
          throw new ConnectError('no identity issued', Code.PermissionDenied);
        return { svids: [{ spiffeId: entry.spiffeId, svid }] };
      },
      validateJWTSVID: async ({ audience, svid }, context) => {
        requireHeader(context);
        if (audience === '') throw new ConnectError('audience must be specified', Code.InvalidArgument);
        if (svid === '') throw new ConnectError('svid must be specified', Code.InvalidArgument);
        const { subject, claims } = await agent.validateJwt(svid, audience);
        return { spiffeId: subject, claims };
      },
    });
  }

  /** The answer now and after every change; ends as the agent or the entry does. */
  async *#stream<T>(context: HandlerContext, answer: () => T): AsyncGenerator<T> {
    requireHeader(context);
    const { changes } = this.#agent;
    const signal = AbortSignal.any([context.signal, this.#dying.signal]);
    while (!signal.aborted) {
      const { version } = changes;
      yield answer();
      await changes.after(version, signal);
    }
    throw new ConnectError('the agent is going away', Code.Canceled);
  }

  #registered(): EntryIdentity {
    if (this.#entry === undefined || this.#entry.isDeleted)
      throw new ConnectError('no identity issued', Code.PermissionDenied);
    return this.#entry;
  }
}

/** Without this header a browser or a confused proxy could be made to ask for keys (Workload API specification §4.1). */
function requireHeader(context: HandlerContext): void {
  if (context.requestHeader.get('workload.spiffe.io') !== 'true')
    throw new ConnectError('security header missing from request', Code.InvalidArgument);
}

function idOf({ trustDomain }: BundleDocuments): string {
  return `spiffe://${trustDomain}`;
}
