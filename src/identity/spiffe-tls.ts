/**
 * TLS 1.3 between two SVIDs, for the services beside the mesh: both ends present theirs, and the verifier of handshake
 * evidence decides, not Node's list of authorities. TLS proves only that an end holds the key of the certificate that
 * it shows. Nobody reads or writes a socket before the other end was verified and accepted.
 */
import { once } from 'node:events';
import type { AddressInfo } from 'node:net';
import { connect as connectTls, createServer, type SecureContextOptions, type TLSSocket } from 'node:tls';
import { reasonOf, ShellstreamError } from '../../protocol/errors.ts';
import type { SpiffeId } from '../../protocol/identity/spiffe-id.ts';
import type { Clock } from '../base/clock.ts';
import type { IdentitySource, X509Identity } from './source.ts';
import type { SvidVerifier } from './svid-verifier.ts';
import type { VerifiedSvid } from './x509-svid.ts';

export interface SpiffeTlsParts {
  readonly identity: IdentitySource;
  readonly svids: SvidVerifier;
  readonly clock: Clock;
}

/** A connection whose other end is `peer`. It is destroyed once the SVID expires, or its authority leaves the bundle. */
export interface AuthenticatedSocket {
  readonly socket: TLSSocket;
  readonly peer: VerifiedSvid;
}

/** Which identities may be at the other end. */
export type Accepts = (peer: SpiffeId) => boolean;

/**
 * Connects and resolves once the other end is verified.
 * @throws ShellstreamError CONNECTION_LOST when nobody answers in time; our own SVID's refusals of `IdentitySource.current`;
 *   the refusals of `verifySvid`; WRONG_IDENTITY for an identity that is not accepted
 */
export async function connectSpiffeTls(
  parts: SpiffeTlsParts,
  { host, port }: { readonly host: string; readonly port: number },
  accepts: Accepts,
  signal: AbortSignal,
): Promise<AuthenticatedSocket> {
  const socket = connectTls({ ...VERIFYING, ...contextOf(parts.identity.current()), host, port });
  const giveUp = (): void => void socket.destroy(new ShellstreamError('CONNECTION_LOST', 'given up'));
  const timer = parts.clock.after(HANDSHAKE_MS, giveUp);
  signal.addEventListener('abort', giveUp, { once: true });
  try {
    if (signal.aborted) giveUp();
    await once(socket, 'secureConnect');
    return { socket, peer: authenticated(parts, socket, accepts) };
  } catch (cause) {
    socket.destroy();
    if (cause instanceof ShellstreamError) throw cause;
    throw new ShellstreamError('CONNECTION_LOST', `no TLS with ${host}:${port}`, { cause });
  } finally {
    timer.cancel();
    signal.removeEventListener('abort', giveUp);
  }
}

export interface SpiffeTlsListener extends AsyncDisposable {
  readonly address: AddressInfo;
}

export interface SpiffeTlsService {
  readonly host: string;
  /** 0: the kernel chooses. */
  readonly port: number;
  readonly accepts: Accepts;
  /** Strangers included, until they are found out. */
  readonly maxConnections: number;
  onConnection(connection: AuthenticatedSocket): void;
  /** Somebody who was not let in, and why. */
  onRefused?(error: unknown): void;
}

/** Listens with whatever SVID we have at the moment of a connection, if any yet; without a valid one nobody is let in. */
export async function listenSpiffeTls(parts: SpiffeTlsParts, service: SpiffeTlsService): Promise<SpiffeTlsListener> {
  const { host, port, accepts, maxConnections } = service;
  const live = new Set<TLSSocket>();
  const server = createServer({ ...VERIFYING, ...ownContext(parts.identity), handshakeTimeout: HANDSHAKE_MS });
  server.maxConnections = maxConnections;
  server.on('tlsClientError', (error) => service.onRefused?.(error));
  server.on('secureConnection', (socket) => {
    live.add(socket);
    socket.on('close', () => live.delete(socket));
    try {
      // An SVID that ran out since the server was given it must not speak for us.
      parts.identity.current();
      service.onConnection({ socket, peer: authenticated(parts, socket, accepts) });
    } catch (error) {
      socket.destroy();
      service.onRefused?.(error);
    }
  });
  const rotation = parts.identity.onChange((change) => {
    if (change === 'identity') server.setSecureContext(contextOf(parts.identity.current()));
  });
  server.listen(port, host);
  await once(server, 'listening');
  const address = server.address();
  if (address === null || typeof address === 'string') throw new ShellstreamError('INTERNAL', 'no address');
  return {
    address,
    async [Symbol.asyncDispose]() {
      rotation[Symbol.dispose]();
      const closed = once(server, 'close');
      server.close();
      for (const socket of live) socket.destroy();
      await closed;
    },
  };
}

/** Of a stranger who says nothing, or an address that swallows packets. */
const HANDSHAKE_MS = 5_000;
/** As many certificates as `verifySvid` takes, and one that it refuses. */
const MAX_CERTIFICATES = 9;
/** Of HTTP/2; gRPC speaks nothing else. */
const PROTOCOL = 'h2';

/** Who is vouched for by whom is not Node's to say. */
const VERIFYING = { ALPNProtocols: [PROTOCOL], requestCert: true, rejectUnauthorized: false } as const;

function contextOf({ chain, privateKey }: X509Identity) {
  return {
    key: privateKey.export({ type: 'pkcs8', format: 'pem' }),
    cert: chain.map(pem).join(''),
    // No authority of the host's.
    ca: [],
    minVersion: 'TLSv1.3',
  } as const satisfies SecureContextOptions;
}

/** Without a certificate there is no handshake: what is listened to before the first SVID lets nobody in until there is one. */
function ownContext(identity: SpiffeTlsParts['identity']): SecureContextOptions {
  try {
    return contextOf(identity.current());
  } catch (error) {
    if (reasonOf(error) === 'NO_BUNDLE' || reasonOf(error) === 'SVID_EXPIRED') return { minVersion: 'TLSv1.3' };
    throw error;
  }
}

/** The verified other end of a finished handshake, and the connection's end bound to its SVID's. */
function authenticated(parts: SpiffeTlsParts, socket: TLSSocket, accepts: Accepts): VerifiedSvid {
  const chain = presentedChain(socket);
  // A resumed session shows the certificates of another day: never verified again, nor proved to be held.
  if (socket.isSessionReused()) throw new ShellstreamError('WRONG_IDENTITY', 'a resumed TLS session');
  if (socket.alpnProtocol !== PROTOCOL) throw new ShellstreamError('NO_COMMON_VERSION', 'not HTTP/2');
  const peer = parts.svids.verify(chain);
  if (!accepts(peer.spiffeId)) {
    throw new ShellstreamError('WRONG_IDENTITY', undefined, { fields: { spiffeId: peer.spiffeId } });
  }
  boundTo(parts, socket, chain, peer);
  return peer;
}

/** DER, leaf first. Empty when the other end showed none, which `verifySvid` refuses. */
function presentedChain(socket: TLSSocket): readonly Uint8Array[] {
  const chain: Uint8Array[] = [];
  let next = socket.getPeerX509Certificate();
  while (next !== undefined && chain.length < MAX_CERTIFICATES) {
    chain.push(next.raw);
    next = next.issuerCertificate;
  }
  return chain;
}

function boundTo(parts: SpiffeTlsParts, socket: TLSSocket, chain: readonly Uint8Array[], peer: VerifiedSvid): void {
  const end = (cause: unknown): void =>
    void socket.destroy(new ShellstreamError('SVID_EXPIRED', 'the SVID of this connection', { cause }));
  const expiry = parts.clock.after(peer.expiresAt - parts.clock.now(), () => end(undefined));
  const bundles = parts.identity.onChange((change) => {
    if (change !== 'bundles') return;
    try {
      parts.svids.verify(chain);
    } catch (error) {
      end(error);
    }
  });
  socket.once('close', () => {
    expiry.cancel();
    bundles[Symbol.dispose]();
  });
  // Whoever uses the socket hears of its end; without a listener an error would end the process.
  socket.on('error', () => undefined);
}

function pem(der: Uint8Array): string {
  const lines =
    Buffer.from(der)
      .toString('base64')
      .match(/.{1,64}/g) ?? [];
  return `-----BEGIN CERTIFICATE-----\n${lines.join('\n')}\n-----END CERTIFICATE-----\n`;
}
