/** The running gateway as its console sees it: reads from the parts, changes through them, invents nothing. */
import { ShellstreamError } from '../../protocol/errors.ts';
import { type Governor, negotiate } from '../../protocol/posture/index.ts';
import type {
  Finding,
  GatewayEvent,
  GatewayStatus,
  GatewayView,
  GovernedBy,
  InterfaceView,
  PeerView,
  PostureView,
  SessionDetail,
  SessionFilter,
  SessionView,
  TunnelPeerView,
} from '../control/ports.ts';
import type { TunnelPeerState } from '../dataplane/ports.ts';
import type { Standing } from '../enforcer/directory.ts';
import type { Overlay } from '../enforcer/overlay.ts';
import type { MeshPeer } from '../mesh/mesh.ts';
import type { EnforcerNode } from './enforcer.ts';
import { evidenceDesk, evidenceFindings, evidenceView } from './evidence-desk.ts';
import { holdEvent, holdFindings, holdVerbs, holdView } from './hold-view.ts';
import { meshView } from './mesh-view.ts';
import { previewPosture } from './posture-preview.ts';
import type { AttachedQuartermaster } from './quartermaster.ts';
import { quartermasterFindings } from './quartermaster-view.ts';
import { revocationDesk, revocationFindings } from './revocation-view.ts';
import { routeDesk, routeFindings } from './underlay.ts';

export interface ViewOptions {
  readonly version: string;
  /** What the probe of the tunnel driver found. */
  readonly tunnelWhy: string;
  /** Where evidence goes; absent: none is kept, or nobody forwards it. */
  readonly quartermaster?: AttachedQuartermaster | undefined;
}

/** A bundle that was not confirmed for this long is told as stale. */
const STALE_BUNDLE_MS = 3_600_000;

export function gatewayView(node: EnforcerNode, options: ViewOptions): GatewayView {
  const { world, directory, terminators, posture, mesh, holds } = node;
  const { clock, log, dataplane } = world;
  const view = (standing: Standing): SessionView => sessionView(node, standing);

  return {
    status: () => status(node, options),
    sessions: async (filter) => directory.all.map(view).filter(matching(filter)).toSorted(byId),
    session: async (id) => {
      const standing = directory.get(id);
      return standing === undefined ? undefined : await sessionDetail(node, standing);
    },
    drain: async (id, deadlineMs, by) => {
      if (directory.get(id) === undefined) return false;
      log.info('drain by the console', { session: id, deadlineMs, by });
      // Whatever its terminator makes of it.
      directory.note(id, { endsAtMs: clock.monotonic() + deadlineMs + DRAIN_GRACE_MS });
      terminators.drain(id, 'OPERATOR_DRAIN', deadlineMs);
      return true;
    },
    end: async (id, why, by) => {
      if (directory.get(id) === undefined) return false;
      log.info('end by the console', { session: id, why, by });
      await directory.revoke(id, 'CLOSED');
      return true;
    },
    posture: async () => postureView(node),
    setPosture: async (statement, by) => {
      log.warn('posture stated by the console', { ...statement, by });
      const epoch = await node.console.set(statement, statement.confirmWithinMs);
      const after = postureView(node);
      // Whoever is answered confirms what the answer says waits: it must be his own.
      const isAnother = after.unconfirmed !== undefined && after.unconfirmed.epoch !== epoch;
      if (statement.confirmWithinMs !== undefined && isAnother) {
        throw new ShellstreamError('POSTURE_CHANGED', 'another console said something since');
      }
      return after;
    },
    confirmPosture: async (epoch, by) => {
      log.warn('the console confirms the tentative posture', { epoch: String(epoch), by });
      await node.console.confirm(epoch);
      return postureView(node);
    },
    previewPosture: async (level) => previewPosture(node, level),
    setAside: async (source, why, by, epoch) => {
      log.warn('a source of posture was set aside by the console', { source, why, by });
      await posture.setAside(source, epoch);
      return postureView(node);
    },
    ...holdVerbs(node),
    evidence: evidenceDesk(world, node.evidence),
    underlay: routeDesk(node.underlay, world),
    revocations: revocationDesk(node.revocations, log),
    peers: async () => {
      const tunnel = (await node.overlay?.device.peers()) ?? [];
      return mesh.peers.map((peer) => peerView(node, tunnel, peer));
    },
    diagnose: async () => [
      ...diagnose(await status(node, options)),
      ...holdFindings(node),
      ...evidenceFindings(node.evidence),
      ...quartermasterFindings(evidenceView(node.evidence, options.quartermaster).quartermaster),
      ...routeFindings(node.underlay),
      ...revocationFindings(node.revocations),
    ],
    watch: (listener) => watch(listener),
  } satisfies GatewayView;

  function watch(listener: (event: GatewayEvent) => void): Disposable {
    const stack = new DisposableStack();
    stack.use(
      directory.onEvent((event) => {
        const atMs = clock.now();
        const { id, peer } = event.standing.admission;
        if (event.kind === 'opened') return listener({ kind: 'session-opened', atMs, session: view(event.standing) });
        const { reason, byPeer } = event;
        return listener({ kind: 'session-ended', atMs, id, peer: peer.spiffeId, reason, byPeer });
      }),
    );
    stack.use(
      terminators.onEvent((event) => {
        if (event.kind !== 'drain-received') return;
        const { session, reason, level, deadlineMs } = event;
        const peer = directory.get(session)?.admission.peer.spiffeId ?? '';
        listener({ kind: 'drain-received', atMs: clock.now(), id: session, peer, reason, level, deadlineMs });
      }),
    );
    stack.use(
      posture.onChange(({ from, to, epoch, heldBy, reason }) =>
        listener({ kind: 'posture-changed', atMs: clock.now(), from, to, epoch, source: heldBy.join(','), reason }),
      ),
    );
    stack.use(holds.onChange((event) => listener(holdEvent(event, clock.now()))));
    stack.use(
      dataplane.flows.onDenials((denials) => {
        const atMs = clock.now();
        for (const { atBootNs: _, ...denial } of denials) listener({ kind: 'denied', atMs, denial });
      }),
    );
    return stack;
  }
}

/** How much longer than its drain a session may stand. */
const DRAIN_GRACE_MS = 1_000;

async function status(node: EnforcerNode, { version, tunnelWhy, quartermaster }: ViewOptions): Promise<GatewayStatus> {
  const { world, directory, terminators, overlay, isolation, lease, mesh, holds } = node;
  const { config, clock, identity, accord, dataplane } = world;
  const nowMs = clock.now();
  const health = identity.health();
  const members = overlay?.members ?? [];
  const { pendingHandshakes, streams } = await terminators.load();
  return {
    instance: config.instance,
    site: config.site.trustDomain,
    spiffeId: ownSpiffeId(node),
    version,
    startedAtMs: node.startedAtMs,
    nowMs,
    posture: postureView(node),
    identity: {
      workloadApiConnected: health.state === 'streaming',
      detail: health.state === 'streaming' ? '' : (health.lastError ?? health.state),
      svidExpiresAtMs: health.identityExpiresAt,
      bundles: health.bundles.map(({ trustDomain, kind, ageMs }) => ({
        trustDomain: `${trustDomain} (${kind})`,
        refreshedAtMs: nowMs - ageMs,
        stale: health.state !== 'streaming' && ageMs > STALE_BUNDLE_MS,
      })),
    },
    tunnel: {
      driver: dataplane.tunnels.kind,
      why: overlay === undefined ? 'no tunnel address is configured: streams only' : tunnelWhy,
      device: overlay?.device.name ?? '',
      listenPort: overlay?.device.listenPort ?? 0,
    },
    interfaces: [
      ...(overlay === undefined ? [] : [tunnelInterface(overlay)]),
      ...isolation.links.map(({ name, ifindex }) => ({ name, ifindex, kind: 'outer' as const })),
    ],
    leaseRemainingMs: lease.remainingMs,
    counts: {
      pendingHandshakes,
      sessions: directory.size,
      streams,
      tunnelPeers: members.length,
      flows: members.reduce((sum, { spec }) => sum + spec.hosted.length + spec.visited.length, 0),
      heldPeers: mesh.peers.filter(({ spiffeId }) => holds.isHeld(spiffeId)).length,
      terminators: terminators.count,
    },
    ...meshView(node),
    revocationsStale: node.revocations.stale,
    accord: { id: accord.accord.id, serial: accord.accord.serial, hash: Buffer.from(accord.hash).toString('hex') },
    evidence: evidenceView(node.evidence, quartermaster),
  };
}

function tunnelInterface({ device }: Overlay): InterfaceView {
  return { name: device.name, ifindex: device.ifindex, kind: 'tunnel' };
}

function ownSpiffeId({ world }: EnforcerNode): string | undefined {
  try {
    return world.identity.current().spiffeId;
  } catch (error) {
    if (error instanceof ShellstreamError) return undefined;
    throw error;
  }
}

function postureView(node: EnforcerNode): PostureView {
  const {
    posture,
    sources: { problems },
    world,
  } = node;
  const now = world.clock.now();
  const { level: effective, epoch, sinceMs, sources } = posture;
  return {
    effective,
    epoch,
    sinceMs,
    sources: sources.map(({ counts, ...source }) => ({
      ...source,
      setAside: !counts && (source.expiresAtMs === undefined || source.expiresAtMs > now),
    })),
    problems: [...posture.problems, ...problems],
    ...(node.console.unconfirmed === undefined
      ? {}
      : {
          unconfirmed: {
            formerLevel: node.console.unconfirmed.former.level,
            untilMs: node.console.unconfirmed.untilMs,
            epoch: node.console.unconfirmed.epoch,
          },
        }),
  };
}

function sessionView(
  { posture, terminators }: EnforcerNode,
  { admission, role, peerLevel, openedAtMs }: Standing,
): SessionView {
  const { id, peer, offer, grant, expiresAt } = admission;
  const own = posture.level;
  const { effective, governedBy } = negotiate(
    role === 'initiator' ? { initiator: own, responder: peerLevel } : { initiator: peerLevel, responder: own },
  );
  return {
    id,
    role,
    peer: peer.spiffeId,
    tier: peer.tier,
    type: offer.sessionType,
    mode: grant.mode,
    state: terminators.isDraining(id) ? 'draining' : 'active',
    capabilities: grant.capabilities,
    effectiveLevel: effective,
    governedBy: asSeenHere(governedBy, role),
    peerLevel,
    openedAtMs,
    expiresAtMs: expiresAt,
  };
}

async function sessionDetail(node: EnforcerNode, standing: Standing): Promise<SessionDetail> {
  const { overlay, world, terminators } = node;
  const { member, admission } = standing;
  const counters =
    member === undefined
      ? { packets: 0n, bytes: 0n, denied: 0n }
      : await world.dataplane.flows.counters(member.session.sessionSlot);
  const peers = member === undefined ? [] : ((await overlay?.device.peers()) ?? []);
  const peer = peers.find((one) => isOf(standing, one));
  const streams = await terminators.streams(admission.id);
  return {
    ...sessionView(node, standing),
    targets: admission.grant.targets,
    ...(admission.offered === undefined ? {} : { offered: admission.offered }),
    counters,
    streams: streams.map(({ address, port, ...stream }) => ({ ...stream, target: hostPort(address, port) })),
    ...(peer === undefined ? {} : { tunnel: { ...tunnelView(peer), carried: isCarried(standing, peer) } }),
  };
}

function isOf({ member }: Standing, { publicKey }: TunnelPeerState): boolean {
  return member !== undefined && Buffer.compare(publicKey, member.spec.publicKey) === 0;
}

function tunnelView({ handshakeAgeMs, endpoint, receivedBytes, sentBytes }: TunnelPeerState): TunnelPeerView {
  const text = endpoint === undefined ? undefined : hostPort(endpoint.address, endpoint.port);
  return { handshakeAgeMs, endpoint: text, receivedBytes, sentBytes };
}

/** Where WireGuard has the peer on this host, it is our relay that is there. */
function isCarried({ admission }: Standing, { endpoint }: TunnelPeerState): true | undefined {
  return admission.carriesPackets === true && endpoint?.address === '127.0.0.1' ? true : undefined;
}

function peerView(
  node: EnforcerNode,
  tunnel: readonly TunnelPeerState[],
  { name, spiffeId, address, dialled }: MeshPeer,
): PeerView {
  const standing = node.directory.tunnelOf(spiffeId);
  const peer = tunnel.find((one) => standing !== undefined && isOf(standing, one));
  const carried = standing === undefined || peer === undefined ? undefined : isCarried(standing, peer);
  const at = address === undefined ? undefined : hostPort(address.host, address.port);
  const base = { name, spiffeId, address: at, carried };
  const hold = holdView(node, spiffeId);
  if (hold !== undefined) return { ...base, state: 'held', hold };
  if (dialled === undefined) {
    const session = node.directory.tunnelOf(spiffeId);
    return session === undefined
      ? { ...base, state: 'expected' }
      : { ...base, state: 'connected', session: session.admission.id };
  }
  const { state, lastFailure } = dialled;
  switch (state.kind) {
    case 'connecting':
      return { ...base, state: 'connecting', lastFailure };
    case 'connected':
      return { ...base, state: 'connected', session: state.session };
    case 'waiting':
      return { ...base, state: 'waiting', nextDialAtMs: state.untilMs, lastFailure };
  }
}

function diagnose({ identity, tunnel, leaseRemainingMs, posture, nowMs }: GatewayStatus): readonly Finding[] {
  const svidLeftMs = (identity.svidExpiresAtMs ?? 0) - nowMs;
  return [
    identity.workloadApiConnected
      ? { name: 'Workload API', state: 'ok', detail: 'streaming' }
      : { name: 'Workload API', state: 'missing', detail: identity.detail, mend: 'check that the SPIRE agent runs' },
    svidLeftMs > 0
      ? { name: 'SVID', state: 'ok', detail: `valid for ${Math.round(svidLeftMs / 1000)} s` }
      : { name: 'SVID', state: 'missing', detail: 'none that is valid', mend: 'check the registration entry' },
    { name: 'tunnel driver', state: 'ok', detail: `${tunnel.driver}: ${tunnel.why}` },
    (leaseRemainingMs ?? -1) > 0
      ? { name: 'lease', state: 'ok', detail: `${Math.round(leaseRemainingMs ?? 0)} ms left` }
      : {
          name: 'lease',
          state: 'missing',
          detail: 'lapsed: the data plane drops everything',
          mend: 'restart the gateway',
        },
    ...posture.problems.map((detail): Finding => {
      return {
        name: 'posture',
        state: 'warning',
        detail,
        mend: 'shellstream posture get: who says what, and since when',
      };
    }),
  ];
}

function matching({ peer, type, state }: SessionFilter): (session: SessionView) => boolean {
  return (session) =>
    (peer === undefined || session.peer === peer) &&
    (type === undefined || session.type === type) &&
    (state === undefined || session.state === state);
}

/** The protocol says whose level governs by role; a console by side. */
export function asSeenHere(governor: Governor, role: 'initiator' | 'responder'): GovernedBy {
  if (governor === 'both') return 'both';
  return governor === role ? 'local' : 'peer';
}

function hostPort(host: string, port: number): string {
  return host.includes(':') ? `[${host}]:${port}` : `${host}:${port}`;
}

function byId(a: SessionView, b: SessionView): number {
  return a.id < b.id ? -1 : 1;
}
