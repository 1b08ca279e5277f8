/**
 * Nodes without a kernel and without sockets: a real enforcer with real certificates over a data plane in memory, and
 * the handshake between two of them step by step, so that a test can put an attack between any two steps.
 */
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type EntryOptions, memorySource } from '../../certs-dev/index.ts';
import { TrustDomain } from '../../certs-dev/trust-domain.ts';
import {
  type Prefix,
  type SessionRequest,
  type SessionType,
  type Target,
  type Tier,
  tierPolicyOf,
} from '../../protocol/capability/index.ts';
import { ShellstreamError } from '../../protocol/errors.ts';
import {
  type ConfirmBody,
  type Evidence,
  encodeConfirmBody,
  initiate,
  type Offer,
  parseConfirmBody,
  parseVerifyBody,
  type Role,
  respond,
  signedMessage,
} from '../../protocol/handshake/index.ts';
import { type SpiffeId, trustDomainOf } from '../../protocol/identity/spiffe-id.ts';
import { parsePrefix } from '../../protocol/net/prefix.ts';
import type { Accord, PostureLevel } from '../../protocol/posture/index.ts';
import { accordHash, parseAccord } from '../../protocol/posture/parse-accord.ts';
import { DEFAULT_ACCORD_FILE, type LoadedAccord } from '../../src/base/accord-file.ts';
import type { Clock } from '../../src/base/clock.ts';
import { nodeCrypto as crypto } from '../../src/base/crypto-node.ts';
import { SimulatedClock } from '../../src/base/simulated-clock.ts';
import { createMemoryDataPlane, type MemoryDataPlane, MemoryWire } from '../../src/dataplane/memory/index.ts';
import { SessionDirectory } from '../../src/enforcer/directory.ts';
import { LocalEnforcer } from '../../src/enforcer/enforcer.ts';
import type { HeldSites } from '../../src/enforcer/held-sites.ts';
import { Nonces } from '../../src/enforcer/nonces.ts';
import { Overlay } from '../../src/enforcer/overlay.ts';
import type { Admission, AdmitInput, Connection, SessionId } from '../../src/enforcer/ports.ts';
import { SpiffeAttestor } from '../../src/identity/attestor.ts';
import { SpireSatVerifier, SvidVerifier } from '../../src/identity/index.ts';
import { parseJwtSvid } from '../../src/identity/jwt-svid.ts';

export const TARGET = { prefix: parsePrefix('10.2.0.10/32'), protocol: 6, port: 8080 };
export const MANAGEMENT = { prefix: parsePrefix('10.2.0.10/32'), protocol: 6, port: 9443 };
/** Behind site-a, for site-b alone. */
export const PRINTER = { prefix: parsePrefix('10.1.0.20/32'), protocol: 6, port: 631 };
export const REQUEST: SessionRequest = { capabilities: ['OBSERVE', 'CONNECT'], targets: [TARGET], advertise: [] };

/** One accord for every node of a test: who may have which prefixes behind it, and what may be reached. */
export const ACCORD = loadAccordText(`
apiVersion: shellstream.accord/v1
extends: default
serial: 1
signer: none
minimumVersion: 1
id: memory
levels:
  3: { overlay: { keepaliveSeconds: 9 } }
  2: { overlay: { keepaliveSeconds: 9 } }
  1: { overlay: { keepaliveSeconds: 9 } }
targets:
  - name: web
    class: ordinary
    prefixes: [10.2.0.10/32]
    protocol: tcp
    ports: [8080]
    allow: [{ identities: any, minimumTier: apprentice }]
  - name: console
    class: management
    prefixes: [10.2.0.10/32]
    protocol: tcp
    ports: [9443]
    allow: [{ identities: any, minimumTier: apprentice }]
  - name: loopback
    class: ordinary
    prefixes: [127.0.0.1/32]
    protocol: tcp
    ports: [1-65535]
    allow: [{ identities: any, minimumTier: apprentice, types: [operator, management] }]
  - name: printer
    class: ordinary
    prefixes: [10.1.0.20/32]
    protocol: tcp
    ports: [631, 632]
    allow: [{ identities: ['spiffe://b.test/gateway'], minimumTier: journeyman }]
advertise:
  - identities: ['spiffe://b.test/gateway']
    prefixes: [10.2.0.0/24, 10.99.0.2/32]
  - identities: ['spiffe://a.test/gateway']
    prefixes: [10.1.0.0/24, 10.99.0.1/32]
  - identities: ['spiffe://c.test/gateway']
    prefixes: [10.1.0.0/16, 10.99.0.3/32]
tiers:
  assigned:
    - { identity: 'spiffe://b.test/gateway', tier: master }
  ceilings:
    - { identity: 'spiffe://a.test/**', tier: site_owner }
    - { identity: 'spiffe://b.test/**', tier: site_owner }
    - { identity: 'spiffe://c.test/**', tier: site_owner }
`);

function loadAccordText(text: string): LoadedAccord {
  const base = readFileSync(DEFAULT_ACCORD_FILE);
  const parsed = parseAccord(base);
  const bytes = new TextEncoder().encode(text);
  const accord: Accord = parseAccord(bytes, { bases: new Map([[parsed.id, parsed]]) });
  return { accord, hash: accordHash((data) => crypto.sha256(data), bytes), document: bytes };
}

export type MemoryDomains = Awaited<ReturnType<typeof memoryDomains>>;

/** Federated trust domains a.test, b.test and c.test, each with a gateway; no sockets. */
export async function memoryDomains(clock: Clock) {
  const directory = mkdtempSync(join(tmpdir(), 'shs-memory-'));
  const names = ['a', 'b', 'c'] as const;
  const domains = names.map(
    (name) => new TrustDomain({ name: `${name}.test`, directory: join(directory, name), clock }),
  );
  for (const one of domains)
    for (const other of domains) if (one !== other) one.trust(other.name, () => other.bundle());
  const identity = async (
    name: (typeof names)[number],
    path = '/gateway',
    options: Pick<EntryOptions, 'jwtTtlMs' | 'tier'> = {},
  ) => {
    const domain = domains.find((candidate) => candidate.name === `${name}.test`);
    if (domain === undefined) throw new Error(`no domain ${name}`);
    const entry = await domain.register({
      path,
      tier: 'master',
      ...options,
      socket: `${path.slice(1)}-${Math.random()}.sock`,
    });
    const source = memorySource(domain, entry, clock);
    /** Audiences of the tokens minted, in order; and what to do before a token is minted or confirmed. */
    const tokens = { minted: [] as string[], beforeMint: () => {}, beforeConfirm: () => {} };
    const fetchSat = source.fetchSat.bind(source);
    source.fetchSat = async (audience, signal) => {
      tokens.beforeMint();
      tokens.minted.push(audience);
      return await fetchSat(audience, signal);
    };
    // At once, where the domain's own answer comes from a thread: simulated time would run away from it.
    source.validateSat = async (token, audience) => {
      tokens.beforeConfirm();
      const { claims, keyId, isSignedBy } = parseJwtSvid(token);
      const authority = source.bundles.jwt.get(trustDomainOf(claims.subject))?.authorities.get(keyId);
      if (authority === undefined || !isSignedBy(authority) || claims.audience !== audience) {
        throw new ShellstreamError('SAT_INVALID', 'the agent refuses the token');
      }
      return claims.subject;
    };
    return { domain, entry, source, tokens };
  };
  return {
    identity,
    [Symbol.asyncDispose]: async () => {
      for (const domain of domains) await domain.stop();
      rmSync(directory, { recursive: true, force: true });
    },
  };
}

export type MemoryNode = Awaited<ReturnType<MemoryWorld['node']>>;

/** Nodes that share a clock and a WireGuard network. */
export class MemoryWorld implements AsyncDisposable {
  readonly clock = new SimulatedClock();
  readonly wire = new MemoryWire();
  #domains: MemoryDomains | undefined;
  #hosts = 0;

  async node(
    name: 'a' | 'b' | 'c',
    options: { readonly path?: string; readonly tunnelAddress?: string; readonly tier?: Tier } = {},
  ) {
    const { clock, wire } = this;
    this.#domains ??= await memoryDomains(clock);
    this.#hosts += 1;
    const tier = options.tier ?? 'master';
    const identity = await this.#domains.identity(name, options.path, { tier });
    return await memoryNode({ clock, wire, name, identity, host: `192.0.2.${this.#hosts}`, ...options });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#domains?.[Symbol.asyncDispose]();
  }
}

export interface MemoryNodeOptions {
  readonly clock: SimulatedClock;
  readonly wire: MemoryWire;
  readonly name: 'a' | 'b' | 'c';
  readonly identity: Awaited<ReturnType<MemoryDomains['identity']>>;
  readonly host: string;
  readonly tunnelAddress?: string;
}

export async function memoryNode({ clock, wire, name, identity, host, ...options }: MemoryNodeOptions) {
  const { source, tokens, entry } = identity;
  const dataplane = createMemoryDataPlane({ clock, wire, host });
  const posture: { level: PostureLevel; epoch: bigint } = { level: 5, epoch: 1n };
  const nonces = new Nonces(clock, { lifetimeMs: 30_000, limit: 16 });
  const attestor = new SpiffeAttestor({
    source,
    svids: new SvidVerifier({ bundles: () => source.bundles, clock }),
    sats: new SpireSatVerifier({ source }),
    clock,
  });
  const { accord, hash } = ACCORD;
  const tunnelAddress = options.tunnelAddress ?? `10.99.0.${{ a: 1, b: 2, c: 3 }[name]}`;
  const overlay = await Overlay.open(dataplane, crypto, {
    interfaceName: `shs${name}-0`,
    listenPort: 51_840,
    mtu: 1_420,
    addresses: [parsePrefix(`${tunnelAddress}/32`)],
    slots: 64,
  });
  const holds = new ScriptedHolds();
  const parts = { crypto, clock, attestor, posture, nonces, dataplane, overlay, accord, accordHash: hash, holds };
  const tiers = tierPolicyOf(accord, `${name}.test`);
  const directory = new SessionDirectory({ sessions: 1_000, sessionsPerIdentity: 100 });
  const revoked: SessionId[] = [];
  const onRevoked = (session: SessionId): void => void revoked.push(session);
  const opens: Opens = { offer: [], advertise: [] };
  const enforcer = new LocalEnforcer({
    ...parts,
    directory,
    tiers,
    keepaliveOf: () => 25,
    intends: () => true,
    offerTo: () => opens.offer,
    advertiseTo: () => opens.advertise,
    onRevoked,
  });
  await dataplane.flows.renewLease(dataplane.bootTimeNs() + 86_400_000_000_000n);
  const change = (level: PostureLevel): void => {
    posture.level = level;
    posture.epoch += 1n;
  };
  const spiffeId = source.current().spiffeId;
  return { ...parts, spiffeId, host, source, tokens, entry, directory, enforcer, revoked, change, opens };
}

/** What a node opens to whoever it dials, and where it says it comes from to whoever opens something to it. */
interface Opens {
  offer: readonly Target[];
  advertise: readonly Prefix[];
}

/** Who is held is what the test says. */
export class ScriptedHolds implements HeldSites {
  readonly held = new Set<string>();
  /** Who may end a hold by attesting, and which trust domain's. */
  readonly ceremony = new Set<string>();

  isHeld(identity: SpiffeId): boolean {
    return this.held.has(trustDomainOf(identity));
  }

  mayAttestRelease(identity: SpiffeId): boolean {
    return this.isHeld(identity) && this.ceremony.has(identity);
  }

  get awaitsAttestation(): boolean {
    return this.held.size > 0 && this.ceremony.size > 0;
  }

  async releaseAttested(identity: SpiffeId): Promise<void> {
    this.held.delete(trustDomainOf(identity));
  }
}

export interface Attempt {
  readonly admit: AdmitInput;
  /** What the initiator makes of an admission. */
  accept(admission: Admission): Promise<Admission>;
}

export interface AttemptOptions {
  readonly type?: SessionType;
  readonly request?: SessionRequest;
  readonly expectedId?: string;
  readonly prologue?: Uint8Array;
  readonly renews?: SessionId;
  readonly keys?: Partial<Record<Role, ReturnType<typeof crypto.x25519Generate>>>;
  /** What the initiator says in message 3 instead of message 1's offer. */
  readonly confirmOffer?: Offer;
  /** What a dishonest initiator makes of its message 3, and signs. */
  readonly lie?: (body: ConfirmBody) => ConfirmBody;
}

let lastPort = 40_000;

/** Messages 1 to 3 between two nodes; what comes out is what a terminator would hand to the responder's enforcer. */
export async function attempt(from: MemoryNode, to: MemoryNode, options: AttemptOptions = {}): Promise<Attempt> {
  const { request = REQUEST, expectedId = to.spiffeId, type = 'mesh', prologue } = options;
  const offer: Offer = { versions: [1], sessionType: type, mode: 'overlay' };
  const handshake = (role: Role) => ({
    crypto,
    staticKey: options.keys?.[role] ?? crypto.x25519Generate(),
    ...(prologue === undefined ? {} : { prologue }),
  });
  const first = initiate(handshake('initiator'), offer);
  const init = respond(handshake('responder')).readInit(first.record);
  const second = init.writeVerify(await to.enforcer.challenge(init));
  const verify = first.next.readVerify(second.record);
  const renews = options.renews === undefined ? {} : { renews: options.renews };
  const honest = await from.enforcer.approach({
    ...verify,
    offer: options.confirmOffer ?? offer,
    expectedId,
    request,
    ...renews,
  });
  const evidence = options.lie === undefined ? honest : signedAnew(from, verify, options.lie, honest);
  const third = verify.writeConfirm(evidence);
  const confirm = second.next.readConfirm(third.record);
  const { wireguard } = parseConfirmBody(confirm.evidence.body);
  const shared = wireguard === undefined ? undefined : confirm.wireguardShared(wireguard.publicKey);
  lastPort += 1;
  return {
    admit: {
      offer: confirm.offer,
      evidence: confirm.evidence,
      transcript: confirm.transcript,
      staticKey: confirm.staticKey,
      ephemeralKey: confirm.ephemeralKey,
      handshakeHash: confirm.handshakeHash,
      connection: connection(to, 7_843, from, lastPort),
      ...(shared === undefined ? {} : { wireguardShared: shared }),
      ...renews,
    },
    accept: (admission) => {
      const grant = admission.answer;
      if (grant === undefined) throw new Error('an admission without an answer');
      const back = grant.wireguard === undefined ? undefined : third.next.wireguardShared(grant.wireguard.publicKey);
      return from.enforcer.accept({
        nonce: parseVerifyBody(verify.evidence.body).nonce,
        grant,
        handshakeHash: third.next.handshakeHash,
        connection: connection(from, lastPort, to, 7_843),
        ...(back === undefined ? {} : { wireguardShared: back }),
        ...renews,
      });
    },
  };
}

function signedAnew(
  { attestor }: MemoryNode,
  { transcript, staticKey }: { readonly transcript: Uint8Array; readonly staticKey: Uint8Array },
  lie: (body: ConfirmBody) => ConfirmBody,
  honest: Evidence,
): Evidence {
  const body = encodeConfirmBody(lie(parseConfirmBody(honest.body)));
  const message = signedMessage(crypto, { role: 'initiator', transcript, staticKey }, body);
  return { ...honest, body, signature: attestor.self().sign(message) };
}

/** A whole first attestation; both ends stand. */
export async function establish(from: MemoryNode, to: MemoryNode, options: AttemptOptions = {}) {
  const tried = await attempt(from, to, options);
  const hosted = await to.enforcer.admit(tried.admit);
  const visited = await tried.accept(hosted);
  return { hosted, visited };
}

/** How much of sessions stands in a data plane. */
export async function footprint({ flows, network }: MemoryDataPlane, overlay?: Overlay) {
  const { policies, live, sources } = flows.entries;
  return {
    sessions: flows.sessions.length,
    policies,
    live,
    sources,
    peers: (await overlay?.device.peers())?.length ?? 0,
    routes: (await network.routes()).length,
  };
}

export const NOTHING = { sessions: 0, policies: 0, live: 0, sources: 0, peers: 0, routes: 0 };

function connection(local: MemoryNode, localPort: number, remote: MemoryNode, remotePort: number): Connection {
  return { localAddress: local.host, localPort, remoteAddress: remote.host, remotePort };
}
