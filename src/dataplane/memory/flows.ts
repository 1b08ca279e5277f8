/** A flow table without a kernel: keeps its state in maps and judges packets by the same rules. Shipped for tests. */
import type { Prefix } from '../../../protocol/capability/model.ts';
import { ShellstreamError } from '../../../protocol/errors.ts';
import { levelFromTrustedSource, mostRestrictive, type PostureLevel } from '../../../protocol/posture/level.ts';
import { systemClock } from '../../base/clock.ts';
import { flowClaims, type PolicyChange } from '../flow-claims.ts';
import type { FlowPacket, Verdict } from '../flow-packet.ts';
import {
  hex,
  isIntegerIn,
  MAX_TRANSLATIONS,
  mappedPrefix,
  policyKey,
  policyRule,
  prefixPair,
  refused,
} from '../flow-rules.ts';
import { listeners } from '../listeners.ts';
import type {
  ControlFlow,
  ExternalPosture,
  FlowAttachment,
  FlowCounters,
  FlowDenial,
  FlowRule,
  FlowSession,
  FlowTable,
  Forward,
  LevelSeen,
  PosturePin,
} from '../ports.ts';
import { controlKey, type FlowState, forwardKey, judge, protocolOf, translateOutbound } from './flow-judge.ts';

export interface MemoryFlowsOptions {
  /** Nanoseconds of the clock that deadlines are in; the machine's monotonic clock by default. */
  readonly bootTimeNs?: () => bigint;
  readonly sessions?: number;
  readonly peers?: number;
  readonly rules?: number;
  readonly flowsPerSession?: number;
  readonly flows?: number;
  readonly controls?: number;
}

export interface MemoryFlows extends FlowTable {
  /** What the filter does with the packet; opens flows, counts and reports denials like the real one. */
  judge(packet: FlowPacket): Verdict;
  /** Writes slot 0 of the posture map, as the shell's own governance does. Any number may stand there. */
  setExternalPosture(raw: number): void;
  /** Somebody takes the map away, or puts another one in its place that says `raw`; the filter keeps the one it has. */
  replacePostureMap(pin: PosturePin, raw: number): void;
  /** Interfaces that the filter is on. */
  readonly attached: readonly number[];
  /** Entries of the policy map, live flows, pinned sources: what must be zero after a session's end. */
  readonly entries: { readonly policies: number; readonly live: number; readonly sources: number };
  /** Slots of installed sessions, active or not. */
  readonly sessions: readonly number[];
  /** 5-tuples that may pass for the control window. */
  readonly controls: number;
}

export function createMemoryFlows(options: MemoryFlowsOptions = {}): MemoryFlows {
  return new FlowsInMemory(options);
}

class FlowsInMemory implements MemoryFlows {
  readonly #now: () => bigint;
  readonly #limits: Required<Omit<MemoryFlowsOptions, 'bootTimeNs'>>;
  readonly #claims = flowClaims();
  readonly #counters = new Map<number, { packets: bigint; bytes: bigint; denied: bigint }>();
  readonly #posture = listeners<ExternalPosture>();
  #pin: PosturePin = 'ours';
  readonly #denials = listeners<readonly FlowDenial[]>();
  readonly #levels = listeners<readonly LevelSeen[]>();
  #seen: LevelSeen | undefined;
  readonly #state: FlowState = {
    interfaces: new Map(),
    sources: new Map(),
    forwards: new Set(),
    peerLevels: new Map(),
    sessions: new Map(),
    policies: new Map(),
    live: new Map(),
    controls: new Set(),
    answers: new Map(),
    leaseUntil: 0n,
    external: 5,
    own: 5,
    lockdownSince: undefined,
  };

  constructor({ bootTimeNs = monotonicNs, ...limits }: MemoryFlowsOptions) {
    this.#now = bootTimeNs;
    this.#limits = { ...DEFAULT_LIMITS, ...limits };
  }

  judge(packet: FlowPacket): Verdict {
    const now = this.#now();
    this.#see(now);
    const onWire = translateOutbound(this.#state, packet);
    const { verdict, sessionSlot } = judge(this.#state, this.#limits, now, onWire);
    if (sessionSlot !== undefined) {
      const counters = this.#countersOf(sessionSlot);
      if (verdict === 'PASS') counters.packets += 1n;
      else counters.denied += 1n;
    }
    if (verdict !== 'PASS') this.#denials.tell([denialOf(onWire, verdict, now)]);
    return verdict;
  }

  setExternalPosture(raw: number): void {
    if (this.#state.external === raw) return;
    this.#state.external = raw;
    this.#posture.tell({ raw, pin: this.#pin });
  }

  replacePostureMap(pin: PosturePin, raw: number): void {
    this.#pin = pin;
    this.#posture.tell({ raw, pin });
  }

  get attached(): readonly number[] {
    return [...this.#state.interfaces.keys()];
  }

  get entries() {
    const sources = [...this.#state.sources.values()].reduce((sum, pinned) => sum + pinned.length, 0);
    return { policies: this.#state.policies.size, live: this.#state.live.size, sources };
  }

  get sessions(): readonly number[] {
    return [...this.#state.sessions.keys()];
  }

  get controls(): number {
    return this.#state.controls.size;
  }

  async attach({ ifindex, kind, allowAtLockdown = [], translations = [] }: FlowAttachment): Promise<void> {
    for (const { remote } of allowAtLockdown) mappedPrefix(remote);
    if (kind === 'tunnel' && allowAtLockdown.length > 0) throw refused('static entries never pass through tunnels');
    if (kind === 'outer' && translations.length > 0) throw refused('prefixes are translated on tunnels only');
    const pairs = translations.map(prefixPair);
    const others = [...this.#state.interfaces].flatMap(([other, there]) => (other === ifindex ? [] : there.pairs));
    if (others.length + pairs.length > MAX_TRANSLATIONS)
      throw refused(`more than ${MAX_TRANSLATIONS} translated prefixes`);
    this.#state.interfaces.set(ifindex, { kind, statics: [...allowAtLockdown], pairs });
  }

  async detach(ifindex: number): Promise<void> {
    this.#state.interfaces.delete(ifindex);
  }

  async replacesAtOnce(ifindex: number): Promise<boolean> {
    return this.#state.interfaces.has(ifindex);
  }

  async pinSources(ifindex: number, peerSlot: number, prefixes: readonly Prefix[]): Promise<void> {
    this.#checkPeer(peerSlot);
    const added = prefixes.map((prefix) => ({ ...mappedPrefix(prefix), peerSlot }));
    await this.unpinSources(ifindex, prefixes);
    this.#state.sources.set(ifindex, [...(this.#state.sources.get(ifindex) ?? []), ...added]);
  }

  async unpinSources(ifindex: number, prefixes: readonly Prefix[]): Promise<void> {
    const gone = new Set(prefixes.map((prefix) => prefixKey(mappedPrefix(prefix))));
    const left = (this.#state.sources.get(ifindex) ?? []).filter((pinned) => !gone.has(prefixKey(pinned)));
    this.#state.sources.set(ifindex, left);
  }

  async setForwards(forwards: readonly Forward[]): Promise<void> {
    for (const { from, to } of forwards) for (const slot of [from, to]) this.#checkPeer(slot);
    const wanted = forwards.map(forwardKey);
    if (wanted.length > MAX_FORWARDS) throw new ShellstreamError('DATAPLANE_FULL');
    this.#state.forwards.clear();
    for (const key of wanted) this.#state.forwards.add(key);
  }

  async setPeerLevel(peerSlot: number, level: PostureLevel): Promise<void> {
    this.#checkPeer(peerSlot);
    this.#state.peerLevels.set(peerSlot, level);
  }

  async install(session: FlowSession, rules: readonly FlowRule[]): Promise<void> {
    this.#checkSlot(session.sessionSlot);
    this.#checkPeer(session.peerSlot);
    const policies = rules.map((rule) => policyRule(rule, session.peerSlot));
    await this.remove(session.sessionSlot, []);
    this.#apply(this.#claims.open(session));
    this.#apply(this.#claims.claim(session.sessionSlot, policies));
    if (this.#state.policies.size > this.#limits.rules) {
      this.#apply(this.#claims.remove(session.sessionSlot));
      throw new ShellstreamError('DATAPLANE_FULL');
    }
    this.#state.sessions.set(session.sessionSlot, { ...session, active: false });
  }

  async activate(session: FlowSession): Promise<void> {
    const { sessionSlot, generation } = session;
    if (this.#claims.generationOf(sessionSlot) !== generation) throw refused('the session is not installed');
    this.#state.sessions.set(sessionSlot, { ...session, active: true });
    this.#apply(this.#claims.activate(sessionSlot));
  }

  async deactivate(sessionSlot: number): Promise<void> {
    this.#checkSlot(sessionSlot);
    const session = this.#state.sessions.get(sessionSlot);
    if (session !== undefined) this.#state.sessions.set(sessionSlot, { ...session, active: false });
    this.#apply(this.#claims.deactivate(sessionSlot));
  }

  async remove(sessionSlot: number, _rules: readonly FlowRule[]): Promise<void> {
    this.#checkSlot(sessionSlot);
    this.#apply(this.#claims.remove(sessionSlot));
    this.#state.sessions.delete(sessionSlot);
    this.#forget(sessionSlot);
  }

  async extend(sessionSlot: number, generation: number, expiresAtBootNs: bigint): Promise<void> {
    const session = this.#state.sessions.get(sessionSlot);
    if (session?.generation !== generation) throw refused('the session is not installed');
    this.#state.sessions.set(sessionSlot, { ...session, expiresAtBootNs });
  }

  async setControl(flows: readonly ControlFlow[]): Promise<void> {
    const wanted = new Set(flows.map(keyOfControl));
    if (wanted.size > this.#limits.controls) throw new ShellstreamError('DATAPLANE_FULL');
    this.#state.controls.clear();
    for (const key of wanted) this.#state.controls.add(key);
  }

  async renewLease(untilBootNs: bigint): Promise<void> {
    this.#state.leaseUntil = untilBootNs;
  }

  async posture(): Promise<{ readonly external: number; readonly own: number }> {
    return { external: this.#state.external, own: this.#state.own };
  }

  async setPosture(level: PostureLevel): Promise<void> {
    this.#state.own = level;
    if (mostRestrictive(level, levelFromTrustedSource(this.#state.external)) > 1) this.#state.lockdownSince = undefined;
  }

  onExternalPosture(listener: (external: ExternalPosture) => void): Disposable {
    return this.#posture.add(listener);
  }

  onDenials(listener: (denials: readonly FlowDenial[]) => void): Disposable {
    return this.#denials.add(listener);
  }

  onLevelSeen(listener: (seen: readonly LevelSeen[]) => void): Disposable {
    return this.#levels.add(listener);
  }

  async counters(sessionSlot: number): Promise<FlowCounters> {
    this.#checkSlot(sessionSlot);
    return { ...this.#countersOf(sessionSlot) };
  }

  async reset(keep?: number): Promise<void> {
    const { interfaces, sources, forwards, peerLevels, sessions, policies, live, controls, answers } = this.#state;
    for (const ifindex of interfaces.keys()) if (ifindex !== keep) interfaces.delete(ifindex);
    for (const part of [sources, forwards, peerLevels, sessions, policies, live, controls, answers]) part.clear();
    this.#counters.clear();
    this.#claims.clear();
    this.#state.leaseUntil = 0n;
  }

  #see(now: bigint): void {
    const [external, own] = [levelFromTrustedSource(this.#state.external), this.#state.own];
    const level = mostRestrictive(external, own);
    const before = this.#seen;
    if (before?.level === level || (before !== undefined && now - before.atBootNs < LEVELS_APART_NS)) return;
    const heldBy = external === own ? 'both' : external < own ? 'external' : 'own';
    this.#seen = { atBootNs: now, from: before?.level, level, heldBy, number: (before?.number ?? 0n) + 1n };
    this.#levels.tell([this.#seen]);
  }

  #apply(changes: readonly PolicyChange[]): void {
    for (const { rule, owner } of changes) {
      if (owner === undefined) this.#state.policies.delete(policyKey(rule));
      else this.#state.policies.set(policyKey(rule), { rule, owner });
    }
  }

  #forget(sessionSlot: number): void {
    for (const [key, flow] of this.#state.live) {
      if (flow.sessionSlot === sessionSlot) this.#state.live.delete(key);
    }
    this.#counters.delete(sessionSlot);
  }

  #countersOf(sessionSlot: number) {
    const counters = this.#counters.get(sessionSlot) ?? { packets: 0n, bytes: 0n, denied: 0n };
    this.#counters.set(sessionSlot, counters);
    return counters;
  }

  #checkSlot(sessionSlot: number): void {
    if (!isIntegerIn(sessionSlot, 0, this.#limits.sessions - 1)) throw refused(`session slot ${sessionSlot} is none`);
  }

  #checkPeer(peerSlot: number): void {
    if (!isIntegerIn(peerSlot, 0, this.#limits.peers - 1)) throw refused(`peer slot ${peerSlot} is none`);
  }
}

/** As in native/bpf/posture.h. */
const LEVELS_APART_NS = 1_000_000n;

/** As many as the kernel's map has. */
const MAX_FORWARDS = 1024;

const DEFAULT_LIMITS = {
  sessions: 1024,
  peers: 1024,
  rules: 65_536,
  flowsPerSession: 512,
  flows: 131_072,
  controls: 16_384,
};

function monotonicNs(): bigint {
  return BigInt(Math.round(systemClock.monotonic() * 1e6));
}

function denialOf(packet: FlowPacket, cause: Exclude<Verdict, 'PASS'>, atBootNs: bigint): FlowDenial {
  const { ifindex, direction } = packet;
  const nothing = new Uint8Array(0);
  const hasAddresses = packet.kind !== 'neighbour';
  const isEcho = packet.kind === 'echo-request' || packet.kind === 'echo-reply';
  const hasPorts = packet.kind === 'tcp' || packet.kind === 'udp';
  return {
    cause,
    ifindex,
    direction,
    protocol: protocolOf(packet),
    source: hasAddresses ? packet.source : nothing,
    destination: hasAddresses ? packet.destination : nothing,
    sourcePort: isEcho ? packet.identifier : hasPorts ? packet.sourcePort : 0,
    destinationPort: isEcho ? packet.identifier : hasPorts ? packet.destinationPort : 0,
    atBootNs,
  };
}

function prefixKey({ address, length }: Prefix): string {
  return `${hex(address)}/${length}`;
}

function keyOfControl({ protocol, localAddress, localPort, remoteAddress, remotePort }: ControlFlow): string {
  return controlKey(protocol, localAddress, localPort, remoteAddress, remotePort);
}
