/** The running gateway as its console sees it: reads from the parts, changes through them, invents nothing. */
import { ShellstreamError } from '../../protocol/errors.ts';
import { formatAddress } from '../../protocol/net/address.ts';
import type { Governor } from '../../protocol/posture/index.ts';
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
import type { Overlay } from '../enforcer/overlay.ts';
import type { MeshPeer } from '../mesh/mesh.ts';
import type { Session } from '../session/session.ts';
import type { Gateway } from './gateway.ts';

export interface ViewOptions {
  readonly version: string;
  /** What the probe of the tunnel driver found. */
  readonly tunnelWhy: string;
}

/** A bundle that was not confirmed for this long is told as stale. */
const STALE_BUNDLE_MS = 3_600_000;
const MAX_STREAMS_SHOWN = 1_024;

export function gatewayView(gateway: Gateway, options: ViewOptions): GatewayView {
  const { world, registry, posture, mesh } = gateway;
  const { clock, log, dataplane } = world;

  return {
    status: () => status(gateway, options),
    sessions: async (filter) => registry.all.filter(matching(filter)).map(sessionView).toSorted(byId),
    session: async (id) => {
      const session = registry.get(id);
      return session === undefined ? undefined : await sessionDetail(gateway, session);
    },
    drain: async (id, deadlineMs, by) => {
      log.info('drain by the console', { session: id, deadlineMs, by });
      registry.get(id)?.drain('OPERATOR_DRAIN', deadlineMs);
      return registry.get(id) !== undefined;
    },
    end: async (id, why, by) => {
      const session = registry.get(id);
      if (session === undefined) return false;
      log.info('end by the console', { session: id, why, by });
      session.end('CLOSED');
      await session.released();
      return true;
    },
    posture: async () => postureView(gateway),
    setPosture: async (statement, by) => {
      log.warn('posture stated by the console', { ...statement, by });
      await posture.state('console', statement.level, statement.reason, statement.forMs);
      return postureView(gateway);
    },
    peers: async () => mesh.peers.map((peer) => peerView(gateway, peer)),
    diagnose: async () => diagnose(await status(gateway, options)),
    watch: (listener) => watch(gateway, listener),
  } satisfies GatewayView;

  function watch(_: Gateway, listener: (event: GatewayEvent) => void): Disposable {
    const stack = new DisposableStack();
    stack.use(
      registry.onEvent((event) => {
        const atMs = clock.now();
        const { session } = event;
        const peer = session.admission.peer.spiffeId;
        switch (event.kind) {
          case 'opened':
            return listener({ kind: 'session-opened', atMs, session: sessionView(session) });
          case 'ended':
            return listener({
              kind: 'session-ended',
              atMs,
              id: session.id,
              peer,
              reason: event.reason,
              byPeer: event.byPeer,
            });
          case 'drain-received': {
            const { reason, level, deadlineMs } = event;
            return listener({ kind: 'drain-received', atMs, id: session.id, peer, reason, level, deadlineMs });
          }
        }
      }),
    );
    stack.use(
      posture.onChange(({ from, to, epoch, heldBy, reason }) =>
        listener({ kind: 'posture-changed', atMs: clock.now(), from, to, epoch, source: heldBy.join(','), reason }),
      ),
    );
    stack.use(
      dataplane.flows.onDenials((denials) => {
        const atMs = clock.now();
        for (const { atBootNs: _, ...denial } of denials) listener({ kind: 'denied', atMs, denial });
      }),
    );
    return stack;
  }
}

async function status(gateway: Gateway, { version, tunnelWhy }: ViewOptions): Promise<GatewayStatus> {
  const { world, registry, admission, overlay, isolation, lease } = gateway;
  const { config, clock, identity, accord, dataplane } = world;
  const nowMs = clock.now();
  const health = identity.health();
  const members = overlay?.members ?? [];
  const spiffeId = ownSpiffeId(gateway);
  return {
    instance: config.instance,
    site: config.site.trustDomain,
    spiffeId,
    version,
    startedAtMs: gateway.startedAtMs,
    nowMs,
    posture: postureView(gateway),
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
      pendingHandshakes: admission.pending,
      sessions: registry.size,
      streams: registry.all.reduce((sum, session) => sum + session.streams.all.length, 0),
      tunnelPeers: members.length,
      flows: members.reduce((sum, { spec }) => sum + spec.targets.length, 0),
      heldPeers: 0,
    },
    accord: { id: accord.accord.id, serial: accord.accord.serial, hash: Buffer.from(accord.hash).toString('hex') },
  };
}

function tunnelInterface({ device }: Overlay): InterfaceView {
  return { name: device.name, ifindex: device.ifindex, kind: 'tunnel' };
}

function ownSpiffeId({ world }: Gateway): string | undefined {
  try {
    return world.identity.current().spiffeId;
  } catch (error) {
    if (error instanceof ShellstreamError) return undefined;
    throw error;
  }
}

function postureView({ posture }: Gateway): PostureView {
  const { level: effective, epoch, sinceMs, sources } = posture;
  return {
    effective,
    epoch,
    sinceMs,
    sources: sources.map(({ counts, ...source }) => ({ ...source, setAside: !counts })),
  };
}

function sessionView(session: Session): SessionView {
  const { admission, role } = session;
  return {
    id: session.id,
    role,
    peer: admission.peer.spiffeId,
    tier: admission.peer.tier,
    type: admission.offer.sessionType,
    mode: admission.grant.mode,
    state: session.state === 'draining' ? 'draining' : 'active',
    capabilities: admission.grant.capabilities,
    effectiveLevel: session.effectiveLevel,
    governedBy: asSeenHere(session.governedBy, role),
    peerLevel: session.peerLevel,
    openedAtMs: session.openedAtMs,
    expiresAtMs: admission.expiresAt,
  };
}

async function sessionDetail({ enforcer, overlay, world }: Gateway, session: Session): Promise<SessionDetail> {
  const member = enforcer.member(session.id);
  const counters =
    member === undefined
      ? { packets: 0n, bytes: 0n, denied: 0n }
      : await world.dataplane.flows.counters(member.session.sessionSlot);
  const peers = member === undefined ? [] : ((await overlay?.device.peers()) ?? []);
  const peer = peers.find(
    ({ publicKey }) => member !== undefined && Buffer.compare(publicKey, member.spec.publicKey) === 0,
  );
  return {
    ...sessionView(session),
    targets: session.admission.grant.targets,
    counters,
    streams: session.streams.all.slice(0, MAX_STREAMS_SHOWN).map((stream) => ({
      id: stream.stream,
      target: hostPort(formatAddress(stream.target.prefix.address), stream.target.port),
      openedBy: stream.openedBy,
      openedAtMs: stream.openedAtMs,
      receivedBytes: stream.receivedBytes,
      sentBytes: stream.sentBytes,
    })),
    ...(peer === undefined ? {} : { tunnel: tunnelView(peer) }),
  };
}

function tunnelView({ handshakeAgeMs, endpoint, receivedBytes, sentBytes }: TunnelPeerState): TunnelPeerView {
  const text = endpoint === undefined ? undefined : hostPort(endpoint.address, endpoint.port);
  return { handshakeAgeMs, endpoint: text, receivedBytes, sentBytes };
}

function peerView({ registry }: Gateway, { name, spiffeId, address, dialled }: MeshPeer): PeerView {
  const base = { name, spiffeId, address: address === undefined ? undefined : hostPort(address.host, address.port) };
  if (dialled === undefined) {
    const session = registry.of(spiffeId).find(({ admission }) => admission.offer.sessionType === 'mesh');
    return session === undefined
      ? { ...base, state: 'expected' }
      : { ...base, state: 'connected', session: session.id };
  }
  const { state, lastFailure } = dialled;
  switch (state.kind) {
    case 'connecting':
      return { ...base, state: 'connecting', lastFailure };
    case 'connected':
      return { ...base, state: 'connected', session: state.session.id };
    case 'waiting':
      return { ...base, state: 'waiting', nextDialAtMs: state.untilMs, lastFailure };
  }
}

function diagnose({ identity, tunnel, leaseRemainingMs, nowMs }: GatewayStatus): readonly Finding[] {
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
  ];
}

function matching({ peer, type, state }: SessionFilter): (session: Session) => boolean {
  return (session) =>
    (peer === undefined || session.admission.peer.spiffeId === peer) &&
    (type === undefined || session.admission.offer.sessionType === type) &&
    (state === undefined || sessionView(session).state === state);
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
