/** How the programs read packets: what a parser in the kernel can be fooled with. */
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import type { Verdict } from '../../src/dataplane/flow-packet.ts';
import type { FlowHarness } from '../../src/dataplane/flows.contract.ts';
import { describeWith } from '../support/requirements.ts';
import { createFlowWorld, type FlowWorld, verdictOf } from './flow-world.ts';
import { ipPacket, tcpSegment, udpDatagram } from './packet-bytes.ts';

const [TCP, UDP, ICMP, ICMPV6] = [6, 17, 1, 58];
const PEER = Uint8Array.of(10, 1, 0, 2);
const OURS = Uint8Array.of(10, 2, 0, 1);
const PEER6 = Uint8Array.of(0xfd, 1, ...new Uint8Array(13), 2);
const OURS6 = Uint8Array.of(0xfd, 2, ...new Uint8Array(13), 1);
const MTU = 1420;
const MINUTE = 60_000_000_000n;
const SYN = 2;

describeWith(
  ['root', 'namespaces', 'bpf', 'bpf objects', 'addon kernel', 'tun'],
  'packets as the kernel reads them',
  () => {
    let world: FlowWorld;
    let on: FlowHarness;

    beforeAll(async () => {
      world = await createFlowWorld();
    });
    afterAll(() => world[Symbol.asyncDispose]());

    beforeEach(async () => {
      on = await world.fresh();
      const { flows, interfaces } = on;
      const ifindex = interfaces.tunnel;
      await flows.attach({ ifindex, kind: 'tunnel' });
      await flows.attach({ ifindex: interfaces.outer, kind: 'tunnel' });
      await flows.renewLease(on.now() + MINUTE);
      await flows.setPeerLevel(1, 5);
      await flows.pinSources(ifindex, 1, [host(PEER), host(PEER6)]);
      const session = { sessionSlot: 1, generation: 1, peerSlot: 1, expiresAtBootNs: on.now() + MINUTE };
      await flows.install(
        session,
        [OURS, OURS6].flatMap((address) =>
          [TCP, UDP].map((protocol) => ({
            ifindex,
            direction: 'in' as const,
            destination: host(address),
            protocol,
            port: 443,
            floor: 3,
          })),
        ),
      );
      await flows.activate(session);
    });
    afterEach(() => on[Symbol.asyncDispose]());

    const judge = (packet: Uint8Array, direction = 'in'): Verdict =>
      verdictOf(world.flows, `tunnel_${direction}`, on.interfaces.tunnel, packet);
    const run = (packet: Uint8Array, direction = 'in'): Buffer =>
      world.flows.plane.testRun(`tunnel_${direction}`, on.interfaces.tunnel, packet, 1).packet;
    const query = udpDatagram(4000, 443);
    const extension = (next: number, length = 0): Buffer =>
      Buffer.from([next, length, ...new Uint8Array(6 + 8 * length)]);

    test('a live flow of a former generation of its slot is dropped, though nobody cleared it away', () => {
      expect(judge(ipPacket(PEER, OURS, UDP, query))).toBe('PASS');
      world.flows.plane.storeWord('session_state', 1, 0, 2);
      expect(judge(ipPacket(OURS, PEER, UDP, udpDatagram(443, 4000)), 'out')).toBe('SESSION_INACTIVE');
      expect(judge(ipPacket(PEER, OURS, UDP, query))).toBe('SESSION_INACTIVE');
    });

    test('IPv4 options are skipped to the ports behind them', () => {
      const ipOptions = Uint8Array.of(148, 4, 0, 0);
      expect(judge(ipPacket(PEER, OURS, UDP, query, { ipOptions }))).toBe('PASS');
      expect(judge(ipPacket(PEER, OURS, UDP, udpDatagram(4000, 444), { ipOptions }))).toBe('NO_FLOW');
    });

    test.each([131, 137])('source route by option %i is refused: it would lead past the rules', (option) => {
      const ipOptions = Uint8Array.of(1, option, 7, 4, 10, 2, 0, 9);
      expect(judge(ipPacket(PEER, OURS, UDP, query, { ipOptions }))).toBe('MALFORMED');
    });

    test.each([
      ['a first fragment', 0x2000],
      ['a middle fragment', 0x2010],
      ['a last fragment', 0x0010],
    ])('%s is refused: its ports may come later, or twice', (_, fragment) => {
      expect(judge(ipPacket(PEER, OURS, UDP, query, { fragment }))).toBe('MALFORMED');
    });

    test('IPv6 extension headers are walked, up to a bound', () => {
      const walked = (count: number): Buffer => {
        const headers = Array.from({ length: count }, (_, n) => extension(n === count - 1 ? UDP : 60, n % 2));
        return ipPacket(PEER6, OURS6, 60, Buffer.concat([...headers, query]));
      };
      expect(judge(walked(1))).toBe('PASS');
      expect(judge(walked(3))).toBe('PASS');
      expect(judge(walked(5))).toBe('MALFORMED');
    });

    test.each([
      ['routing', 43],
      ['fragment', 44],
    ])('an IPv6 %s header is refused', (_, header) => {
      expect(judge(ipPacket(PEER6, OURS6, header, Buffer.concat([extension(UDP), query])))).toBe('MALFORMED');
    });

    test('packets cut short are refused', () => {
      const whole = ipPacket(PEER, OURS, UDP, query);
      for (const length of [20, 24, 27]) expect(judge(whole.subarray(0, length))).toBe('MALFORMED');
      expect(judge(ipPacket(PEER6, OURS6, UDP, query).subarray(0, 39))).toBe('MALFORMED');
      expect(judge(ipPacket(PEER6, OURS6, TCP, new Uint8Array(15)))).toBe('MALFORMED');
    });

    test('headers that lie about themselves are refused', () => {
      const shortHeader = ipPacket(PEER, OURS, UDP, query);
      shortHeader[0] = 0x44;
      expect(judge(shortHeader)).toBe('MALFORMED');
      const version5 = ipPacket(PEER, OURS, UDP, query);
      version5[0] = 0x55;
      expect(judge(version5)).toBe('MALFORMED');
      expect(judge(ipPacket(PEER6, OURS6, ICMP, Uint8Array.of(8, 0, 0, 0, 0, 1, 0, 1)))).toBe('MALFORMED');
      expect(judge(ipPacket(PEER, OURS, ICMPV6, Uint8Array.of(128, 0, 0, 0, 0, 1, 0, 1)))).toBe('MALFORMED');
    });

    test('an error whose inner packet is a later fragment, or cut, is refused', () => {
      judge(ipPacket(PEER, OURS, UDP, query));
      const inner = ipPacket(OURS, PEER, UDP, udpDatagram(443, 4000));
      const error = (about: Uint8Array): Buffer =>
        ipPacket(PEER, OURS, ICMP, Buffer.concat([Buffer.from([3, 4, 0, 0, 0, 0, 5, 0]), about]));
      expect(judge(error(inner))).toBe('PASS');
      expect(judge(error(ipPacket(OURS, PEER, UDP, udpDatagram(443, 4000), { fragment: 0x0010 })))).toBe('NO_FLOW');
      expect(judge(error(inner.subarray(0, 24)))).toBe('NO_FLOW');
    });

    test('packet-too-big of IPv6 passes for a live flow', () => {
      judge(ipPacket(PEER6, OURS6, UDP, query));
      const inner = ipPacket(OURS6, PEER6, UDP, udpDatagram(443, 4000));
      expect(judge(ipPacket(PEER6, OURS6, ICMPV6, Buffer.concat([Buffer.from([2, 0, 0, 0, 0, 0, 5, 0]), inner])))).toBe(
        'PASS',
      );
    });

    test('a neighbour solicitation passes on Ethernet only, and only from the link itself', () => {
      const solicitation = (hopLimit: number): Buffer =>
        ipPacket(PEER6, OURS6, ICMPV6, Buffer.from([135, 0, ...new Uint8Array(22)]), { hopLimit });
      const framed = (packet: Buffer): Buffer =>
        Buffer.concat([Buffer.from('02000000000102000000000286dd', 'hex'), packet]);
      const onEthernet = (packet: Buffer): Verdict =>
        verdictOf(world.flows, 'tunnel_ether_in', on.interfaces.outer, framed(packet));
      expect(onEthernet(solicitation(255))).toBe('PASS');
      expect(onEthernet(solicitation(64))).toBe('MALFORMED');
      expect(judge(solicitation(255))).toBe('NO_FLOW');
    });

    test('a frame whose type and content differ is refused', () => {
      const longQuery = ipPacket(PEER, OURS, UDP, Buffer.concat([query, Buffer.alloc(40)]));
      const framed = Buffer.concat([Buffer.from('02000000000102000000000286dd', 'hex'), longQuery]);
      expect(verdictOf(world.flows, 'tunnel_ether_in', on.interfaces.outer, framed)).toBe('MALFORMED');
    });

    describe('MSS', () => {
      const mss = (value: number): Buffer => Buffer.from([2, 4, value >> 8, value & 255]);

      test.each([
        ['IPv4', PEER, OURS, MTU - 40],
        ['IPv6', PEER6, OURS6, MTU - 60],
      ])('of a SYN is lowered to what the tunnel carries, with its checksum: %s', (_, source, destination, most) => {
        const segment = tcpSegment(4000, 443, SYN, mss(1460));
        const checksum = tcpChecksum(segment);
        segment.writeUInt16BE(checksum, 16);
        const packet = run(ipPacket(source, destination, TCP, segment));
        const after = packet.subarray(packet.length - segment.length);
        expect(after.readUInt16BE(22)).toBe(most);
        const expected = Buffer.from(after);
        expected.writeUInt16BE(0, 16);
        expect(after.readUInt16BE(16)).toBe(tcpChecksum(expected));
      });

      test('is found behind padding, at an odd place', () => {
        const segment = tcpSegment(
          4000,
          443,
          SYN,
          Buffer.concat([Buffer.from([1]), mss(1460), Buffer.from([1, 1, 0])]),
        );
        segment.writeUInt16BE(tcpChecksum(segment), 16);
        const packet = run(ipPacket(PEER, OURS, TCP, segment));
        const after = Buffer.from(packet.subarray(packet.length - segment.length));
        expect(after.readUInt16BE(23)).toBe(MTU - 40);
        const checksum = after.readUInt16BE(16);
        after.writeUInt16BE(0, 16);
        expect(checksum).toBe(tcpChecksum(after));
      });

      test('that is small enough, or of another segment than SYN, stays', () => {
        const small = run(ipPacket(PEER, OURS, TCP, tcpSegment(4000, 443, SYN, mss(500))));
        expect(small.readUInt16BE(small.length - 2)).toBe(500);
        const ack = run(ipPacket(PEER, OURS, TCP, tcpSegment(4000, 443, 16, mss(1460))));
        expect(ack.readUInt16BE(ack.length - 2)).toBe(1460);
      });
    });
  },
);

function host(address: Uint8Array) {
  return { address, length: address.length * 8 };
}

/** Without the pseudo-header, which no change of an option touches. */
function tcpChecksum(segment: Buffer): number {
  let sum = 0;
  for (let at = 0; at < segment.length; at += 2) sum += segment.readUInt16BE(at);
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >> 16);
  return ~sum & 0xffff;
}
