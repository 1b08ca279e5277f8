/** From the words of `ports.ts` to the messages of shellstream.control.v1. The other way is `decode.ts`. */
import { create, type MessageInitShape } from '@bufbuild/protobuf';
import type { GrantedTarget } from '../../../protocol/capability/model.ts';
import { assertNever } from '../../../protocol/errors.ts';
import {
  type Event,
  EventSchema,
  type FindingSchema,
  type PeerSchema,
  type PostureSchema,
  type SessionDetailSchema,
  type SessionSchema,
  type StatusSchema,
} from '../../../protocol/gen/shellstream/control/v1/control_pb.ts';
import { REASONS } from '../../../protocol/reasons.ts';
import type {
  Finding,
  GatewayStatus,
  PeerView,
  PostureView,
  SessionDetail,
  SessionView,
  WatchedEvent,
} from '../ports.ts';
import { encodeEvidence } from './evidence-state.ts';

export function encodeStatus(status: GatewayStatus): MessageInitShape<typeof StatusSchema> {
  const { identity, accord } = status;
  return {
    instance: status.instance,
    site: status.site,
    spiffeId: status.spiffeId,
    version: status.version,
    startedAtMs: whole(status.startedAtMs),
    nowMs: whole(status.nowMs),
    posture: encodePosture(status.posture),
    identity: {
      workloadApiConnected: identity.workloadApiConnected,
      detail: identity.detail,
      svidExpiresAtMs: maybeWhole(identity.svidExpiresAtMs),
      bundles: identity.bundles.map(({ trustDomain, refreshedAtMs, stale }) => ({
        trustDomain,
        refreshedAtMs: whole(refreshedAtMs),
        stale,
      })),
    },
    tunnel: { ...status.tunnel },
    interfaces: status.interfaces.map(({ name, ifindex, kind }) => ({ name, ifindex, kind })),
    leaseRemainingMs: maybeWhole(status.leaseRemainingMs),
    counts: { ...status.counts },
    accord: { id: accord.id, serial: whole(accord.serial), hash: accord.hash },
    evidence: encodeEvidence(status.evidence),
    translations: status.translations.map(({ internal, external }) => ({ internal, external })),
    forwards: status.forwards.map(({ from, to, stands }) => ({ from, to, stands })),
    revocationsStale: status.revocationsStale,
  };
}

export function encodePosture(posture: PostureView): MessageInitShape<typeof PostureSchema> {
  return {
    effective: posture.effective,
    epoch: posture.epoch,
    sinceMs: whole(posture.sinceMs),
    sources: posture.sources.map((source) => ({
      source: source.source,
      level: source.level,
      epoch: source.epoch,
      sinceMs: whole(source.sinceMs),
      expiresAtMs: maybeWhole(source.expiresAtMs),
      reason: source.reason,
      governs: source.governs,
      setAside: source.setAside,
    })),
    problems: [...posture.problems],
    ...(posture.unconfirmed === undefined
      ? {}
      : {
          unconfirmed: {
            formerLevel: posture.unconfirmed.formerLevel,
            untilMs: whole(posture.unconfirmed.untilMs),
            epoch: posture.unconfirmed.epoch,
          },
        }),
  };
}

export function encodeSession(session: SessionView): MessageInitShape<typeof SessionSchema> {
  return {
    id: session.id,
    role: session.role,
    peer: session.peer,
    tier: session.tier,
    type: session.type,
    mode: session.mode,
    state: session.state,
    capabilities: [...session.capabilities],
    effectiveLevel: session.effectiveLevel,
    governedBy: session.governedBy,
    peerLevel: session.peerLevel,
    openedAtMs: whole(session.openedAtMs),
    expiresAtMs: whole(session.expiresAtMs),
  };
}

export function encodeDetail(session: SessionDetail): MessageInitShape<typeof SessionDetailSchema> {
  const { tunnel } = session;
  return {
    session: encodeSession(session),
    targets: session.targets.map(encodeTarget),
    offered: (session.offered ?? []).map(encodeTarget),
    counters: { ...session.counters },
    ...(tunnel !== undefined && {
      tunnel: {
        handshakeAgeMs: maybeWhole(tunnel.handshakeAgeMs),
        endpoint: tunnel.endpoint,
        carried: tunnel.carried === true,
        receivedBytes: tunnel.receivedBytes,
        sentBytes: tunnel.sentBytes,
      },
    }),
    streams: session.streams.slice(0, MOST_STREAMS).map((stream) => ({
      id: stream.id,
      target: stream.target,
      openedBy: stream.openedBy,
      openedAtMs: whole(stream.openedAtMs),
      receivedBytes: stream.receivedBytes,
      sentBytes: stream.sentBytes,
    })),
  };
}

function encodeTarget({ prefix, protocol, port, class: kind, floor }: GrantedTarget) {
  return { address: prefix.address, length: prefix.length, protocol, port, class: kind, floor };
}

export function encodePeer(peer: PeerView): MessageInitShape<typeof PeerSchema> {
  const { lastFailure, hold } = peer;
  return {
    name: peer.name,
    spiffeId: peer.spiffeId,
    address: peer.address,
    state: peer.state,
    session: peer.session,
    nextDialAtMs: maybeWhole(peer.nextDialAtMs),
    carried: peer.carried === true,
    ...(lastFailure !== undefined && {
      lastFailure: {
        reason: REASONS[lastFailure.reason].code,
        atMs: whole(lastFailure.atMs),
        detail: lastFailure.detail,
      },
    }),
    ...(hold !== undefined && { hold: { ...hold, sinceMs: whole(hold.sinceMs) } }),
  };
}

export function encodeFinding(finding: Finding): MessageInitShape<typeof FindingSchema> {
  return { name: finding.name, state: finding.state, detail: finding.detail, mend: finding.mend };
}

export function encodeEvent(event: WatchedEvent): Event {
  return create(EventSchema, { atMs: whole(event.atMs), what: what(event) });
}

function what(event: WatchedEvent): NonNullable<MessageInitShape<typeof EventSchema>['what']> {
  switch (event.kind) {
    case 'session-opened':
      return { case: 'sessionOpened', value: encodeSession(event.session) };
    case 'session-ended': {
      const { id, peer, byPeer } = event;
      return { case: 'sessionEnded', value: { id, peer, byPeer, reason: REASONS[event.reason].code } };
    }
    case 'denied':
      return { case: 'denied', value: { ...event.denial } };
    case 'posture-changed': {
      const { from, to, epoch, source, reason } = event;
      return { case: 'postureChanged', value: { from, to, epoch, source, reason } };
    }
    case 'drain-received': {
      const { id, peer, level, deadlineMs } = event;
      return { case: 'drainReceived', value: { id, peer, level, deadlineMs, reason: REASONS[event.reason].code } };
    }
    case 'held': {
      const { id, peer, cause, reason } = event;
      return { case: 'held', value: { id, peer, cause, reason } };
    }
    case 'released':
      return { case: 'released', value: { id: event.id, peer: event.peer, by: event.by } };
    case 'lost':
      return { case: 'lost', value: { events: whole(event.events) } };
    default:
      return assertNever(event);
  }
}

/** So that one session always fits in an answer. */
const MOST_STREAMS = 1024;

function whole(value: number): bigint {
  return BigInt(Math.round(value));
}

function maybeWhole(value: number | undefined): bigint | undefined {
  return value === undefined ? undefined : whole(value);
}
