/**
 * From the messages of shellstream.control.v1 to the words of `ports.ts`, at the client's end. A word or level outside
 * the closed lists is MALFORMED: a console that guesses would show an operator what is not so.
 */
import {
  CAPABILITIES,
  type GrantedTarget,
  MODES,
  SESSION_TYPES,
  TARGET_CLASSES,
  TIERS,
} from '../../../protocol/capability/model.ts';
import { ShellstreamError } from '../../../protocol/errors.ts';
import type {
  Denied,
  Event,
  Peer,
  Posture,
  Session,
  Status,
  Target,
  SessionDetail as WireDetail,
  Finding as WireFinding,
} from '../../../protocol/gen/shellstream/control/v1/control_pb.ts';
import { HOLD_CAUSES } from '../../../protocol/hold/index.ts';
import { isPostureLevel, type PostureLevel } from '../../../protocol/posture/level.ts';
import { reasonFromWire } from '../../../protocol/reasons.ts';
import { DENIAL_CAUSES } from '../../dataplane/ports.ts';
import {
  FINDING_STATES,
  type Finding,
  type GatewayEvent,
  type GatewayStatus,
  GOVERNED_BY,
  INTERFACE_KINDS,
  PEER_STATES,
  type PeerView,
  type PostureView,
  RELEASED_BY,
  ROLES,
  SESSION_STATES,
  type SessionDetail,
  type SessionView,
  SIDES,
  TUNNEL_DRIVERS,
  type WatchedEvent,
} from '../ports.ts';
import { decodeEvidence } from './evidence-state.ts';
import { word } from './words.ts';

export function decodeStatus(status: Status): GatewayStatus {
  const identity = present(status.identity, 'identity');
  const tunnel = present(status.tunnel, 'tunnel');
  const counts = present(status.counts, 'counts');
  const accord = present(status.accord, 'accord');
  return {
    instance: status.instance,
    site: status.site,
    spiffeId: status.spiffeId,
    version: status.version,
    startedAtMs: Number(status.startedAtMs),
    nowMs: Number(status.nowMs),
    posture: decodePosture(present(status.posture, 'posture')),
    identity: {
      workloadApiConnected: identity.workloadApiConnected,
      detail: identity.detail,
      svidExpiresAtMs: maybeNumber(identity.svidExpiresAtMs),
      bundles: identity.bundles.map(({ trustDomain, refreshedAtMs, stale }) => ({
        trustDomain,
        refreshedAtMs: Number(refreshedAtMs),
        stale,
      })),
    },
    tunnel: {
      driver: word(TUNNEL_DRIVERS, tunnel.driver),
      why: tunnel.why,
      device: tunnel.device,
      listenPort: tunnel.listenPort,
    },
    interfaces: status.interfaces.map(({ name, ifindex, kind }) => ({
      name,
      ifindex,
      kind: word(INTERFACE_KINDS, kind),
    })),
    leaseRemainingMs: maybeNumber(status.leaseRemainingMs),
    counts: {
      pendingHandshakes: counts.pendingHandshakes,
      sessions: counts.sessions,
      streams: counts.streams,
      tunnelPeers: counts.tunnelPeers,
      flows: counts.flows,
      heldPeers: counts.heldPeers,
      terminators: counts.terminators,
    },
    accord: { id: accord.id, serial: Number(accord.serial), hash: accord.hash },
    evidence: decodeEvidence(present(status.evidence, 'evidence')),
    translations: status.translations.map(({ internal, external }) => ({ internal, external })),
    forwards: status.forwards.map(({ from, to, stands }) => ({ from, to, stands })),
    revocationsStale: status.revocationsStale,
  };
}

export function decodePosture(posture: Posture): PostureView {
  return {
    effective: decodeLevel(posture.effective),
    epoch: posture.epoch,
    sinceMs: Number(posture.sinceMs),
    sources: posture.sources.map((source) => ({
      source: source.source,
      level: decodeLevel(source.level),
      epoch: source.epoch,
      sinceMs: Number(source.sinceMs),
      expiresAtMs: maybeNumber(source.expiresAtMs),
      reason: source.reason,
      governs: source.governs,
      setAside: source.setAside,
    })),
    problems: posture.problems,
    ...(posture.unconfirmed === undefined
      ? {}
      : {
          unconfirmed: {
            formerLevel: decodeLevel(posture.unconfirmed.formerLevel),
            untilMs: Number(posture.unconfirmed.untilMs),
            epoch: posture.unconfirmed.epoch,
          },
        }),
  };
}

export function decodeSession(session: Session): SessionView {
  return {
    id: session.id,
    role: word(ROLES, session.role),
    peer: session.peer,
    tier: session.tier === undefined ? undefined : word(TIERS, session.tier),
    type: word(SESSION_TYPES, session.type),
    mode: word(MODES, session.mode),
    state: word(SESSION_STATES, session.state),
    capabilities: session.capabilities.map((capability) => word(CAPABILITIES, capability)),
    effectiveLevel: decodeLevel(session.effectiveLevel),
    governedBy: word(GOVERNED_BY, session.governedBy),
    peerLevel: decodeLevel(session.peerLevel),
    openedAtMs: Number(session.openedAtMs),
    expiresAtMs: Number(session.expiresAtMs),
  };
}

export function decodeDetail(detail: WireDetail): SessionDetail {
  const counters = present(detail.counters, 'counters');
  const { tunnel } = detail;
  return {
    ...decodeSession(present(detail.session, 'session')),
    targets: detail.targets.map(decodeTarget),
    ...(detail.offered.length === 0 ? {} : { offered: detail.offered.map(decodeTarget) }),
    counters: { packets: counters.packets, bytes: counters.bytes, denied: counters.denied },
    tunnel: tunnel && {
      handshakeAgeMs: maybeNumber(tunnel.handshakeAgeMs),
      endpoint: tunnel.endpoint,
      carried: tunnel.carried || undefined,
      receivedBytes: tunnel.receivedBytes,
      sentBytes: tunnel.sentBytes,
    },
    streams: detail.streams.map((stream) => ({
      id: stream.id,
      target: stream.target,
      openedBy: word(SIDES, stream.openedBy),
      openedAtMs: Number(stream.openedAtMs),
      receivedBytes: stream.receivedBytes,
      sentBytes: stream.sentBytes,
    })),
  };
}

function decodeTarget({ address, length, protocol, port, class: kind, floor }: Target): GrantedTarget {
  return { prefix: { address, length }, protocol, port, class: word(TARGET_CLASSES, kind), floor };
}

export function decodePeer(peer: Peer): PeerView {
  const { lastFailure, hold } = peer;
  return {
    name: peer.name,
    spiffeId: peer.spiffeId,
    address: peer.address,
    state: word(PEER_STATES, peer.state),
    session: peer.session,
    nextDialAtMs: maybeNumber(peer.nextDialAtMs),
    carried: peer.carried || undefined,
    lastFailure: lastFailure && {
      reason: reasonFromWire(lastFailure.reason),
      atMs: Number(lastFailure.atMs),
      detail: lastFailure.detail,
    },
    hold: hold && {
      id: hold.id,
      sinceMs: Number(hold.sinceMs),
      epoch: hold.epoch,
      cause: word(HOLD_CAUSES, hold.cause),
      reason: hold.reason,
    },
  };
}

export function decodeFinding(finding: WireFinding): Finding {
  return {
    name: finding.name,
    state: word(FINDING_STATES, finding.state),
    detail: finding.detail,
    mend: finding.mend,
  };
}

export function decodeEvent(event: Event): WatchedEvent {
  const atMs = Number(event.atMs);
  const { what } = event;
  switch (what.case) {
    case 'sessionOpened':
      return { kind: 'session-opened', atMs, session: decodeSession(what.value) };
    case 'sessionEnded': {
      const { id, peer, reason, byPeer } = what.value;
      return { kind: 'session-ended', atMs, id, peer, byPeer, reason: reasonFromWire(reason) };
    }
    case 'denied':
      return { kind: 'denied', atMs, denial: decodeDenial(what.value) };
    case 'postureChanged': {
      const { from, to, epoch, source, reason } = what.value;
      return { kind: 'posture-changed', atMs, from: decodeLevel(from), to: decodeLevel(to), epoch, source, reason };
    }
    case 'drainReceived': {
      const { id, peer, reason, level, deadlineMs } = what.value;
      return {
        kind: 'drain-received',
        atMs,
        id,
        peer,
        reason: reasonFromWire(reason),
        level: level === undefined ? undefined : decodeLevel(level),
        deadlineMs,
      };
    }
    case 'held': {
      const { id, peer, cause, reason } = what.value;
      return { kind: 'held', atMs, id, peer, cause: word(HOLD_CAUSES, cause), reason };
    }
    case 'released': {
      const { id, peer, by } = what.value;
      return { kind: 'released', atMs, id, peer, by: word(RELEASED_BY, by) };
    }
    case 'lost':
      return { kind: 'lost', atMs, events: Number(what.value.events) };
    case undefined:
      throw new ShellstreamError('MALFORMED', 'an event of a kind that this console does not know');
  }
}

/** A level from 1 to 5; anything else is MALFORMED. */
export function decodeLevel(level: number): PostureLevel {
  if (!isPostureLevel(level)) throw new ShellstreamError('MALFORMED', `${level} is no posture level; they are 1 to 5`);
  return level;
}

function decodeDenial(denied: Denied): Extract<GatewayEvent, { kind: 'denied' }>['denial'] {
  return {
    cause: word(DENIAL_CAUSES, denied.cause),
    ifindex: denied.ifindex,
    direction: word(['in', 'out'], denied.direction),
    protocol: denied.protocol,
    source: denied.source,
    destination: denied.destination,
    sourcePort: denied.sourcePort,
    destinationPort: denied.destinationPort,
  };
}

function present<T>(value: T | undefined, name: string): T {
  if (value === undefined) throw new ShellstreamError('MALFORMED', `the gateway's answer has no ${name}`);
  return value;
}

function maybeNumber(value: bigint | undefined): number | undefined {
  return value === undefined ? undefined : Number(value);
}
