/**
 * What every flow table must do, told by packets. Runs on the kernel (BPF_PROG_TEST_RUN on interfaces of a namespace)
 * and in memory.
 */
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import type { PostureLevel } from '../../protocol/posture/level.ts';
import type { FlowPacket, Verdict } from './flow-packet.ts';
import type { FlowDenial, FlowRule, FlowSession, FlowTable, StaticFlow } from './ports.ts';

/** Sizes that the harness must be made with. */
export const CONTRACT_SIZES = { sessions: 16, peers: 16, rules: 64, flowsPerSession: 8, flows: 64 } as const;

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

const SECOND = 1_000_000_000n;
const MINUTE = 60n * SECOND;
const [TCP, UDP, ICMP, ICMPV6] = [6, 17, 1, 58];
const SYN = 2;
const ACK = 16;
const FIN_ACK = 17;

/** 10.1.0.0/16 is the peer's side, 10.2.0.0/16 ours; likewise fd01:: and fd02::. */
const PEER = ip4(10, 1, 0, 2);
const OURS = ip4(10, 2, 0, 1);
const PEER6 = ip6(0xfd01, 2);
const OURS6 = ip6(0xfd02, 1);

export function flowTableContract(open: () => Promise<FlowHarness>): void {
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

  function request(changes: Partial<FlowPacket & { kind: 'tcp' }> = {}): FlowPacket & { kind: 'tcp' } {
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

  function answer(to: FlowPacket & { kind: 'tcp' }, flags = SYN | ACK): FlowPacket & { kind: 'tcp' } {
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

  describe('a granted flow', () => {
    test('passes, and its answer passes', async () => {
      await granted();
      expect(await on.judge(request())).toBe('PASS');
      expect(await on.judge(answer(request()))).toBe('PASS');
      expect(await on.judge(request({ flags: ACK }))).toBe('PASS');
    });

    test('does not let an answer pass that nobody asked for', async () => {
      await granted();
      expect(await on.judge(answer(request()))).toBe('NO_FLOW');
    });

    test.each([
      ['another port', { destinationPort: 444 }],
      ['another host', { destination: ip4(10, 2, 0, 9) }],
      ['the way back', { direction: 'out' as const, source: OURS, destination: PEER }],
    ])('drops %s', async (_, changes) => {
      await granted();
      expect(await on.judge(request(changes))).toBe('NO_FLOW');
    });

    test('drops another protocol, and one that nothing can grant', async () => {
      await granted();
      expect(await on.judge({ ...request(), kind: 'udp' })).toBe('NO_FLOW');
      expect(await on.judge({ ...request(), kind: 'other', protocol: 47 })).toBe('NO_FLOW');
    });

    test('holds on its own interface only', async () => {
      await granted();
      expect(await on.judge(request({ ifindex: on.interfaces.otherTunnel }))).toBe('SOURCE_NOT_PINNED');
    });

    test('that we asked for passes outwards without a pinned source, and is answered', async () => {
      await granted([rule({ direction: 'out', destination: { address: PEER, length: 32 } })]);
      const out = request({ direction: 'out', source: OURS, destination: PEER });
      expect(await on.judge(out)).toBe('PASS');
      expect(await on.judge(answer(out))).toBe('PASS');
    });

    test('over IPv6 passes and is answered', async () => {
      await granted([rule({ destination: { address: OURS6, length: 128 } })]);
      const packet = request({ source: PEER6, destination: OURS6 });
      expect(await on.judge(packet)).toBe('PASS');
      expect(await on.judge(answer(packet))).toBe('PASS');
      expect(await on.judge({ ...packet, destinationPort: 22 })).toBe('NO_FLOW');
    });

    test.each([
      [
        'a prefix and one port',
        { destination: { address: ip4(10, 2, 0, 0), length: 16 } },
        { destination: ip4(10, 2, 9, 9) },
      ],
      ['a host and any port', { port: 0 }, { destinationPort: 9 }],
      [
        'a prefix and any port',
        { destination: { address: ip4(10, 2, 0, 0), length: 15 }, port: 0 },
        { destination: ip4(10, 3, 1, 1) },
      ],
    ])('may be %s', async (_, ruled, sent) => {
      await granted([rule(ruled)]);
      expect(await on.judge(request(sent))).toBe('PASS');
      expect(await on.judge(request({ ...sent, destination: ip4(10, 9, 0, 1) }))).toBe('NO_FLOW');
    });

    test('of UDP and of ping passes both ways, a ping only when it asks', async () => {
      await granted([rule({ protocol: UDP, port: 53 }), rule({ protocol: ICMP, port: 0 })]);
      const query = { ...request({ destinationPort: 53 }), kind: 'udp' as const };
      expect(await on.judge(query)).toBe('PASS');
      const ping = {
        kind: 'echo-request' as const,
        ifindex: tunnel,
        direction: 'in' as const,
        source: PEER,
        destination: OURS,
        identifier: 9,
      };
      const pong = { ...ping, kind: 'echo-reply' as const, direction: 'out' as const, source: OURS, destination: PEER };
      expect(await on.judge(pong)).toBe('NO_FLOW');
      expect(await on.judge({ ...ping, kind: 'echo-reply' })).toBe('NO_FLOW');
      expect(await on.judge(ping)).toBe('PASS');
      expect(await on.judge(pong)).toBe('PASS');
      expect(await on.judge({ ...pong, identifier: 10 })).toBe('NO_FLOW');
    });

    test('takes ping over IPv6 by its own protocol number', async () => {
      await granted([rule({ protocol: ICMPV6, port: 0, destination: { address: OURS6, length: 128 } })]);
      const ping = {
        kind: 'echo-request' as const,
        ifindex: tunnel,
        direction: 'in' as const,
        source: PEER6,
        destination: OURS6,
        identifier: 9,
      };
      expect(await on.judge(ping)).toBe('PASS');
    });
  });

  describe('an attacker', () => {
    test('with a forged source is dropped', async () => {
      await granted();
      expect(await on.judge(request({ source: ip4(10, 9, 0, 2) }))).toBe('SOURCE_NOT_PINNED');
    });

    test('on another peer’s address gets nothing of this peer’s grants', async () => {
      await granted();
      await on.flows.pinSources(tunnel, 6, [{ address: ip4(10, 1, 7, 0), length: 24 }]);
      await on.flows.setPeerLevel(6, 5);
      expect(await on.judge(request({ source: ip4(10, 1, 7, 2) }))).toBe('NO_FLOW');
    });

    test('loses its address when it is unpinned', async () => {
      await granted();
      await on.flows.unpinSources(tunnel, [{ address: ip4(10, 1, 0, 0), length: 16 }]);
      expect(await on.judge(request())).toBe('SOURCE_NOT_PINNED');
    });

    test('cannot ride on IPv4’s flows with mapped addresses', async () => {
      await granted();
      const mapped = (address: Uint8Array): Uint8Array => Uint8Array.of(...new Uint8Array(10), 0xff, 0xff, ...address);
      expect(await on.judge(request({ source: mapped(PEER), destination: mapped(OURS) }))).toBe('MALFORMED');
    });

    test('cannot hide ports in fragments', async () => {
      await granted();
      const { ifindex, direction, source, destination } = request();
      expect(await on.judge({ kind: 'unreadable', ifindex, direction, source, destination })).toBe('MALFORMED');
    });

    test('cannot tear down by ICMP errors what is not live, nor what is not the addressee’s', async () => {
      await granted();
      const about = answer(request());
      const { ifindex } = about;
      const error = {
        kind: 'icmp-error' as const,
        ifindex,
        direction: 'in' as const,
        source: ip4(10, 1, 0, 1),
        destination: OURS,
        about,
      };
      expect(await on.judge(error)).toBe('NO_FLOW');
      await on.judge(request());
      expect(await on.judge({ ...error, destination: ip4(10, 2, 0, 9) })).toBe('NO_FLOW');
      expect(await on.judge(error)).toBe('PASS');
    });

    test('that opens too many flows is refused, and takes no other flow’s place', async () => {
      await granted();
      for (let n = 0; n < CONTRACT_SIZES.flowsPerSession; n += 1) {
        expect(await on.judge(request({ sourcePort: 1000 + n }))).toBe('PASS');
      }
      expect(await on.judge(request({ sourcePort: 5000 }))).toBe('STATE_FULL');
      for (let n = 0; n < CONTRACT_SIZES.flowsPerSession; n += 1) {
        expect(await on.judge(answer(request({ sourcePort: 1000 + n })))).toBe('PASS');
      }
    });
  });

  describe('flow state', () => {
    test('frees the places of idle flows', async () => {
      await granted();
      for (let n = 0; n < CONTRACT_SIZES.flowsPerSession; n += 1) await on.judge(request({ sourcePort: 1000 + n }));
      await on.flows.extend(3, 7, on.now() + 1000n * MINUTE);
      await on.flows.renewLease(on.now() + 1000n * MINUTE);
      await on.pass(31n * SECOND);
      expect(await on.judge(answer(request({ sourcePort: 1000 })))).toBe('NO_FLOW');
      expect(await on.judge(request({ sourcePort: 5000 }))).toBe('PASS');
    });

    test('keeps an answered connection longer than a question, and a closed one shortly', async () => {
      await granted();
      await on.flows.extend(3, 7, on.now() + 1000n * MINUTE);
      await on.flows.renewLease(on.now() + 1000n * MINUTE);
      await on.judge(request());
      await on.judge(answer(request()));
      await on.pass(40n * SECOND);
      expect(await on.judge(answer(request()))).toBe('PASS');
      await on.judge(request({ flags: FIN_ACK }));
      await on.judge(answer(request(), FIN_ACK));
      await on.pass(20n * SECOND);
      expect(await on.judge(answer(request()))).toBe('NO_FLOW');
    });
  });

  describe('posture', () => {
    test.each([
      [3, 5, 'PASS'],
      [2, 5, 'POSTURE'],
      [5, 2, 'POSTURE'],
      [4, 3, 'PASS'],
      [0, 5, 'POSTURE'],
      [6, 5, 'POSTURE'],
      [0xffff_ffff, 5, 'POSTURE'],
    ] as const)('with %i outside and %i inside judges floor 3: %s', async (external, own, verdict) => {
      await granted();
      await on.setExternal(external);
      await on.flows.setPosture(own);
      expect(await on.judge(request())).toBe(verdict);
    });

    test('stops established flows at once, both ways, and lets them go on after', async () => {
      await granted();
      await on.judge(request());
      await on.setExternal(2);
      expect(await on.judge(request({ flags: ACK }))).toBe('POSTURE');
      expect(await on.judge(answer(request()))).toBe('POSTURE');
      await on.setExternal(5);
      expect(await on.judge(answer(request()))).toBe('PASS');
    });

    test('of the peer governs its flows and nobody else’s', async () => {
      await granted();
      const { otherTunnel } = on.interfaces;
      await on.flows.pinSources(otherTunnel, 6, [{ address: ip4(10, 1, 0, 0), length: 16 }]);
      await on.flows.setPeerLevel(6, 5);
      const other = session({ sessionSlot: 4, peerSlot: 6 });
      await on.flows.install(other, [rule({ ifindex: otherTunnel })]);
      await on.flows.activate(other);
      await on.flows.setPeerLevel(5, 2);
      expect(await on.judge(request())).toBe('POSTURE');
      expect(await on.judge(request({ ifindex: otherTunnel }))).toBe('PASS');
    });

    test('of a peer that was never set lets nothing pass', async () => {
      await granted([rule({ floor: 1 })], { peerSlot: 5 });
      const stranger = session({ sessionSlot: 4, peerSlot: 9 });
      await on.flows.pinSources(tunnel, 9, [{ address: ip4(10, 1, 9, 0), length: 24 }]);
      await on.flows.install(stranger, [rule({ floor: 1 })]);
      await on.flows.activate(stranger);
      expect(await on.judge(request({ source: ip4(10, 1, 9, 9) }))).toBe('POSTURE');
    });

    test('is read back raw, and a change of slot 0 is told', async () => {
      const told: number[] = [];
      const heard = new Promise<void>((resolve) => {
        on.flows.onExternalPosture((raw) => {
          told.push(raw);
          resolve();
        });
      });
      await on.flows.setPosture(4);
      await on.setExternal(9);
      await heard;
      expect(told).toEqual([9]);
      expect(await on.flows.posture()).toEqual({ external: 9, own: 4 });
    });
  });

  describe('a session', () => {
    test('passes nothing before it is active', async () => {
      await on.flows.pinSources(tunnel, 5, [{ address: ip4(10, 1, 0, 0), length: 16 }]);
      await on.flows.setPeerLevel(5, 5);
      await on.flows.install(session(), [rule()]);
      expect(await on.judge(request())).toBe('SESSION_INACTIVE');
    });

    test('passes nothing after it is deactivated, established or not', async () => {
      await granted();
      await on.judge(request());
      await on.flows.deactivate(3);
      await on.flows.deactivate(3);
      expect(await on.judge(request())).toBe('SESSION_INACTIVE');
      expect(await on.judge(answer(request()))).toBe('SESSION_INACTIVE');
    });

    test('passes nothing past its deadline, and may be extended', async () => {
      await granted();
      await on.judge(request());
      await on.flows.extend(3, 7, on.now() - SECOND);
      expect(await on.judge(answer(request()))).toBe('SESSION_EXPIRED');
      await on.flows.extend(3, 7, on.now() + MINUTE);
      expect(await on.judge(answer(request()))).toBe('PASS');
    });

    test('passes nothing past the node’s lease', async () => {
      await granted();
      await on.judge(request());
      await on.flows.renewLease(on.now() - SECOND);
      expect(await on.judge(request())).toBe('LEASE_EXPIRED');
      expect(await on.judge(answer(request()))).toBe('LEASE_EXPIRED');
    });

    test('does not inherit the flows of the slot’s former generation', async () => {
      await granted();
      await on.judge(request());
      await on.flows.remove(3, [rule()]);
      await granted([rule({ port: 444 })], { generation: 8 });
      expect(await on.judge(answer(request()))).toBe('NO_FLOW');
      await expect(on.flows.extend(3, 7, on.now() + MINUTE)).rejects.toThrow('DATAPLANE_FAILED');
      await expect(on.flows.activate(session({ generation: 7 }))).rejects.toThrow('DATAPLANE_FAILED');
    });

    test('removed leaves no policy and no live flow, twice', async () => {
      await granted([rule(), rule({ destination: { address: ip4(10, 2, 0, 0), length: 16 } })]);
      await on.judge(request());
      expect(await on.entries()).toMatchObject({ policies: 2, live: 1 });
      await on.flows.remove(3, [rule()]);
      await on.flows.remove(3, [rule()]);
      expect(await on.entries()).toMatchObject({ policies: 0, live: 0 });
      expect(await on.judge(answer(request()))).toBe('NO_FLOW');
    });

    test('that takes another’s place takes its flows over, and gives them back when it goes', async () => {
      await granted();
      await on.judge(request());
      const next = session({ sessionSlot: 4, generation: 1 });
      await on.flows.install(next, [rule()]);
      expect(await on.judge(request({ sourcePort: 2 }))).toBe('PASS');
      await on.flows.activate(next);
      await on.flows.remove(3, [rule()]);
      expect(await on.judge(request())).toBe('PASS');
      expect(await on.judge(answer(request()))).toBe('PASS');
      await granted();
      await on.flows.remove(4, [rule()]);
      expect(await on.judge(request())).toBe('PASS');
    });

    test('with too many rules is refused whole: DATAPLANE_FULL, and others stay', async () => {
      await granted();
      const before = await on.entries();
      const many = Array.from({ length: CONTRACT_SIZES.rules + 1 }, (_, n) => rule({ port: 1000 + n }));
      const greedy = session({ sessionSlot: 4 });
      await expect(on.flows.install(greedy, many)).rejects.toThrow('DATAPLANE_FULL');
      expect(await on.entries()).toEqual(before);
      expect(await on.judge(request())).toBe('PASS');
      await expect(on.flows.activate(greedy)).rejects.toThrow('DATAPLANE_FAILED');
    });

    test.each([
      ['host bits', { destination: { address: OURS, length: 16 } }],
      [
        'a prefix of mapped addresses',
        { destination: { address: Uint8Array.of(...new Uint8Array(10), 255, 255, 0, 0, 0, 0), length: 96 } },
      ],
      ['floor 0', { floor: 0 }],
      ['a port beyond 65535', { port: 65_536 }],
      ['a protocol that cannot be judged', { protocol: 47 }],
    ])('with %s is refused', async (_, changes) => {
      await expect(on.flows.install(session(), [rule(changes)])).rejects.toThrow('DATAPLANE_FAILED');
      expect(await on.entries()).toMatchObject({ policies: 0 });
    });

    test('is counted', async () => {
      await granted();
      await on.judge(request());
      await on.judge(answer(request()));
      await on.flows.setPosture(2);
      await on.judge(request());
      expect(await on.flows.counters(3)).toMatchObject({ packets: 2n, denied: 1n });
    });
  });

  test('a denial says what was dropped and why', async () => {
    const heard = on.denialTo(7);
    await on.judge(request({ destinationPort: 7 }));
    expect(await heard).toMatchObject({
      cause: 'SOURCE_NOT_PINNED',
      ifindex: tunnel,
      direction: 'in',
      protocol: TCP,
      source: Uint8Array.from(PEER),
      destination: Uint8Array.from(OURS),
      sourcePort: 40_000,
      destinationPort: 7,
    });
  });

  describe('an outer interface', () => {
    const MONITOR = ip4(192, 0, 2, 7);
    const SELF = ip4(198, 51, 100, 1);
    const SNMP: StaticFlow = { direction: 'in', remote: { address: MONITOR, length: 32 }, protocol: UDP, port: 161 };
    const TRAP: StaticFlow = {
      direction: 'out',
      remote: { address: ip6(0x2001, 0), length: 16 },
      protocol: UDP,
      port: 162,
    };
    const [MONITOR6, SELF6] = [ip6(0x2001, 7), ip6(0x2002, 1)];
    const CONTROL = {
      protocol: TCP,
      localAddress: SELF,
      localPort: 7843,
      remoteAddress: ip4(203, 0, 113, 5),
      remotePort: 50_000,
    };

    beforeEach(async () => {
      await on.flows.attach({ ifindex: on.interfaces.outer, kind: 'outer', allowAtLockdown: [SNMP, TRAP] });
    });

    function poll(changes: Partial<FlowPacket & { kind: 'udp' }> = {}): FlowPacket & { kind: 'udp' } {
      const ports = { sourcePort: 999, destinationPort: 161 };
      return {
        kind: 'udp',
        ifindex: on.interfaces.outer,
        direction: 'in',
        source: MONITOR,
        destination: SELF,
        ...ports,
        ...changes,
      };
    }

    function back(to: FlowPacket & { kind: 'udp' }): FlowPacket & { kind: 'udp' } {
      const direction = to.direction === 'in' ? 'out' : 'in';
      return {
        ...to,
        direction,
        source: to.destination,
        destination: to.source,
        sourcePort: to.destinationPort,
        destinationPort: to.sourcePort,
      };
    }

    function control(direction: 'in' | 'out'): FlowPacket {
      const sent = { source: SELF, destination: CONTROL.remoteAddress, sourcePort: 7843, destinationPort: 50_000 };
      const received = { source: CONTROL.remoteAddress, destination: SELF, sourcePort: 50_000, destinationPort: 7843 };
      return {
        kind: 'tcp',
        ifindex: on.interfaces.outer,
        direction,
        flags: ACK,
        ...(direction === 'out' ? sent : received),
      };
    }

    test.each([5, 4, 3, 2] as const)('passes everything at %i', async (level) => {
      await on.flows.setPosture(level);
      expect(await on.judge(poll({ source: ip4(1, 2, 3, 4), destinationPort: 22 }))).toBe('PASS');
    });

    test('isolates at level 1, both ways, IPv6 as well', async () => {
      await isolate();
      expect(await on.judge(poll({ destinationPort: 22 }))).toBe('ISOLATED');
      expect(await on.judge(poll({ direction: 'out', source: SELF, destination: MONITOR }))).toBe('ISOLATED');
      expect(await on.judge(poll({ source: MONITOR6, destination: SELF6, destinationPort: 22 }))).toBe('ISOLATED');
      expect(await on.judge({ ...poll(), kind: 'unreadable' })).toBe('ISOLATED');
    });

    test('isolates when the shell’s governance writes nonsense', async () => {
      await on.setExternal(77);
      expect(await on.judge(poll({ destinationPort: 22 }))).toBe('ISOLATED');
    });

    test('passes monitoring and its answers, and nothing before it was asked', async () => {
      await isolate();
      expect(await on.judge(back(poll()))).toBe('ISOLATED');
      expect(await on.judge(poll())).toBe('PASS');
      expect(await on.judge(back(poll()))).toBe('PASS');
      expect(await on.judge(poll({ source: ip4(192, 0, 2, 8) }))).toBe('ISOLATED');
    });

    test('passes what we tell a monitor, and no one who borrows the monitor’s port', async () => {
      await isolate();
      const trap = poll({ direction: 'out', source: SELF6, destination: MONITOR6, destinationPort: 162 });
      const borrowed = back({ ...trap, sourcePort: 22 });
      expect(await on.judge(trap)).toBe('PASS');
      expect(await on.judge(back(trap))).toBe('PASS');
      expect(await on.judge(borrowed)).toBe('ISOLATED');
    });

    test('resolves addresses at level 1', async () => {
      await isolate();
      const { outer } = on.interfaces;
      expect(await on.judge({ kind: 'neighbour', ifindex: outer, direction: 'in' })).toBe('PASS');
      expect(await on.judge({ kind: 'neighbour', ifindex: outer, direction: 'out' })).toBe('PASS');
    });

    test('lets the last word out for 500 ms, and not a moment longer', async () => {
      await on.flows.allowControl(CONTROL);
      await isolate();
      expect(await on.judge(control('out'))).toBe('PASS');
      expect(await on.judge(control('in'))).toBe('PASS');
      await on.pass(400_000_000n);
      expect(await on.judge(control('out'))).toBe('PASS');
      await on.pass(200_000_000n);
      expect(await on.judge(control('out'))).toBe('ISOLATED');
      expect(await on.judge(control('in'))).toBe('ISOLATED');
    });

    test('has one window a lockdown: staying at 1 does not open it again, leaving does', async () => {
      await on.flows.allowControl(CONTROL);
      await isolate();
      await on.judge(control('out'));
      await on.pass(SECOND);
      await on.flows.setPosture(1);
      expect(await on.judge(control('out'))).toBe('ISOLATED');
      await on.flows.setPosture(5);
      await isolate();
      expect(await on.judge(control('out'))).toBe('PASS');
    });

    test('lets no control flow out that was revoked or is not exact', async () => {
      await on.flows.allowControl(CONTROL);
      await on.flows.allowControl({ ...CONTROL, localPort: 7844 });
      await on.flows.revokeControl(CONTROL);
      await on.flows.revokeControl(CONTROL);
      await isolate();
      expect(await on.judge(control('out'))).toBe('ISOLATED');
    });

    async function isolate(level: PostureLevel = 1): Promise<void> {
      await on.flows.setPosture(level);
    }
  });

  test('reset leaves nothing, and the posture as it was', async () => {
    await granted();
    await on.judge(request());
    await on.setExternal(4);
    await on.flows.setPosture(3);
    await on.flows.reset();
    expect(await on.entries()).toEqual({ policies: 0, live: 0, sources: 0 });
    expect(await on.flows.posture()).toEqual({ external: 4, own: 3 });
    await on.flows.attach({ ifindex: tunnel, kind: 'tunnel' });
    await on.flows.renewLease(on.now() + MINUTE);
    expect(await on.judge(answer(request()))).toBe('NO_FLOW');
  });
}

function ip4(...bytes: readonly [number, number, number, number]): Uint8Array {
  return Uint8Array.from(bytes);
}

/** FIRST::LAST */
function ip6(first: number, last: number): Uint8Array {
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
