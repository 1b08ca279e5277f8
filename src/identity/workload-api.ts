import { createPrivateKey } from 'node:crypto';
import { connect } from 'node:net';
import { type Client, Code, ConnectError, createClient } from '@connectrpc/connect';
import { createGrpcTransport } from '@connectrpc/connect-node';
import { ShellstreamError } from '../../protocol/errors.ts';
import {
  type JWTBundlesResponse,
  SpiffeWorkloadAPI,
  type X509SVID,
  type X509SVIDResponse,
} from '../../protocol/gen/spiffe/workload/workload_pb.ts';
import { parseSpiffeId, pathOf, type SpiffeId, trustDomainOf } from '../../protocol/identity/spiffe-id.ts';
import { type JwtBundle, parseJwtBundle, parseX509Bundle, type X509Bundle } from './bundles.ts';
import { parseCertificate } from './certificate.ts';
import { concatenatedElements } from './der.ts';
import { evidenceSigner } from './evidence-signature.ts';
import { AgentUnavailable, type X509Identity } from './source.ts';

/**
 * A client of the SPIFFE Workload API on a unix socket. Each method opens one call; nothing here reconnects
 * (`WorkloadApiSource` does). Answers are parsed at this edge and bounded.
 */
export interface WorkloadApi {
  x509Contexts(signal: AbortSignal): AsyncIterable<X509Context>;
  jwtBundles(signal: AbortSignal): AsyncIterable<ReadonlyMap<string, JwtBundle>>;
  fetchJwt(audience: string, spiffeId: SpiffeId, signal: AbortSignal): Promise<string>;
  validateJwt(token: string, audience: string, signal: AbortSignal): Promise<SpiffeId>;
}

/** Our identities, the default first, and the bundles of every trust domain we may verify. */
export interface X509Context {
  readonly identities: readonly X509Identity[];
  readonly bundles: ReadonlyMap<string, X509Bundle>;
}

/** @param socketPath of the agent. @param now stamps what is received, milliseconds since the epoch. */
export function connectWorkloadApi(socketPath: string, now: () => number): WorkloadApi {
  const transport = createGrpcTransport({
    // Nothing resolves this name: every connection goes to the socket.
    baseUrl: 'http://localhost',
    nodeOptions: { createConnection: () => connect(socketPath) },
    readMaxBytes: MAX_ANSWER_BYTES,
    interceptors: [
      (next) => (request) => {
        request.header.set('workload.spiffe.io', 'true');
        return next(request);
      },
    ],
  });
  return new SocketWorkloadApi(createClient(SpiffeWorkloadAPI, transport), now);
}

class SocketWorkloadApi implements WorkloadApi {
  readonly #client: Client<typeof SpiffeWorkloadAPI>;
  readonly #now: () => number;

  constructor(client: Client<typeof SpiffeWorkloadAPI>, now: () => number) {
    this.#client = client;
    this.#now = now;
  }

  async *x509Contexts(signal: AbortSignal): AsyncIterable<X509Context> {
    for await (const answer of this.#client.fetchX509SVID({}, { signal })) yield parseContext(answer, this.#now());
  }

  async *jwtBundles(signal: AbortSignal): AsyncIterable<ReadonlyMap<string, JwtBundle>> {
    for await (const answer of this.#client.fetchJWTBundles({}, { signal })) yield parseJwtBundles(answer, this.#now());
  }

  async fetchJwt(audience: string, spiffeId: SpiffeId, signal: AbortSignal): Promise<string> {
    try {
      const answer = await this.#client.fetchJWTSVID(
        { audience: [audience], spiffeId },
        { signal, timeoutMs: CALL_MS },
      );
      const svid = answer.svids.find((candidate) => candidate.spiffeId === spiffeId);
      if (svid === undefined || svid.svid === '')
        throw new ShellstreamError('SAT_UNVERIFIABLE', 'the agent minted none');
      return svid.svid;
    } catch (cause) {
      throw unverifiable('the agent minted no token', cause);
    }
  }

  async validateJwt(token: string, audience: string, signal: AbortSignal): Promise<SpiffeId> {
    try {
      const answer = await this.#client.validateJWTSVID({ audience, svid: token }, { signal, timeoutMs: CALL_MS });
      const subject = parseSpiffeId(answer.spiffeId);
      if (subject === undefined) throw new ShellstreamError('SAT_INVALID', 'the agent named no SPIFFE ID');
      return subject;
    } catch (cause) {
      if (cause instanceof ConnectError && cause.code === Code.InvalidArgument)
        throw new ShellstreamError('SAT_INVALID', 'the agent refuses the token', { cause });
      throw unverifiable('the agent could not be asked', cause);
    }
  }
}

const MAX_ANSWER_BYTES = 4 * 1024 * 1024;
const MAX_IDENTITIES = 32;
const MAX_TRUST_DOMAINS = 256;
const MAX_CHAIN = 8;
/** An agent answers in milliseconds and its server in tens of them; a handshake does not wait longer than this. */
const CALL_MS = 3000;

function unverifiable(detail: string, cause: unknown): ShellstreamError {
  if (cause instanceof ShellstreamError) return cause;
  if (cause instanceof ConnectError && !ANSWERS.has(cause.code)) return new AgentUnavailable(detail, cause);
  return new ShellstreamError('SAT_UNVERIFIABLE', detail, { cause });
}

/** The agent decided something, and is not asked twice. Whatever else comes is of a connection that broke, or of a time that ran out. */
const ANSWERS: ReadonlySet<Code> = new Set([
  Code.InvalidArgument,
  Code.NotFound,
  Code.PermissionDenied,
  Code.Unauthenticated,
  Code.FailedPrecondition,
  Code.Unimplemented,
]);

function parseContext(answer: X509SVIDResponse, now: number): X509Context {
  if (answer.svids.length > MAX_IDENTITIES) throw malformed(`${answer.svids.length} identities`);
  const identities = answer.svids.map(parseIdentity);
  const bundles = new Map<string, X509Bundle>();
  for (const [id, der] of bounded(answer.federatedBundles)) {
    const bundle = unlessBroken(() => parseX509Bundle(trustDomainNamed(id), der, now));
    if (bundle !== undefined) bundles.set(bundle.trustDomain, bundle);
  }
  // Own bundles last: no federated entry may stand in for the bundle of our own trust domain.
  answer.svids.forEach((svid, at) => {
    const trustDomain = identities[at]?.trustDomain;
    if (trustDomain !== undefined) bundles.set(trustDomain, parseX509Bundle(trustDomain, svid.bundle, now));
  });
  return { identities, bundles };
}

function parseIdentity(svid: X509SVID): X509Identity {
  const spiffeId = parseSpiffeId(svid.spiffeId);
  if (spiffeId === undefined || pathOf(spiffeId) === '') throw malformed('an identity without a workload’s SPIFFE ID');
  const chain = concatenatedElements(svid.x509Svid, MAX_CHAIN);
  const [leaf, ...signing] = chain.map(parseCertificate);
  if (leaf === undefined) throw malformed('an identity without a certificate');
  if (leaf.extensions.names.uris.join() !== spiffeId) throw malformed('a certificate of another SPIFFE ID');
  const key = createPrivateKey({ key: Buffer.from(svid.x509SvidKey), format: 'der', type: 'pkcs8' });
  return {
    spiffeId,
    trustDomain: trustDomainOf(spiffeId),
    chain,
    expiresAt: Math.min(leaf.notAfter, ...signing.map((certificate) => certificate.notAfter)),
    sign: evidenceSigner(key),
    privateKey: key,
  };
}

function parseJwtBundles(answer: JWTBundlesResponse, now: number): ReadonlyMap<string, JwtBundle> {
  const bundles = new Map<string, JwtBundle>();
  for (const [id, json] of bounded(answer.bundles)) {
    const bundle = unlessBroken(() => parseJwtBundle(trustDomainNamed(id), json, now));
    if (bundle !== undefined) bundles.set(bundle.trustDomain, bundle);
  }
  return bundles;
}

/**
 * A bundle that does not parse is left out, so its domain is trusted for nothing. Refusing the whole answer would let
 * a federated domain stop our own rotation by publishing rubbish.
 */
function unlessBroken<T>(parse: () => T): T | undefined {
  try {
    return parse();
  } catch (error) {
    if (error instanceof ShellstreamError) return undefined;
    throw error;
  }
}

function bounded(bundles: Readonly<Record<string, Uint8Array>>): readonly (readonly [string, Uint8Array])[] {
  const entries = Object.entries(bundles);
  if (entries.length > MAX_TRUST_DOMAINS) throw malformed(`bundles of ${entries.length} trust domains`);
  return entries;
}

/** Keys of bundle maps are trust domain IDs; older agents send the bare name. */
function trustDomainNamed(text: string): string {
  const id = parseSpiffeId(text.startsWith('spiffe://') ? text : `spiffe://${text}`);
  if (id === undefined || pathOf(id) !== '') throw malformed('a bundle of no trust domain');
  return trustDomainOf(id);
}

function malformed(detail: string): ShellstreamError {
  return new ShellstreamError('MALFORMED', `the Workload API sent ${detail}`);
}
