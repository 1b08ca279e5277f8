/** Between the ports' values and the messages of shellstream.enforcer.v1. Every `…From` refuses with MALFORMED. */
import { create, type MessageInitShape } from '@bufbuild/protobuf';
import type { SessionRequest } from '../../../protocol/capability/model.ts';
import { CAPABILITIES, type GrantedTarget, MODES, TARGET_CLASSES, TIERS } from '../../../protocol/capability/model.ts';
import { decodeFrame, encodeFrame, type GrantBody, MAX_PACKET_BYTES } from '../../../protocol/channel/index.ts';
import { ShellstreamError } from '../../../protocol/errors.ts';
import type {
  Accept,
  AdmissionSchema,
  Admit,
  AdmitSchema,
  Approach,
  Carried,
  Challenge,
  DrainReceived,
  HandshakeEnded,
  Stream,
  Admission as WireAdmission,
  Claim as WireClaim,
  Connection as WireConnection,
  Grant as WireGrant,
  GrantedTarget as WireGrantedTarget,
  StreamTotals as WireTotals,
} from '../../../protocol/gen/shellstream/enforcer/v1/enforcer_pb.ts';
import { RequestSchema, type Request as WireRequest } from '../../../protocol/gen/shellstream/wire/v1/wire_pb.ts';
import { encodeEvidence, encodeOffer, parseEvidence, parseOffer } from '../../../protocol/handshake/index.ts';
import { parseSpiffeId, type SpiffeId, trustDomainOf } from '../../../protocol/identity/spiffe-id.ts';
import { tryParseAddress } from '../../../protocol/net/address.ts';
import { isPostureLevel, type PostureLevel } from '../../../protocol/posture/level.ts';
import { type Reason, reasonFromWire } from '../../../protocol/reasons.ts';
import {
  prefixesFromWire,
  prefixToWire,
  requestFromWire,
  requestToWire,
  targetFromWire,
  targetToWire,
} from '../../../protocol/wire/convert.ts';
import type {
  AcceptInput,
  Admission,
  AdmitInput,
  ApproachInput,
  ChallengeInput,
  Claim,
  Connection,
  SessionId,
  StreamTotals,
} from '../ports.ts';
import type { HandshakeOutcome, StreamState, TerminatorEvent } from '../terminator-port.ts';

// ── questions ────────────────────────────────────────────────────────────────────────────────────────────────

export function challengeTo({ offer, transcript, staticKey }: ChallengeInput) {
  return { offer: encodeOffer(offer), transcript, staticKey };
}

export function challengeFrom(wire: Challenge): ChallengeInput {
  return { offer: parseOffer(wire.offer), transcript: key(wire.transcript), staticKey: key(wire.staticKey) };
}

export function admitTo(input: AdmitInput): MessageInitShape<typeof AdmitSchema> {
  return {
    offer: encodeOffer(input.offer),
    evidence: encodeEvidence(input.evidence),
    transcript: input.transcript,
    staticKey: input.staticKey,
    ephemeralKey: input.ephemeralKey,
    handshakeHash: input.handshakeHash,
    wireguardShared: input.wireguardShared ?? NOTHING,
    connection: connectionTo(input.connection),
    renews: input.renews ?? '',
  };
}

export function admitFrom(wire: Admit): AdmitInput {
  return {
    offer: parseOffer(wire.offer),
    evidence: parseEvidence(wire.evidence),
    transcript: key(wire.transcript),
    staticKey: key(wire.staticKey),
    ephemeralKey: key(wire.ephemeralKey),
    handshakeHash: key(wire.handshakeHash),
    connection: connectionFrom(wire.connection),
    ...maybe('wireguardShared', wire.wireguardShared, key),
    ...maybe('renews', wire.renews, sessionId),
  };
}

export function approachTo(input: ApproachInput) {
  return {
    offer: encodeOffer(input.offer),
    evidence: encodeEvidence(input.evidence),
    responderTranscript: input.responderTranscript,
    responderStaticKey: input.responderStaticKey,
    transcript: input.transcript,
    staticKey: input.staticKey,
    ephemeralKey: input.ephemeralKey,
    expectedId: input.expectedId,
    request: requestTo(input.request),
    renews: input.renews ?? '',
  };
}

export function approachFrom(wire: Approach): ApproachInput {
  return {
    offer: parseOffer(wire.offer),
    evidence: parseEvidence(wire.evidence),
    responderTranscript: key(wire.responderTranscript),
    responderStaticKey: key(wire.responderStaticKey),
    transcript: key(wire.transcript),
    staticKey: key(wire.staticKey),
    ephemeralKey: key(wire.ephemeralKey),
    expectedId: spiffeId(wire.expectedId),
    request: requestFrom(wire.request),
    ...maybe('renews', wire.renews, sessionId),
  };
}

export function acceptTo(input: AcceptInput) {
  return {
    nonce: input.nonce,
    grant: encodeFrame({ type: 'GRANT', grant: input.grant }),
    handshakeHash: input.handshakeHash,
    wireguardShared: input.wireguardShared ?? NOTHING,
    connection: connectionTo(input.connection),
    renews: input.renews ?? '',
  };
}

export function acceptFrom(wire: Accept): AcceptInput {
  return {
    nonce: key(wire.nonce),
    grant: grantFrame(wire.grant),
    handshakeHash: key(wire.handshakeHash),
    connection: connectionFrom(wire.connection),
    ...maybe('wireguardShared', wire.wireguardShared, key),
    ...maybe('renews', wire.renews, sessionId),
  };
}

export const MAX_CLAIMS = 512;

export function claimsFrom(wire: readonly WireClaim[]): readonly Claim[] {
  if (wire.length > MAX_CLAIMS) throw malformed('claims', wire.length);
  return wire.map(({ session, token }) => ({ session: sessionId(session), token: key(token) }));
}

// ── admissions ───────────────────────────────────────────────────────────────────────────────────────────────

export function admissionTo(admission: Admission): MessageInitShape<typeof AdmissionSchema> {
  const { grant, answer } = admission;
  return {
    id: admission.id,
    peer: admission.peer.spiffeId,
    tier: admission.peer.tier ?? '',
    offer: encodeOffer(admission.offer),
    grant: {
      mode: grant.mode,
      capabilities: [...grant.capabilities],
      targets: grant.targets.map(grantedTo),
      reachable: grant.reachable.map(prefixToWire),
      lifetimeMs: BigInt(grant.lifetimeMs),
    },
    effectiveLevel: admission.effectiveLevel,
    governedBy: admission.governedBy,
    peerLevel: admission.peerLevel,
    peerEpoch: admission.peerEpoch,
    toldEpoch: admission.toldEpoch,
    expiresAtMs: BigInt(Math.floor(admission.expiresAt)),
    reattestSecret: admission.reattestSecret,
    offered: (admission.offered ?? []).map(grantedTo),
    answer: answer === undefined ? NOTHING : encodeFrame({ type: 'GRANT', grant: answer }),
    tunnelGeneration: admission.tunnelGeneration ?? 0,
    carriesPackets: admission.carriesPackets === true,
    resumeToken: admission.resumeToken ?? NOTHING,
  };
}

export function admissionFrom(wire: WireAdmission): Admission {
  const peer = spiffeId(wire.peer);
  return {
    id: sessionId(wire.id),
    peer: {
      spiffeId: peer,
      trustDomain: trustDomainOf(peer),
      ...maybe('tier', wire.tier, (tier) => word(TIERS, tier)),
    },
    offer: parseOffer(wire.offer),
    grant: grantFrom(wire.grant),
    effectiveLevel: level(wire.effectiveLevel),
    governedBy: word(['both', 'initiator', 'responder'] as const, wire.governedBy),
    peerLevel: level(wire.peerLevel),
    peerEpoch: wire.peerEpoch,
    toldEpoch: wire.toldEpoch,
    expiresAt: Number(wire.expiresAtMs),
    reattestSecret: key(wire.reattestSecret),
    ...maybe('offered', wire.offered, grantedFrom),
    ...maybe('answer', wire.answer, grantFrame),
    ...(wire.tunnelGeneration === 0 ? {} : { tunnelGeneration: wire.tunnelGeneration }),
    ...(wire.carriesPackets ? { carriesPackets: true } : {}),
    ...maybe('resumeToken', wire.resumeToken, key),
  };
}

function grantedTo(target: GrantedTarget) {
  return { target: targetToWire(target), class: target.class, floor: target.floor };
}

function grantedFrom(wire: readonly WireGrantedTarget[]): readonly GrantedTarget[] {
  return wire.map((granted) => ({
    ...targetFromWire(present('target', granted.target)),
    class: word(TARGET_CLASSES, granted.class),
    floor: level(granted.floor),
  }));
}

function grantFrom(wire: WireGrant | undefined): Admission['grant'] {
  const { mode, capabilities, targets, reachable, lifetimeMs } = present('grant', wire);
  return {
    mode: word(MODES, mode),
    capabilities: capabilities.map((capability) => word(CAPABILITIES, capability)),
    targets: grantedFrom(targets),
    reachable: prefixesFromWire(reachable),
    lifetimeMs: Number(lifetimeMs),
  };
}

// ── what terminators tell ────────────────────────────────────────────────────────────────────────────────────

export function streamTo(stream: StreamState) {
  return {
    id: stream.id,
    address: stream.address,
    port: stream.port,
    openedByPeer: stream.openedBy === 'peer',
    openedAtMs: BigInt(Math.floor(stream.openedAtMs)),
    receivedBytes: stream.receivedBytes,
    sentBytes: stream.sentBytes,
  };
}

export function streamFrom(wire: Stream): StreamState {
  return {
    id: wire.id,
    address: address(wire.address),
    port: port(wire.port),
    openedBy: wire.openedByPeer ? 'peer' : 'local',
    openedAtMs: Number(wire.openedAtMs),
    receivedBytes: wire.receivedBytes,
    sentBytes: wire.sentBytes,
  };
}

/** Sessions of one message; a longer list goes in several. */
export const MAX_CARRIED = 256;

export function* carriedTo(sessions: ReadonlyMap<SessionId, StreamTotals>) {
  const all = [...sessions].map(([session, streams]) => ({ session, streams }));
  for (let at = 0; at < all.length; at += MAX_CARRIED) yield { sessions: all.slice(at, at + MAX_CARRIED) };
}

export function carriedFrom({ sessions }: Carried): ReadonlyMap<SessionId, StreamTotals> {
  if (sessions.length > MAX_CARRIED) throw malformed('sessions', sessions.length);
  return new Map(sessions.map(({ session, streams }) => [sessionId(session), totalsFrom(present('streams', streams))]));
}

export function totalsFrom({ streams, receivedBytes, sentBytes }: WireTotals): StreamTotals {
  return { streams, receivedBytes, sentBytes };
}

export function outcomeFrom({ initiator, reason, microseconds }: HandshakeEnded): HandshakeOutcome {
  return {
    role: initiator ? 'initiator' : 'responder',
    outcome: reason === 0 ? 'granted' : reasonFromWire(reason),
    seconds: microseconds / 1_000_000,
  };
}

export function drainReceivedFrom(wire: DrainReceived): Extract<TerminatorEvent, { kind: 'drain-received' }> {
  return {
    kind: 'drain-received',
    session: sessionId(wire.session),
    reason: reasonFromWire(wire.reason),
    level: wire.level === 0 ? undefined : level(wire.level),
    epoch: wire.epoch,
    deadlineMs: wire.deadlineMs,
  };
}

// ── values ───────────────────────────────────────────────────────────────────────────────────────────────────

const NOTHING = new Uint8Array(0);
const KEY_BYTES = 32;

export function sessionId(text: string): SessionId {
  if (!/^[0-9a-f]{32}$/.test(text)) throw malformed('session', text.slice(0, 40));
  return text;
}

export function level(value: number): PostureLevel {
  if (!isPostureLevel(value)) throw malformed('level', value);
  return value;
}

export function reason(code: number): Reason {
  return reasonFromWire(code);
}

export function port(value: number): number {
  if (value > 65_535) throw malformed('port', value);
  return value;
}

/** A literal IP address. */
export function address(text: string): string {
  if (tryParseAddress(text) === undefined) throw malformed('address', text.slice(0, 60));
  return text;
}

export function spiffeId(text: string): SpiffeId {
  const id = parseSpiffeId(text);
  if (id === undefined) throw malformed('SPIFFE ID', text.slice(0, 80));
  return id;
}

export function requestTo(request: SessionRequest): WireRequest {
  return requestToWire(request);
}

export function requestFrom(wire: WireRequest | undefined): SessionRequest {
  return requestFromWire(wire ?? create(RequestSchema));
}

/** Keys, hashes, nonces and secrets are all of one length. A copy: it outlives its message. */
export function key(bytes: Uint8Array): Uint8Array {
  if (bytes.length !== KEY_BYTES) throw malformed('32 bytes', bytes.length);
  return new Uint8Array(bytes);
}

export function connectionTo({ localAddress, localPort, remoteAddress, remotePort }: Connection) {
  return { localAddress, localPort, remoteAddress, remotePort };
}

export function connectionFrom(wire: WireConnection | undefined): Connection {
  const { localAddress, localPort, remoteAddress, remotePort } = present('connection', wire);
  if (localAddress.length > MAX_ADDRESS || remoteAddress.length > MAX_ADDRESS) throw malformed('address', 'too long');
  return { localAddress, localPort: port(localPort), remoteAddress, remotePort: port(remotePort) };
}

const MAX_ADDRESS = 64;

function grantFrame(bytes: Uint8Array): GrantBody {
  const frame = decodeFrame(bytes);
  if (frame.type !== 'GRANT') throw malformed('grant', frame.type);
  return frame.grant;
}

function word<const Word extends string>(words: readonly Word[], text: string): Word {
  const known = words.find((candidate) => candidate === text);
  if (known === undefined) throw malformed('word', text.slice(0, 40));
  return known;
}

export function present<T>(what: string, value: T | undefined): T {
  if (value === undefined) throw malformed(what, 'missing');
  return value;
}

/** An empty text, no bytes or an empty list: left out. */
function maybe<Name extends string, Raw extends { readonly length: number }, Value>(
  name: Name,
  raw: Raw,
  parse: (raw: Raw) => Value,
): { readonly [N in Name]?: Value } {
  return raw.length === 0 ? {} : ({ [name]: parse(raw) } as { readonly [N in Name]?: Value });
}

export function malformed(what: string, got: unknown): ShellstreamError {
  return new ShellstreamError('MALFORMED', `${what}: ${String(got)}`);
}

/** What may wait in the link between two processes before packets of tunnels are dropped: orders must not wait behind them. */
export const MAX_PACKETS_BUFFERED = 524_288;

/** @throws ShellstreamError MALFORMED */
export function packetFrom({ packet }: { readonly packet: Uint8Array }): Uint8Array {
  if (packet.length === 0 || packet.length > MAX_PACKET_BYTES) {
    throw new ShellstreamError('MALFORMED', `a packet of ${packet.length} bytes`);
  }
  return packet;
}
