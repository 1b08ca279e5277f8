/**
 * A gateway put together: this folder holds the only files that construct and wire things. What a gateway needs of the
 * world comes in as `GatewayWorld`, so that the same gateway runs on the kernel (`run-gateway.ts`) and in memory.
 */

import { tierPolicyOf } from '../../protocol/capability/index.ts';
import type { CryptoProvider } from '../../protocol/noise/crypto.ts';
import { levelFromTrustedSource } from '../../protocol/posture/index.ts';
import type { Reason } from '../../protocol/reasons.ts';
import type { LoadedAccord } from '../base/accord-file.ts';
import type { Clock } from '../base/clock.ts';
import type { Config } from '../base/config.ts';
import { Listeners } from '../base/listeners.ts';
import type { Logger } from '../base/logger.ts';
import type { DataPlane } from '../dataplane/ports.ts';
import { LocalEnforcer } from '../enforcer/enforcer.ts';
import { Nonces } from '../enforcer/nonces.ts';
import { Overlay } from '../enforcer/overlay.ts';
import { acceptLink } from '../gateway/accept.ts';
import { AdmissionControl } from '../gateway/admission.ts';
import { SpiffeAttestor } from '../identity/attestor.ts';
import { type IdentitySource, SpireSatVerifier, SvidVerifier } from '../identity/index.ts';
import { type Carrier, webSocketCarrier } from '../link/index.ts';
import { openOver } from '../mesh/dial.ts';
import { Mesh } from '../mesh/mesh.ts';
import { PostureEngine } from '../posture/engine.ts';
import { SessionRegistry } from '../session/registry.ts';
import { meshApproach } from './approach.ts';
import { Isolation } from './isolation.ts';
import { Lease } from './lease.ts';
import { followExternalPosture, postureSteps } from './posture-steps.ts';

export interface GatewayWorld {
  readonly config: Config;
  readonly accord: LoadedAccord;
  readonly identity: IdentitySource;
  readonly dataplane: DataPlane;
  readonly crypto: CryptoProvider;
  readonly clock: Clock;
  readonly log: Logger;
  /** Uniform in [0, 1): jitter only. */
  readonly random: () => number;
  /** WebSockets unless told. */
  readonly carrier?: Carrier;
}

/** A running gateway, as its console and its tests see it. Disposing it ends its sessions and leaves nothing behind. */
export interface Gateway extends AsyncDisposable {
  readonly world: GatewayWorld;
  readonly port: number;
  readonly posture: PostureEngine;
  readonly registry: SessionRegistry;
  readonly enforcer: LocalEnforcer;
  /** Absent where no tunnel address is configured: such a gateway carries streams only. */
  readonly overlay: Overlay | undefined;
  readonly mesh: Mesh;
  readonly admission: AdmissionControl;
  readonly isolation: Isolation;
  readonly lease: Lease;
  readonly handshakes: Pick<Listeners<HandshakeOutcome>, 'add'>;
  readonly tokenChecks: Pick<Listeners<TokenCheck>, 'add'>;
  readonly startedAtMs: number;
}

/** A shell attestation token that was looked at. */
export interface TokenCheck {
  readonly fresh: boolean;
  readonly outcome: 'valid' | Reason;
  readonly seconds: number;
}

/** A handshake that ended, from the first record to the grant or the reason why not. */
export interface HandshakeOutcome {
  readonly role: 'initiator' | 'responder';
  readonly outcome: 'granted' | Reason;
  readonly seconds: number;
}

export async function startGateway(world: GatewayWorld): Promise<Gateway> {
  const { config, accord, identity, dataplane, crypto, clock, log, carrier = webSocketCarrier } = world;
  const { limits } = config;
  await using parts = new AsyncDisposableStack();

  // What a former run left has no session behind it. At lockdown its filter stays until ours takes its place.
  if (!(await isLockedDown(dataplane))) await dataplane.flows.reset();
  await removeStaleRoutes(dataplane);

  const tokenChecks = new Listeners<TokenCheck>();
  const attestor = new SpiffeAttestor({
    source: identity,
    svids: new SvidVerifier({ bundles: () => identity.bundles, clock }),
    sats: new SpireSatVerifier({ source: identity }),
    clock,
    onTokenChecked: (fresh, outcome, seconds) => tokenChecks.tell({ fresh, outcome, seconds }),
  });
  const posture = new PostureEngine({
    clock,
    log: log.child({ part: 'posture' }),
    initial: config.posture.initial,
    firstEpoch: BigInt(clock.now()),
  });
  const isolation = new Isolation(dataplane, config.posture);
  const lease = parts.use(await Lease.start(dataplane, clock, config.posture.leaseSeconds, log));
  const overlay = await openOverlay(world);
  if (overlay !== undefined) parts.use(overlay);
  const enforcer = new LocalEnforcer({
    crypto,
    clock,
    attestor,
    posture,
    dataplane,
    ...(overlay === undefined ? {} : { overlay }),
    accord: accord.accord,
    accordHash: accord.hash,
    tiers: tierPolicyOf(accord.accord, config.site.trustDomain),
    nonces: new Nonces(clock, { lifetimeMs: NONCE_LIFETIME_MS, limit: MAX_NONCES }),
    keepaliveOf: (spiffeId) => config.mesh.peers.find((peer) => peer.spiffeId === spiffeId)?.keepaliveSeconds ?? 0,
  });
  // Noise static keys live as long as the process.
  const handshake = { crypto, staticKey: crypto.x25519Generate() };
  const registry = new SessionRegistry({
    clock,
    enforcer,
    posture,
    accord: accord.accord,
    handshake,
    log: log.child({ part: 'session' }),
    limits,
    pingMs: (limits.silenceSeconds * 1000) / SILENT_PERIODS,
    maxStreams: limits.streamsPerSession,
    windowBytes: limits.streamWindowBytes,
  });

  const handshakes = new Listeners<HandshakeOutcome>();
  const admission = new AdmissionControl(posture, accord.accord, clock, limits);
  const handshakeTimeoutMs = limits.handshakeSeconds * 1000;
  const mesh = parts.use(
    new Mesh({
      clock,
      log: log.child({ part: 'mesh' }),
      posture,
      accord: accord.accord,
      registry,
      random: world.random,
      peers: config.mesh.peers,
      approachOf: (peer) => meshApproach(config, peer),
      dial: async (endpoint, approach, signal) => {
        const link = await carrier.dial(endpoint, { signal, timeoutMs: handshakeTimeoutMs });
        return await openOver(link, { clock, enforcer, handshake, timeoutMs: handshakeTimeoutMs, registry }, approach);
      },
    }),
  );

  const steps = postureSteps({ dataplane, isolation, registry, overlay, mesh });
  await followExternalPosture(parts, dataplane, posture, log);
  await posture.start(steps.dataPlane, steps.sessionLayer);
  parts.use(identity.onChange((change) => change === 'identity' && registry.identityRotated()));

  const acceptParts = {
    clock,
    log: log.child({ part: 'gateway' }),
    enforcer,
    handshake,
    registry,
    handshakeTimeoutMs,
    onOutcome: (outcome: 'granted' | Reason, seconds: number) =>
      handshakes.tell({ role: 'responder', outcome, seconds }),
  };
  const listener = parts.use(
    await carrier.listen({
      ...config.listen,
      admit: (remoteAddress) => admission.refuses(remoteAddress) === undefined,
      accept: (link) => {
        using pending = new DisposableStack();
        const counted = pending.use(admission.begin());
        pending.move();
        void acceptLink(acceptParts, link).finally(() => counted[Symbol.dispose]());
      },
    }),
  );
  mesh.start();
  log.info('gateway started', { port: listener.port, interface: overlay?.device.name, level: posture.level });

  const owned = parts.move();
  return {
    world,
    port: listener.port,
    posture,
    registry,
    enforcer,
    overlay,
    mesh,
    admission,
    isolation,
    lease,
    handshakes,
    tokenChecks,
    startedAtMs: clock.now(),
    async [Symbol.asyncDispose]() {
      admission.close();
      await mesh[Symbol.asyncDispose]();
      await registry.drainAll('SHUTTING_DOWN', config.shutdownSeconds * 1000);
      await owned.disposeAsync();
      // At lockdown the outer interfaces stay shut when nobody is left to open them.
      if (posture.level > 1) await dataplane.flows.reset();
      log.info('gateway stopped', {});
    },
  };
}

const NONCE_LIFETIME_MS = 30_000;
/** More than the admission rates of many networks let in during a nonce's life; about 2 MB. */
const MAX_NONCES = 16_384;
const SILENT_PERIODS = 3;
/** Mesh sessions at once; as many slots have the flow maps by default. */
const MESH_SLOTS = 1024;

async function openOverlay({ config, dataplane, crypto }: GatewayWorld): Promise<Overlay | undefined> {
  const { interface: interfaceName, port: listenPort, mtu, addresses } = config.wireguard;
  if (addresses.length === 0) return undefined;
  return await Overlay.open(dataplane, crypto, { interfaceName, listenPort, mtu, addresses, slots: MESH_SLOTS });
}

/**
 * Routes of our protocol that a former run left. Those over a tunnel belong to another instance on this host: our own
 * tunnels of former runs are gone by now, and their routes with them.
 */
async function removeStaleRoutes({ network }: DataPlane): Promise<void> {
  const tunnels = new Set(
    (await network.links()).filter(({ name }) => name.startsWith('shs')).map(({ ifindex }) => ifindex),
  );
  await network.removeRoutes((await network.routes()).filter(({ ifindex }) => !tunnels.has(ifindex)));
}

async function isLockedDown({ flows }: DataPlane): Promise<boolean> {
  const { external, own } = await flows.posture();
  return Math.min(levelFromTrustedSource(external), levelFromTrustedSource(own)) === 1;
}
