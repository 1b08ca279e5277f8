/** The filter's verdict on one packet, by the rules of native/bpf/{tunnel,outer,policy,session,flow}.h. */
import { assertNever } from '../../../protocol/errors.ts';
import { levelFromTrustedSource, mostRestrictive, type PostureLevel } from '../../../protocol/posture/level.ts';
import type { Owner } from '../flow-claims.ts';
import type { EchoPacket, FlowPacket, TcpPacket, UdpPacket, Verdict } from '../flow-packet.ts';
import {
  covers,
  hex,
  isMapped,
  mappedAddress,
  type PolicyRule,
  PROTOCOL_ICMP,
  PROTOCOL_ICMPV6,
  PROTOCOL_TCP,
  PROTOCOL_UDP,
  type PrefixPair,
} from '../flow-rules.ts';
import type { FlowSession, Forward, StaticFlow } from '../ports.ts';

export interface FlowState {
  readonly interfaces: Map<number, Attached>;
  /** By interface: pinned sources, mapped. */
  readonly sources: Map<number, { readonly address: Uint8Array; readonly length: number; readonly peerSlot: number }[]>;
  /** `forwardKey` of peer slots. */
  readonly forwards: Set<string>;
  readonly peerLevels: Map<number, PostureLevel>;
  readonly sessions: Map<number, FlowSession & { readonly active: boolean }>;
  /** By policyKey. */
  readonly policies: Map<string, { readonly rule: PolicyRule; readonly owner: Owner }>;
  readonly live: Map<string, LiveFlow>;
  readonly controls: Set<string>;
  /** What static entries opened: last seen. */
  readonly answers: Map<string, bigint>;
  leaseUntil: bigint;
  external: number;
  own: PostureLevel;
  lockdownSince: bigint | undefined;
}

interface Attached {
  readonly kind: 'tunnel' | 'outer';
  readonly statics: readonly StaticFlow[];
  readonly pairs: readonly PrefixPair[];
}

export interface FlowLimits {
  readonly flowsPerSession: number;
  readonly flows: number;
}

export interface Judgement {
  readonly verdict: Verdict;
  /** The session that the packet belongs to, where one was found. */
  readonly sessionSlot: number | undefined;
}

interface LiveFlow extends Owner {
  readonly protocol: number;
  readonly openedBy: 'in' | 'out';
  lastSeen: bigint;
  answered: boolean;
  finOpener: boolean;
  finAnswerer: boolean;
  reset: boolean;
}

const SECOND = 1_000_000_000n;
const CONTROL_WINDOW = SECOND / 2n;
const IDLE_STATIC = 180n * SECOND;
const FIN = 1;
const RST = 4;

export function judge(state: FlowState, limits: FlowLimits, now: bigint, packet: FlowPacket): Judgement {
  const level = nodeLevel(state, now);
  const attached = state.interfaces.get(packet.ifindex);
  if (attached === undefined) return nobody('PASS');
  switch (attached.kind) {
    case 'tunnel':
      return judgeTunnel(state, limits, { now, level }, packet);
    case 'outer':
      return nobody(level > 1 || passesIsolation(state, now, attached.statics, packet) ? 'PASS' : 'ISOLATED');
  }
}

/** What leaves is judged by what it is on the wire; what comes has those addresses already. */
export function translateOutbound(state: FlowState, packet: FlowPacket): FlowPacket {
  const pairs = state.interfaces.get(packet.ifindex)?.pairs ?? [];
  if (pairs.length === 0 || packet.direction === 'in' || packet.kind === 'neighbour') return packet;
  const source = externalOf(pairs, packet.source);
  if (packet.kind !== 'icmp-error') return { ...packet, source };
  return { ...packet, source, about: { ...packet.about, destination: externalOf(pairs, packet.about.destination) } };
}

function externalOf(pairs: readonly PrefixPair[], address: Uint8Array): Uint8Array {
  const whole = mappedAddress(address);
  const pair = pairs.find(({ internal, length }) => covers(internal, length, whole));
  if (pair === undefined) return address;
  const { external, length } = pair;
  const bits = (byte: number): number => 0xff >> Math.min(8, Math.max(0, length - 8 * byte));
  return whole.map((byte, at) => (external[at] ?? 0) | (byte & bits(at))).slice(16 - address.length);
}

/** Also starts the control window, and arms it again above level 1. */
function nodeLevel(state: FlowState, now: bigint): PostureLevel {
  const level = mostRestrictive(levelFromTrustedSource(state.external), state.own);
  if (level > 1) state.lockdownSince = undefined;
  else state.lockdownSince ??= now;
  return level;
}

interface Moment {
  readonly now: bigint;
  readonly level: PostureLevel;
}

function judgeTunnel(state: FlowState, limits: FlowLimits, at: Moment, packet: FlowPacket): Judgement {
  if (packet.kind !== 'neighbour' && isDisguised(packet)) return nobody('MALFORMED');
  switch (packet.kind) {
    case 'neighbour':
      return nobody('PASS');
    case 'unreadable':
      return nobody('MALFORMED');
    case 'other':
      return nobody('NO_FLOW');
    case 'icmp-error': {
      const goesToSender = hex(mappedAddress(packet.about.source)) === hex(mappedAddress(packet.destination));
      const flow = goesToSender ? liveFlow(state, at.now, flowKey(packet.about)) : undefined;
      return flow === undefined ? nobody('NO_FLOW') : judgement(sessionVerdict(state, at, flow), flow);
    }
    case 'tcp':
    case 'udp':
    case 'echo-request':
    case 'echo-reply':
      return judgeFlow(state, limits, at, packet);
  }
  return assertNever(packet);
}

type Transport = TcpPacket | UdpPacket | EchoPacket;

function judgeFlow(state: FlowState, limits: FlowLimits, at: Moment, packet: Transport): Judgement {
  const flow = liveFlow(state, at.now, flowKey(packet));
  if (flow === undefined) return judgeNew(state, limits, at, packet);
  const known = sessionVerdict(state, at, flow);
  if (known === 'PASS') {
    touch(flow, packet, at.now);
    return judgement('PASS', flow);
  }
  // Only who may open can move the flow to another grant.
  if (packet.direction !== flow.openedBy) return judgement(known, flow);
  const fresh = judgeNew(state, limits, at, packet);
  return fresh.verdict === 'NO_FLOW' ? judgement(known, flow) : fresh;
}

function judgeNew(state: FlowState, limits: FlowLimits, at: Moment, packet: Transport): Judgement {
  if (packet.kind === 'echo-reply') return nobody('NO_FLOW');
  const found = decide(state, at, packet);
  if (found.owner === undefined || found.verdict !== 'PASS') return judgement(found.verdict, found.owner);
  const { owner } = found;
  const isForwarded = packet.direction === 'out' && packet.cameBy === packet.ifindex;
  if (isForwarded && !mayBeForwarded(state, packet, owner)) return judgement('NOT_FORWARDED', owner);
  const isRoom = makeRoom(state, limits, at.now, flowKey(packet), owner);
  if (!isRoom) return judgement('STATE_FULL', owner);
  state.live.set(flowKey(packet), {
    ...owner,
    protocol: protocolOf(packet),
    openedBy: packet.direction,
    lastSeen: at.now,
    answered: false,
    finOpener: packet.kind === 'tcp' && (packet.flags & FIN) !== 0,
    finAnswerer: false,
    reset: packet.kind === 'tcp' && (packet.flags & RST) !== 0,
  });
  return judgement('PASS', owner);
}

/** From whom it is pinned here to whose session it would take. */
function mayBeForwarded(state: FlowState, packet: Transport, { sessionSlot }: Owner): boolean {
  const from = longest(state.sources.get(packet.ifindex) ?? [], mappedAddress(packet.source))?.peerSlot;
  const to = state.sessions.get(sessionSlot)?.peerSlot;
  return from !== undefined && to !== undefined && state.forwards.has(forwardKey({ from, to }));
}

export function forwardKey({ from, to }: Forward): string {
  return `${from} ${to}`;
}

/** The first candidate whose session lets the packet pass; else the first found says why not. */
function decide(state: FlowState, at: Moment, packet: Transport): { verdict: Verdict; owner: Owner | undefined } {
  const destination = mappedAddress(packet.destination);
  let peerSlot = 0;
  if (packet.direction === 'in') {
    const pinned = longest(state.sources.get(packet.ifindex) ?? [], mappedAddress(packet.source));
    if (pinned === undefined) return { verdict: 'SOURCE_NOT_PINNED', owner: undefined };
    peerSlot = pinned.peerSlot;
  }
  const port = 'destinationPort' in packet ? packet.destinationPort : 0;
  const fitting = [...state.policies.values()].filter(
    ({ rule }) =>
      rule.ifindex === packet.ifindex &&
      rule.direction === packet.direction &&
      rule.peerSlot === peerSlot &&
      rule.protocol === protocolOf(packet) &&
      covers(rule.destination, rule.length, destination),
  );
  let denied: { verdict: Verdict; owner: Owner } | undefined;
  for (const isHost of [true, false]) {
    for (const wanted of port === 0 ? [0] : [port, 0]) {
      const rules = fitting.filter(({ rule }) => (rule.length === 128) === isHost && rule.port === wanted);
      const best = rules.sort((one, other) => other.rule.length - one.rule.length)[0];
      if (best === undefined) continue;
      const verdict = sessionVerdict(state, at, best.owner);
      if (verdict === 'PASS') return { verdict, owner: best.owner };
      denied ??= { verdict, owner: best.owner };
    }
  }
  return denied ?? { verdict: 'NO_FLOW', owner: undefined };
}

function sessionVerdict(state: FlowState, { now, level }: Moment, owner: Owner): Verdict {
  const session = state.sessions.get(owner.sessionSlot);
  if (now >= state.leaseUntil) return 'LEASE_EXPIRED';
  if (session === undefined || !session.active || session.generation !== owner.generation) return 'SESSION_INACTIVE';
  if (now >= session.expiresAtBootNs) return 'SESSION_EXPIRED';
  const least = Math.min(level, state.peerLevels.get(session.peerSlot) ?? 0);
  return least >= owner.floor ? 'PASS' : 'POSTURE';
}

/** Idle flows and those of a former generation give their place away; live ones never do. */
function makeRoom(state: FlowState, limits: FlowLimits, now: bigint, key: string, owner: Owner): boolean {
  let held = 0;
  for (const [other, flow] of state.live) {
    if (other === key || flow.sessionSlot !== owner.sessionSlot) continue;
    if (flow.generation === owner.generation && isLive(flow, now)) held += 1;
    else state.live.delete(other);
  }
  return held < limits.flowsPerSession && (state.live.has(key) || state.live.size < limits.flows);
}

function liveFlow(state: FlowState, now: bigint, key: string): LiveFlow | undefined {
  const flow = state.live.get(key);
  return flow !== undefined && isLive(flow, now) ? flow : undefined;
}

function isLive(flow: LiveFlow, now: bigint): boolean {
  return now - flow.lastSeen < idleLimit(flow);
}

function idleLimit(flow: LiveFlow): bigint {
  if (flow.protocol === PROTOCOL_TCP) {
    if (flow.reset || (flow.finOpener && flow.finAnswerer)) return 10n * SECOND;
    return flow.answered ? 7440n * SECOND : 30n * SECOND;
  }
  return flow.protocol === PROTOCOL_UDP && flow.answered ? 180n * SECOND : 30n * SECOND;
}

function touch(flow: LiveFlow, packet: Transport, now: bigint): void {
  const byOpener = packet.direction === flow.openedBy;
  const flags = packet.kind === 'tcp' ? packet.flags : 0;
  if (!byOpener) flow.answered = true;
  if (flags & FIN) {
    if (byOpener) flow.finOpener = true;
    else flow.finAnswerer = true;
  }
  if (flags & RST) flow.reset = true;
  flow.lastSeen = now;
}

function passesIsolation(state: FlowState, now: bigint, statics: readonly StaticFlow[], packet: FlowPacket): boolean {
  switch (packet.kind) {
    case 'neighbour':
      return statics.length > 0 || isWindowOpen(state, now);
    case 'unreadable':
    case 'other':
    case 'icmp-error':
      return false;
    case 'tcp':
    case 'udp':
    case 'echo-request':
    case 'echo-reply':
      break;
  }
  if (isDisguised(packet)) return false;
  const key = flowKey(packet);
  if (isWindowOpen(state, now) && state.controls.has(controlKeyOf(packet))) return true;
  const seen = state.answers.get(key);
  const isAnswer = seen !== undefined && now - seen < IDLE_STATIC;
  if (!isAnswer && !statics.some((entry) => isStatic(entry, packet))) return false;
  state.answers.set(key, now);
  return true;
}

function isWindowOpen({ lockdownSince }: FlowState, now: bigint): boolean {
  return lockdownSince !== undefined && now - lockdownSince < CONTROL_WINDOW;
}

function isStatic(entry: StaticFlow, packet: Transport): boolean {
  if (packet.kind === 'echo-reply') return false;
  if (entry.direction !== packet.direction || entry.protocol !== protocolOf(packet)) return false;
  const remote = packet.direction === 'in' ? packet.source : packet.destination;
  return (
    entry.remote.address.length === remote.length &&
    covers(mappedAddress(entry.remote.address), entry.remote.length + 128 - remote.length * 8, mappedAddress(remote)) &&
    ('identifier' in packet || entry.port === 0 || entry.port === packet.destinationPort)
  );
}

export function controlKey(protocol: number, local: Uint8Array, localPort: number, remote: Uint8Array, port: number) {
  return `${protocol} ${hex(mappedAddress(local))} ${localPort} ${hex(mappedAddress(remote))} ${port}`;
}

function controlKeyOf(packet: Transport): string {
  const { local, localPort, remote, remotePort } = endsOf(packet);
  return controlKey(protocolOf(packet), local, localPort, remote, remotePort);
}

/** One key for both ways. */
function flowKey(packet: Transport): string {
  return `${packet.ifindex} ${controlKeyOf(packet)}`;
}

function endsOf(packet: Transport) {
  const isEcho = 'identifier' in packet;
  const sourcePort = isEcho ? packet.identifier : packet.sourcePort;
  const destinationPort = isEcho ? packet.identifier : packet.destinationPort;
  return packet.direction === 'in'
    ? { local: packet.destination, localPort: destinationPort, remote: packet.source, remotePort: sourcePort }
    : { local: packet.source, localPort: sourcePort, remote: packet.destination, remotePort: destinationPort };
}

export function protocolOf(packet: FlowPacket): number {
  switch (packet.kind) {
    case 'tcp':
      return PROTOCOL_TCP;
    case 'udp':
      return PROTOCOL_UDP;
    case 'echo-request':
    case 'echo-reply':
    case 'icmp-error':
      return packet.source.length === 4 ? PROTOCOL_ICMP : PROTOCOL_ICMPV6;
    case 'other':
      return packet.protocol;
    case 'unreadable':
    case 'neighbour':
      return 0;
  }
}

/** IPv6 that carries mapped IPv4 addresses would ride on IPv4's flows. */
function isDisguised(packet: Exclude<FlowPacket, { kind: 'neighbour' }>): boolean {
  return packet.source.length === 16 && (isMapped(packet.source) || isMapped(packet.destination));
}

function longest<T extends { readonly address: Uint8Array; readonly length: number }>(
  prefixes: readonly T[],
  address: Uint8Array,
): T | undefined {
  return prefixes
    .filter((prefix) => covers(prefix.address, prefix.length, address))
    .sort((one, other) => other.length - one.length)[0];
}

function nobody(verdict: Verdict): Judgement {
  return { verdict, sessionSlot: undefined };
}

function judgement(verdict: Verdict, owner: Owner | undefined): Judgement {
  return { verdict, sessionSlot: owner?.sessionSlot };
}
