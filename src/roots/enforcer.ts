/**
 * The enforcer's half of a gateway put together: identity, posture, data plane, the mesh's intentions, and the directory
 * of what stands. Connections and Noise keys are the terminators', which are taken on with `hire`.
 */
import { lookup } from 'node:dns/promises';
import { isIP } from 'node:net';
import { tierPolicyOf } from '../../protocol/capability/index.ts';
import { reasonOf, ShellstreamError } from '../../protocol/errors.ts';
import { levelFromTrustedSource, mostRestrictive, type PostureLevel } from '../../protocol/posture/index.ts';
import type { Reason } from '../../protocol/reasons.ts';
import { interfacePrefix } from '../base/config.ts';
import type { Endpoint } from '../base/config-schema.ts';
import { Listeners } from '../base/listeners.ts';
import type { DataPlane } from '../dataplane/ports.ts';
import { SessionDirectory } from '../enforcer/directory.ts';
import { LocalEnforcer } from '../enforcer/enforcer.ts';
import { Nonces } from '../enforcer/nonces.ts';
import { Overlay, type OverlaySpec } from '../enforcer/overlay.ts';
import { Overseer } from '../enforcer/overseer.ts';
import type { SessionId } from '../enforcer/ports.ts';
import type { Approach, Terminator } from '../enforcer/terminator-port.ts';
import { Terminators } from '../enforcer/terminators.ts';
import { SpiffeAttestor } from '../identity/attestor.ts';
import { SpireSatVerifier, SvidVerifier } from '../identity/index.ts';
import type { Revocations } from '../identity/revocations.ts';
import type { Holds } from '../mesh/holds.ts';
import { Mesh } from '../mesh/mesh.ts';
import { ConsoleStatements } from '../posture/console-statements.ts';
import { PostureEngine } from '../posture/engine.ts';
import { FORGETFUL } from '../posture/unconfirmed-store.ts';
import type { Underlay } from '../underlay/underlay.ts';
import { intentions, meshApproach, meshForwards, meshOpenings } from './approach.ts';
import type { EnforcerWorld } from './enforcer-world.ts';
import { type NodeEvidence, openEvidence, recordHolds } from './evidence.ts';
import { followHolds, openHolds } from './holds.ts';
import { Isolation, keepCovered } from './isolation.ts';
import { leftInKernel, recordLateSnapshots } from './late-snapshot.ts';
import { Lease } from './lease.ts';
import { recordLevelsSeen } from './level-telemetry.ts';
import { guardOwnSlot } from './own-slot.ts';
import { PostureEvidence } from './posture-evidence.ts';
import { type PostureSources, startPostureSources } from './posture-sources.ts';
import { postureSteps } from './posture-steps.ts';
import { relaysOf, watchUdp } from './relays.ts';
import { followRevocations, openRevocations, startRevocationFeeds } from './revocation.ts';
import { recordRevocations } from './revocation-evidence.ts';
import { removeStaleRoutes } from './stale-routes.ts';
import { adoptOverlay, type Former, findFormer, type Survival, startSurvival } from './survival.ts';
import { translationsOf } from './translations.ts';
import { followRevokedOwners, openUnderlay } from './underlay.ts';

/** A shell attestation token that was looked at. */
export interface TokenCheck {
  readonly fresh: boolean;
  readonly outcome: 'valid' | Reason;
  readonly seconds: number;
}

/** Disposing ends every session and leaves nothing behind. */
export interface EnforcerNode extends AsyncDisposable {
  readonly world: EnforcerWorld;
  readonly posture: PostureEngine;
  readonly sources: PostureSources;
  readonly console: ConsoleStatements;
  readonly directory: SessionDirectory;
  readonly terminators: Terminators;
  /** Absent where no tunnel address is configured: such a gateway carries streams only. */
  readonly overlay: Overlay | undefined;
  readonly mesh: Mesh;
  readonly holds: Holds;
  readonly underlay: Underlay;
  readonly revocations: Revocations;
  /** Absent where none is kept. */
  readonly evidence: NodeEvidence | undefined;
  readonly isolation: Isolation;
  readonly lease: Lease;
  readonly tokenChecks: Pick<Listeners<TokenCheck>, 'add'>;
  readonly startedAtMs: number;
  /** Of sessions of terminators that outlive this process. */
  readonly survival: Survival | undefined;
  /**
   * Takes on a terminator: `start` is given its door to this enforcer. Disposing lets it go, and takes away
   * whatever it still holds.
   * @param options `outlives`: should this process die, it keeps its sessions for the next one
   */
  hire<T extends Terminator>(
    start: (enforcer: LocalEnforcer) => Promise<T>,
    options?: { readonly outlives?: boolean },
  ): Promise<Engagement<T>>;
}

export interface Engagement<T extends Terminator> extends AsyncDisposable {
  readonly terminator: T;
  readonly enforcer: LocalEnforcer;
}

export async function startEnforcer(world: EnforcerWorld): Promise<EnforcerNode> {
  const { config, accord, identity, dataplane, crypto, clock, log } = world;
  await using parts = new AsyncDisposableStack();

  const revocations = openRevocations(world);
  // What else a former run left has no session behind it. At lockdown its filter stays until ours takes its place.
  const isLocked = await isLockedDown(dataplane);
  const left = await leftInKernel(world, isLocked);
  const former = await findFormer(world, isLocked);
  await dataplane.tunnels.removeLeftovers(interfacePrefix(config.instance));
  if (!isLocked) await dataplane.flows.reset(former?.tunnel.device.ifindex);
  await removeStaleRoutes(world);

  const tokenChecks = new Listeners<TokenCheck>();
  const svids = new SvidVerifier({ bundles: () => identity.bundles, clock });
  const sats = new SpireSatVerifier({ source: identity });
  const attestor = new SpiffeAttestor({
    source: identity,
    svids,
    sats,
    clock,
    onTokenChecked: (fresh, outcome, seconds) => tokenChecks.tell({ fresh, outcome, seconds }),
  });
  const posture = parts.use(
    new PostureEngine({
      clock,
      log: log.child({ part: 'posture' }),
      initial: config.posture.initial,
      firstEpoch: BigInt(clock.now()),
      precedence: world.precedence,
      ...world.posture,
    }),
  );
  if (world.posture.problem !== undefined) {
    log.error('what was kept of the posture cannot be read whole', { problem: world.posture.problem });
  }
  const directory = new SessionDirectory(config.limits);
  const evidence = await openEvidence(world, posture, directory);
  // First in, last out: the ends of all that stands are told to it.
  if (evidence !== undefined) parts.use(evidence);
  const isolation = new Isolation(dataplane, config.posture);
  const lease = parts.use(await Lease.start(dataplane, clock, config.posture.leaseSeconds, log));
  const level = await levelNow(posture, dataplane);
  const underlay: Underlay = openUnderlay(world, level, () => overlay, evidence, revocations);
  parts.use(underlay.routes);
  parts.use(followRevokedOwners(underlay, revocations));
  const opened = await openOverlay(world, former, level, underlay.routes.routed, revocations);
  const overlay = opened?.overlay;
  if (overlay !== undefined) parts.use(overlay);
  const survival = opened === undefined ? undefined : await startSurvival(world, directory, opened, evidence?.transits);
  if (survival !== undefined) parts.use(survival);
  const holds = openHolds(world);
  if (left !== undefined && evidence !== undefined) await recordLateSnapshots(world, evidence, holds, left);
  await evidence?.reconcile();
  const terminators = new Terminators();
  const overseer = parts.use(
    new Overseer({ clock, log: log.child({ part: 'enforcer' }), posture, accord: accord.accord, directory }),
  );
  const recordRevocation = evidence === undefined ? undefined : recordRevocations(evidence, world);
  parts.use(followRevocations(revocations, overseer, sats, recordRevocation));
  parts.use(directory.onEvent(({ kind, standing }) => kind === 'ended' && terminators.forget(standing.admission.id)));
  const udp = parts.use(watchUdp(world, directory, overlay));
  const mesh = parts.use(
    new Mesh({
      clock,
      log: log.child({ part: 'mesh' }),
      posture,
      accord: accord.accord,
      directory,
      isHeld: (peer) => holds.isHeld(peer),
      random: world.random,
      peers: config.mesh.peers,
      approachOf: (peer) => meshApproach(config, peer),
      dial: (endpoint, approach, signal) => dialAny(terminators, endpoint, approach, signal),
    }),
  );
  parts.use(followHolds(world, holds, terminators, directory, () => mesh.nudge()));
  const followers = postureSteps({
    accord: accord.accord,
    dataplane,
    directory,
    isolation,
    terminators,
    overseer,
    overlay,
    mesh,
    routes: underlay.routes,
  });
  const recorded =
    evidence === undefined ? undefined : new PostureEvidence(world, evidence, { directory, overlay, mesh, holds });
  const steps = recorded?.around(followers) ?? followers;
  if (evidence !== undefined) {
    parts.use(recordHolds(evidence, holds, log));
    parts.use(recordLevelsSeen(world, evidence));
  }
  const sources = await startPostureSources(parts, world, posture, svids);
  const console = parts.use(new ConsoleStatements({ clock, log, store: world.unconfirmed ?? FORGETFUL, posture }));
  // What it takes back holds before anything follows the level.
  await console.resume();
  await posture.start(steps);
  parts.use(keepCovered(isolation, { clock, log, posture, network: dataplane.network }));
  parts.use(guardOwnSlot({ clock, log, flows: dataplane.flows, posture }));
  if (recorded !== undefined) parts.use(recorded.follow(posture));
  parts.use(await startRevocationFeeds(world, revocations, svids));
  parts.use(identity.onChange((change) => change === 'identity' && terminators.identityRotated()));

  const enforcerParts = {
    crypto,
    clock,
    attestor,
    posture,
    dataplane,
    directory,
    ...(overlay === undefined ? {} : { overlay }),
    ...(evidence === undefined ? {} : { evidence: evidence.transits }),
    holds,
    revocations,
    accord: accord.accord,
    accordHash: accord.hash,
    tiers: tierPolicyOf(accord.accord, config.site.trustDomain),
    keepaliveOf: (spiffeId: string) =>
      config.mesh.peers.find((peer) => peer.spiffeId === spiffeId)?.keepaliveSeconds ?? 0,
    intends: intentions(config),
    ...meshOpenings(config),
    onPeerLevel: overseer.peerLevelChanged.bind(overseer),
  };
  const hired = new Set<LocalEnforcer>();
  const hire: EnforcerNode['hire'] = async <T extends Terminator>(
    start: (enforcer: LocalEnforcer) => Promise<T>,
    { outlives = false } = {},
  ): Promise<Engagement<T>> => {
    let terminator: T | undefined;
    const enforcer = new LocalEnforcer({
      ...enforcerParts,
      ...(outlives && survival !== undefined ? { keeper: survival.keeper } : {}),
      ...relaysOf(world, udp, (session, packet) => terminator?.packet?.(session, packet)),
      nonces: new Nonces(clock, { lifetimeMs: NONCE_LIFETIME_MS, limit: MAX_NONCES }),
      onRevoked: (session, reason) =>
        void terminator?.end(session, reason).catch((error: unknown) => {
          log.warn('a terminator did not end a session', { session, reason, error });
        }),
    });
    try {
      terminator = await start(enforcer);
    } catch (error) {
      // What it asked for before it was ready stands for nobody.
      await enforcer.releaseAll('CONNECTION_LOST');
      throw error;
    }
    const listed = terminators.add(enforcer, terminator);
    hired.add(enforcer);
    // It may have changed since it was started.
    terminator.setPosture(posture.level, posture.epoch);
    return {
      terminator,
      enforcer,
      async [Symbol.asyncDispose]() {
        listed[Symbol.dispose]();
        hired.delete(enforcer);
        await enforcer.releaseAll('CONNECTION_LOST');
      },
    };
  };

  const owned = parts.move();
  return {
    world,
    posture,
    sources,
    console,
    directory,
    terminators,
    overlay,
    mesh,
    holds,
    revocations,
    evidence,
    underlay,
    isolation,
    lease,
    tokenChecks,
    startedAtMs: clock.now(),
    survival,
    hire,
    async [Symbol.asyncDispose]() {
      await mesh[Symbol.asyncDispose]();
      await terminators.drainAll('SHUTTING_DOWN', config.shutdownSeconds * 1000);
      // What one that hangs did not let go of ends while its end can still be recorded.
      for (const enforcer of hired) {
        await enforcer.releaseAll('SHUTTING_DOWN').catch((error: unknown) => {
          log.error('not everything of a terminator could be released', { error });
        });
      }
      await owned.disposeAsync();
      // At lockdown the outer interfaces stay shut when nobody is left to open them.
      if (posture.level > 1) await dataplane.flows.reset();
    },
  };
}

const NONCE_LIFETIME_MS = 30_000;
/** More than the admission rates of many networks let in during a nonce's life; about 2 MB. */
const MAX_NONCES = 16_384;
/** Mesh sessions at once; as many slots have the flow maps by default. */
const MESH_SLOTS = 1024;
/** Of a name's addresses. */
const MAX_ADDRESSES = 4;

/** A new one, unless that of a former run goes on with what of its sessions may. */
async function openOverlay(
  world: EnforcerWorld,
  former: Former | undefined,
  level: PostureLevel,
  routed: NonNullable<OverlaySpec['routed']>,
  revocations: Revocations,
) {
  const { config, dataplane, crypto } = world;
  const { interface: interfaceName, port: listenPort, mtu, addresses } = config.wireguard;
  if (addresses.length === 0) return undefined;
  const { accord } = world.accord;
  const spec: OverlaySpec = {
    interfaceName,
    listenPort,
    mtu,
    addresses,
    slots: MESH_SLOTS,
    routed,
    keepaliveAt: (at) => accord.levels[at].overlay.keepaliveSeconds,
    forwards: meshForwards(config),
    translations: translationsOf(config, accord),
  };
  const adopted = former === undefined ? undefined : await adoptOverlay(world, former, spec, level, revocations);
  return adopted ?? { overlay: await Overlay.open(dataplane, crypto, spec), kept: [] };
}

/** The strictest of what the console said and what stands in the map. */
async function levelNow(posture: PostureEngine, { flows }: DataPlane): Promise<PostureLevel> {
  const { external, own } = await flows.posture();
  return mostRestrictive(posture.level, levelFromTrustedSource(external), levelFromTrustedSource(own));
}

/** Names are resolved here: a terminator needs no resolver, and learns no names. */
async function dialAny(
  terminators: Terminators,
  { host, port }: Endpoint,
  approach: Approach,
  signal: AbortSignal,
): Promise<SessionId> {
  let failure: unknown = new ShellstreamError('CONNECTION_LOST', `${host} has no address`);
  for (const address of await addressesOf(host)) {
    try {
      return await terminators.dial({ approach, address, port }, signal);
    } catch (error) {
      failure = error;
      // Whoever answered is the host; only one that cannot be reached has another address to try.
      if (signal.aborted || reasonOf(error) !== 'CONNECTION_LOST') break;
    }
  }
  throw failure;
}

async function addressesOf(host: string): Promise<readonly string[]> {
  if (isIP(host) !== 0) return [host];
  try {
    return (await lookup(host, { all: true })).slice(0, MAX_ADDRESSES).map(({ address }) => address);
  } catch (cause) {
    throw new ShellstreamError('CONNECTION_LOST', `${host} cannot be resolved`, { cause });
  }
}

async function isLockedDown({ flows }: DataPlane): Promise<boolean> {
  const { external, own } = await flows.posture();
  return Math.min(levelFromTrustedSource(external), levelFromTrustedSource(own)) === 1;
}
