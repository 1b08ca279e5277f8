/** The stage of the flow contract: two tunnels, a peer with addresses, a session with one rule, and its packets. */
import { afterEach, beforeEach } from 'vitest';
import type { FlowPacket, TcpPacket, Verdict } from './flow-packet.ts';
import type { FlowDenial, FlowRule, FlowSession, FlowTable } from './ports.ts';

/** Sizes that the harness must be made with. */
export const CONTRACT_SIZES = {
  sessions: 16,
  peers: 16,
  rules: 64,
  flowsPerSession: 8,
  flows: 64,
  controls: 8,
} as const;

export interface FlowHarness extends AsyncDisposable {
  readonly flows: FlowTable;
  /** Two interfaces for tunnels and one for the outside. */
  readonly interfaces: { readonly tunnel: number; readonly otherTunnel: number; readonly outer: number };
  judge(packet: FlowPacket): Promise<Verdict>;
  /** Writes slot 0 as the shell's governance does. */
  setExternal(raw: number): Promise<void>;
  now(): bigint;
  /** Lets nanoseconds pass for everything that the table remembers. */
  pass(ns: bigint): Promise<void>;
  /** Entries left: policies, live flows, pinned sources. */
  entries(): Promise<{ readonly policies: number; readonly live: number; readonly sources: number }>;
  /** Resolves with the first denial, of those that listeners are told from now on, of a packet to this port. */
  denialTo(port: number): Promise<FlowDenial>;
}

export interface FlowScene {
  /** The table of the running test. */
  readonly on: FlowHarness;
  readonly tunnel: number;
  /** Slot 3, generation 7, peer slot 5, a minute to live. */
  session(changes?: Partial<FlowSession>): FlowSession;
  /** Into the tunnel, TCP 443 of OURS, floor 3. */
  rule(changes?: Partial<FlowRule>): FlowRule;
  /** Installs and activates the session, with the peer's sources pinned and the peer at level 5. */
  granted(rules?: readonly FlowRule[], changes?: Partial<FlowSession>): Promise<void>;
  /** A SYN that the rule covers. */
  request(changes?: Partial<TcpPacket>): TcpPacket;
  /** The same addresses and ports, the other way. */
  answer(to: TcpPacket, flags?: number): TcpPacket;
}

export const SECOND = 1_000_000_000n;
export const MINUTE = 60n * SECOND;
export const [TCP, UDP, ICMP, ICMPV6] = [6, 17, 1, 58];
export const SYN = 2;
export const ACK = 16;
export const FIN_ACK = 17;

/** 10.1.0.0/16 is the peer's side, 10.2.0.0/16 ours; likewise fd01:: and fd02::. */
export const PEER = ip4(10, 1, 0, 2);
export const OURS = ip4(10, 2, 0, 1);
export const PEER6 = ip6(0xfd01, 2);
export const OURS6 = ip6(0xfd02, 1);

export function flowScene(open: () => Promise<FlowHarness>): FlowScene {
  let on: FlowHarness;
  let tunnel: number;

  beforeEach(async () => {
    on = await open();
    tunnel = on.interfaces.tunnel;
    await on.flows.attach({ ifindex: tunnel, kind: 'tunnel' });
    await on.flows.attach({ ifindex: on.interfaces.otherTunnel, kind: 'tunnel' });
    await on.flows.renewLease(on.now() + MINUTE);
  });

  afterEach(async () => {
    await on[Symbol.asyncDispose]();
  });

  function session(changes: Partial<FlowSession> = {}): FlowSession {
    return { sessionSlot: 3, generation: 7, peerSlot: 5, expiresAtBootNs: on.now() + MINUTE, ...changes };
  }

  function rule(changes: Partial<FlowRule> = {}): FlowRule {
    const destination = { address: OURS, length: 32 };
    return { ifindex: tunnel, direction: 'in', destination, protocol: TCP, port: 443, floor: 3, ...changes };
  }

  async function granted(rules: readonly FlowRule[] = [rule()], changes: Partial<FlowSession> = {}): Promise<void> {
    const granted = session(changes);
    await on.flows.pinSources(tunnel, granted.peerSlot, [
      { address: ip4(10, 1, 0, 0), length: 16 },
      { address: ip6(0xfd01, 0), length: 16 },
    ]);
    await on.flows.setPeerLevel(granted.peerSlot, 5);
    await on.flows.install(granted, rules);
    await on.flows.activate(granted);
  }

  function request(changes: Partial<TcpPacket> = {}): TcpPacket {
    const ports = { sourcePort: 40_000, destinationPort: 443 };
    return {
      kind: 'tcp',
      ifindex: tunnel,
      direction: 'in',
      source: PEER,
      destination: OURS,
      ...ports,
      flags: SYN,
      ...changes,
    };
  }

  function answer(to: TcpPacket, flags = SYN | ACK): TcpPacket {
    return {
      ...to,
      direction: to.direction === 'in' ? 'out' : 'in',
      source: to.destination,
      destination: to.source,
      sourcePort: to.destinationPort,
      destinationPort: to.sourcePort,
      flags,
    };
  }

  return {
    get on() {
      return on;
    },
    get tunnel() {
      return tunnel;
    },
    session,
    rule,
    granted,
    request,
    answer,
  };
}

export function ip4(...bytes: readonly [number, number, number, number]): Uint8Array {
  return Uint8Array.from(bytes);
}

/** FIRST::LAST */
export function ip6(first: number, last: number): Uint8Array {
  return Uint8Array.of(first >> 8, first & 255, ...new Uint8Array(12), last >> 8, last & 255);
}

/** For harnesses: the first denial of a packet to `port`. */
export function denialTo(flows: FlowTable, port: number): Promise<FlowDenial> {
  return new Promise((resolve) => {
    const listening = flows.onDenials((denials) => {
      const found = denials.find((denial) => denial.destinationPort === port);
      if (found === undefined) return;
      listening[Symbol.dispose]();
      resolve(found);
    });
  });
}
