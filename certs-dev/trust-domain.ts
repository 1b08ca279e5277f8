import { join } from 'node:path';
import type { JsonObject } from '@bufbuild/protobuf';
import { Code, ConnectError } from '@connectrpc/connect';
import { createLocalJWKSet, decodeJwt, errors, type JSONWebKeySet, jwtVerify } from 'jose';
import type { Clock, Timer } from '../src/base/clock.ts';
import { Authority } from './authority.ts';
import { Changes } from './changes.ts';
import { EntryIdentity, type EntryOptions } from './entry.ts';
import { type Agent, type BundleDocuments, WorkloadApiServer } from './workload-api.ts';

export interface TrustDomainOptions {
  /** The name between `spiffe://` and the path. */
  readonly name: string;
  /** Keys (0600) and sockets; a short path, since a socket's is at most 107 bytes. */
  readonly directory: string;
  readonly clock: Clock;
  /** Foreign trust domains whose claims ValidateJWTSVID hands on; those of others are stripped. */
  readonly foreignClaims?: readonly string[];
}

/** A registered workload and the socket on which it, and whoever may open that socket, gets its identity. */
export interface Entry {
  readonly spiffeId: string;
  readonly socketPath: string;
  readonly identity: EntryIdentity;
  /** As `spire-server entry delete`: streams end with code 7, and so does every call after. */
  delete(): void;
  /** Replaces the X.509-SVID and forgets cached JWT-SVIDs. */
  rotate(): void;
}

/** Starts a development trust domain: a CA and a Workload API in this process. */
export async function startTrustDomain(options: TrustDomainOptions): Promise<TrustDomain> {
  const domain = new TrustDomain(options);
  await domain.startAgent();
  return domain;
}

/**
 * A trust domain as SPIRE runs one, in one process: `server` is what signs, the agent is what answers on sockets.
 * Each can be taken away by itself.
 */
export class TrustDomain implements AsyncDisposable {
  readonly name: string;
  readonly authority: Authority;
  readonly changes = new Changes();
  /** Answers callers that are registered for nothing. */
  readonly agentSocket: string;
  /** The signing side. While it is away nothing is rotated, and tokens for new audiences are Unavailable. */
  readonly server = { away: (isAway: boolean): void => this.#setServerAway(isAway) };
  readonly #directory: string;
  readonly #clock: Clock;
  readonly #foreignClaims: ReadonlySet<string>;
  readonly #entries: { readonly identity: EntryIdentity; readonly socketPath: string }[] = [];
  readonly #federated = new Map<string, () => BundleDocuments>();
  #servers: readonly WorkloadApiServer[] | undefined;
  #isServerAway = false;
  #rotation: Timer | undefined;

  constructor(options: TrustDomainOptions) {
    this.name = options.name;
    this.#directory = options.directory;
    this.#clock = options.clock;
    this.#foreignClaims = new Set(options.foreignClaims);
    this.authority = new Authority({ trustDomain: options.name, directory: options.directory, clock: options.clock });
    this.agentSocket = join(options.directory, 'agent.sock');
  }

  /** Registers a workload and serves its identity on a socket of its own. @param socket file name; else from the path. */
  async register(options: EntryOptions & { readonly socket?: string }): Promise<Entry> {
    const { socket, ...what } = options;
    const identity = new EntryIdentity(what, this.authority, this.#clock, () => this.#isServerAway);
    const socketPath = join(this.#directory, socket ?? `${what.path.slice(1).replaceAll('/', '-')}.sock`);
    if (this.#entries.some((entry) => entry.socketPath === socketPath)) throw new Error(`${socketPath} is taken`);
    this.#entries.push({ identity, socketPath });
    if (this.#servers !== undefined) this.#servers = [...this.#servers, await this.#serve(socketPath, identity)];
    this.#scheduleRotation();
    return {
      spiffeId: identity.spiffeId,
      socketPath,
      identity,
      delete: () => {
        identity.delete();
        this.changes.announce();
      },
      rotate: () => {
        identity.rotate();
        this.changes.announce();
      },
    };
  }

  /** New keys and certificates for every entry. */
  rotate(): void {
    for (const { identity } of this.#entries) identity.rotate();
    this.changes.announce();
    this.#scheduleRotation();
  }

  /** New signing keys. @param forget taints the former ones: they leave the bundle, and what they signed no longer verifies. */
  rotateAuthorities(options: { readonly forget: boolean }): void {
    this.authority.rotate(options.forget);
    this.rotate();
  }

  bundle(): BundleDocuments {
    const { x509Bundle, jwtBundle } = this.authority;
    return { trustDomain: this.name, x509: x509Bundle, jwt: jwtBundle };
  }

  /** The own bundle, then the federated ones. */
  bundles(): readonly BundleDocuments[] {
    return [this.bundle(), ...[...this.#federated.values()].map((fetch) => fetch())];
  }

  /** Serves another domain's bundle beside the own one. @param fetch is asked each time bundles are sent. */
  trust(trustDomain: string, fetch: () => BundleDocuments): void {
    this.#federated.set(trustDomain, fetch);
    this.changes.announce();
  }

  distrust(trustDomain: string): void {
    this.#federated.delete(trustDomain);
    this.changes.announce();
  }

  async startAgent(): Promise<void> {
    if (this.#servers !== undefined) return;
    this.#servers = [];
    const sockets = [{ socketPath: this.agentSocket, identity: undefined }, ...this.#entries];
    this.#servers = await Promise.all(sockets.map(({ socketPath, identity }) => this.#serve(socketPath, identity)));
  }

  /** Streams end with code 1, then nothing listens any more, until `startAgent`. */
  async killAgent(): Promise<void> {
    const servers = this.#servers ?? [];
    this.#servers = undefined;
    await Promise.all(servers.map((server) => server.close()));
  }

  async stop(): Promise<void> {
    this.#rotation?.cancel();
    await this.killAgent();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop();
  }

  /**
   * As SPIRE's agent does it: signature, expiry and audience under the bundles at hand. Whether the entry still exists
   * is not asked, and claims of foreign domains outside the allow-list are left out of the answer.
   */
  async validateJwt(token: string, audience: string): Promise<{ subject: string; claims: JsonObject }> {
    try {
      const subject = decodeJwt(token).sub ?? '';
      const trustDomain = subject.replace(/^spiffe:\/\//, '').split('/')[0] ?? '';
      const bundle = this.bundles().find((candidate) => candidate.trustDomain === trustDomain);
      if (bundle === undefined) throw new ConnectError(`no bundle for ${trustDomain}`, Code.InvalidArgument);
      const keys: JSONWebKeySet = JSON.parse(Buffer.from(bundle.jwt).toString());
      const currentDate = new Date(this.#clock.now());
      const { payload } = await jwtVerify(token, createLocalJWKSet(keys), { audience, currentDate });
      const isOpen = trustDomain === this.name || this.#foreignClaims.has(trustDomain);
      const shown = Object.entries(payload).filter(([claim]) => isOpen || STANDARD_CLAIMS.has(claim));
      const claims: JsonObject = JSON.parse(JSON.stringify(Object.fromEntries(shown)));
      return { subject, claims };
    } catch (cause) {
      if (cause instanceof errors.JOSEError) throw new ConnectError(cause.message, Code.InvalidArgument);
      throw cause;
    }
  }

  async #serve(socketPath: string, identity: EntryIdentity | undefined): Promise<WorkloadApiServer> {
    const agent: Agent = {
      trustDomain: this.name,
      changes: this.changes,
      bundles: () => this.bundles(),
      validateJwt: (token, audience) => this.validateJwt(token, audience),
    };
    const server = new WorkloadApiServer(socketPath, agent, identity);
    await server.listen();
    return server;
  }

  #setServerAway(isAway: boolean): void {
    this.#isServerAway = isAway;
    this.#scheduleRotation();
  }

  #scheduleRotation(): void {
    this.#rotation?.cancel();
    const alive = this.#entries.filter(({ identity }) => !identity.isDeleted).map(({ identity }) => identity);
    if (this.#isServerAway || alive.length === 0) return;
    const due = Math.min(...alive.map((identity) => identity.renewAt));
    this.#rotation = this.#clock.after(Math.max(due - this.#clock.now(), 0), () => {
      for (const identity of alive) if (identity.renewAt <= this.#clock.now()) identity.rotate();
      this.changes.announce();
      this.#scheduleRotation();
    });
  }
}

const STANDARD_CLAIMS: ReadonlySet<string> = new Set(['iss', 'sub', 'aud', 'exp', 'nbf', 'iat', 'jti']);
