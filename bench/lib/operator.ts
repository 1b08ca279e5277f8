import { Authority } from '../../certs-dev/authority.ts';
import { EntryIdentity } from '../../certs-dev/entry.ts';
import type { SessionRequest, SessionType, Tier } from '../../protocol/capability/model.ts';
import { VERSION } from '../../protocol/handshake/index.ts';
import { parseSpiffeId, trustDomainOf } from '../../protocol/identity/spiffe-id.ts';
import { systemClock as clock } from '../../src/base/clock.ts';
import { loadCryptoProvider } from '../../src/base/crypto.ts';
import { Descriptors } from '../../src/base/descriptors.ts';
import type { Overlay } from '../../src/enforcer/overlay.ts';
import { StreamsOnlyEnforcer } from '../../src/enforcer/streams-only.ts';
import type { Approach } from '../../src/enforcer/terminator-port.ts';
import { SpiffeAttestor } from '../../src/identity/attestor.ts';
import {
  evidenceSigner,
  MemoryIdentitySource,
  parseJwtBundle,
  parseX509Bundle,
  SpireSatVerifier,
  SvidVerifier,
  type X509Identity,
} from '../../src/identity/index.ts';
import { dialWebSocket, type Link } from '../../src/link/index.ts';
import { attestOver } from '../../src/mesh/dial.ts';
import type { Attested } from '../../src/session/attest.ts';
import { Session, type SessionListener } from '../../src/session/session.ts';

const TIMEOUT_MS = 30_000;
const WINDOW_BYTES = 262_144;
const POSTURE = { level: 5, epoch: 1n } as const;

export interface OperatorOptions {
  readonly path?: string;
  readonly tier?: Tier;
  /** With it, its sessions are those of a site that meshes. */
  readonly overlay?: Overlay;
}

/** An operator who is no cost of the gateway's: SVIDs and tokens are made in this process. */
export class Operator {
  readonly #type: SessionType;
  readonly #entry: EntryIdentity;
  readonly #source: MemoryIdentitySource;
  readonly #enforcer: StreamsOnlyEnforcer;
  readonly #handshake: { readonly crypto: ReturnType<typeof loadCryptoProvider>; readonly staticKey: StaticKey };
  readonly #gatewayId: string;
  readonly #url: string;

  /** The arguments that `GatewaySite.startClient` gives. */
  static fromArguments(
    argv: readonly string[],
    options: OperatorOptions = {},
  ): { readonly operator: Operator; readonly rest: readonly string[] } {
    const [domain = '', directory = '', gatewayId = '', url = '', ...rest] = argv.slice(2);
    return { operator: new Operator(domain, directory, gatewayId, url, options), rest };
  }

  private constructor(
    domain: string,
    directory: string,
    gatewayId: string,
    url: string,
    { path = '/operator', tier = 'master', overlay }: OperatorOptions,
  ) {
    this.#type = overlay === undefined ? 'operator' : 'mesh';
    const authority = new Authority({ trustDomain: domain, directory, clock });
    this.#entry = new EntryIdentity({ path, tier }, authority, clock, () => false);
    this.#source = new MemoryIdentitySource({
      identity: identityOf(this.#entry),
      bundles: {
        x509: new Map([[domain, parseX509Bundle(domain, authority.x509Bundle, clock.now())]]),
        jwt: new Map([[domain, parseJwtBundle(domain, authority.jwtBundle, clock.now())]]),
      },
      clock,
      issuer: {
        mintSat: async (audience) => this.#entry.jwt([audience]),
        validateSat: () => Promise.reject(new Error('nobody presents tokens to an operator')),
      },
    });
    const crypto = loadCryptoProvider();
    const attestor = new SpiffeAttestor({
      source: this.#source,
      svids: new SvidVerifier({ bundles: () => this.#source.bundles, clock }),
      sats: new SpireSatVerifier({ source: this.#source }),
      clock,
    });
    this.#enforcer = new StreamsOnlyEnforcer({
      crypto,
      clock,
      attestor,
      posture: POSTURE,
      ...(overlay === undefined ? {} : { overlay }),
    });
    this.#handshake = { crypto, staticKey: crypto.x25519Generate() };
    this.#gatewayId = gatewayId;
    this.#url = url;
  }

  /** A new key, certificate and token: the gateway has to verify all of them anew. */
  rotate(): void {
    this.#entry.rotate();
    this.#source.replaceIdentity(identityOf(this.#entry));
  }

  /** Up to GRANT. */
  async attest(request: SessionRequest): Promise<{ readonly link: Link; readonly attested: Attested }> {
    const link = await dialWebSocket(this.#url, { timeoutMs: TIMEOUT_MS });
    const parts = { clock, enforcer: this.#enforcer, handshake: this.#handshake, timeoutMs: TIMEOUT_MS };
    return { link, attested: await attestOver(link, parts, this.#approach(request)) };
  }

  async open(request: SessionRequest, listener: SessionListener): Promise<Session> {
    const { link, attested } = await this.attest(request);
    const parts = { clock, enforcer: this.#enforcer, posture: POSTURE, handshake: this.#handshake };
    const limits = { pingMs: 60_000, maxStreams: 64, windowBytes: WINDOW_BYTES, descriptors: new Descriptors(64) };
    return new Session({ ...parts, ...limits }, link, attested, listener, this.#approach(request));
  }

  #approach(request: SessionRequest): Approach {
    const offer = { versions: [VERSION], sessionType: this.#type, mode: 'overlay' } as const;
    return { offer, expectedId: this.#gatewayId, request };
  }
}

type StaticKey = ReturnType<ReturnType<typeof loadCryptoProvider>['x25519Generate']>;

function identityOf(entry: EntryIdentity): X509Identity {
  const { spiffeId: text, chain, expiresAt, privateKey } = entry.x509();
  const spiffeId = parseSpiffeId(text);
  if (spiffeId === undefined) throw new Error(`${text} is no SPIFFE ID`);
  return {
    spiffeId,
    trustDomain: trustDomainOf(spiffeId),
    chain,
    expiresAt,
    sign: evidenceSigner(privateKey),
    privateKey,
  };
}
