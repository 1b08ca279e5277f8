/** What a translated packet is on the wire: addresses with their host part kept, every checksum right, nothing else changed. */
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from 'vitest';
import type { FlowHarness } from '../../src/dataplane/flows.contract.ts';
import { describeWith } from '../support/requirements.ts';
import { createFlowWorld, type FlowWorld } from './flow-world.ts';
import { ipPacket, tcpSegment, udpDatagram } from './packet-bytes.ts';

const [TCP, UDP, ICMP, ICMPV6] = [6, 17, 1, 58];
const MINUTE = 60_000_000_000n;
const [SYN, SYN_ACK] = [2, 18];
const prefix = (address: Uint8Array, length: number) => ({ address, length });
const ip6 = (first: number, last: number): Uint8Array => Uint8Array.of(0xfd, first, ...new Uint8Array(13), last);

/** The host 77 of a /25 that is another /25 in the tunnel: the bits of the fourth byte are of both kinds. */
const FAMILIES = [
  {
    name: 'IPv4',
    peer: Uint8Array.of(10, 1, 0, 2),
    external: Uint8Array.of(10, 2, 9, 128 + 77),
    internal: Uint8Array.of(192, 168, 255, 77),
    translation: {
      external: prefix(Uint8Array.of(10, 2, 9, 128), 25),
      internal: prefix(Uint8Array.of(192, 168, 255, 0), 25),
    },
    echo: { protocol: ICMP, request: 8, reply: 0, unreachable: 3 },
  },
  {
    name: 'IPv6',
    peer: ip6(1, 2),
    external: ip6(2, 77),
    internal: ip6(9, 77),
    translation: { external: prefix(ip6(2, 0), 64), internal: prefix(ip6(9, 0), 64) },
    echo: { protocol: ICMPV6, request: 128, reply: 129, unreachable: 1 },
  },
] as const;

describeWith(['root', 'namespaces', 'bpf', 'bpf objects', 'addon kernel', 'tun'], 'translated packets', () => {
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
    const translations = FAMILIES.map(({ translation }) => translation);
    await flows.attach({ ifindex, kind: 'tunnel', translations });
    await flows.renewLease(on.now() + MINUTE);
    await flows.setPeerLevel(1, 5);
    const hosts = FAMILIES.map(({ peer }) => prefix(peer, peer.length * 8));
    await flows.pinSources(ifindex, 1, hosts);
    const session = { sessionSlot: 1, generation: 1, peerSlot: 1, expiresAtBootNs: on.now() + MINUTE };
    const rules = FAMILIES.flatMap(({ external, peer, echo }) =>
      [TCP, UDP, echo.protocol].flatMap((protocol) => [
        { direction: 'in' as const, destination: prefix(external, external.length * 8), protocol },
        { direction: 'out' as const, destination: prefix(peer, peer.length * 8), protocol },
      ]),
    );
    await flows.install(
      session,
      rules.map((rule) => ({ ...rule, ifindex, port: 0, floor: 3 })),
    );
    await flows.activate(session);
  });
  afterEach(() => on[Symbol.asyncDispose]());

  const pass = (direction: 'in' | 'out', packet: Uint8Array): Buffer => {
    const run = world.flows.plane.testRun(`tunnel_${direction}`, on.interfaces.tunnel, packet, 1);
    expect(run.verdict).toBe(UNSPEC);
    return run.packet;
  };

  for (const { name, peer, external, internal, echo } of FAMILIES) {
    /** The packet as its sender would make it. */
    const sealed = (source: Uint8Array, destination: Uint8Array, protocol: number, payload: Uint8Array): Buffer =>
      seal(ipPacket(source, destination, protocol, payload));
    const payloads: readonly (readonly [string, number, Buffer, Buffer])[] = [
      ['TCP', TCP, tcpSegment(40_000, 443, SYN), tcpSegment(443, 40_000, SYN_ACK)],
      ['UDP', UDP, udpDatagram(4_000, 443), udpDatagram(443, 4_000)],
      ['echo', echo.protocol, icmp(echo.request), icmp(echo.reply)],
    ];

    test.each(payloads)(`what the peer asks, and what it is answered: ${name}, %s`, (_, protocol, asked, answered) => {
      const arrived = pass('in', sealed(peer, external, protocol, asked));
      expect(arrived).toEqual(sealed(peer, internal, protocol, asked));
      const left = pass('out', sealed(internal, peer, protocol, answered));
      expect(left).toEqual(sealed(external, peer, protocol, answered));
    });

    test.each(payloads)(`what we ask, and what we are answered: ${name}, %s`, (_, protocol, asked, answered) => {
      expect(pass('out', sealed(internal, peer, protocol, asked))).toEqual(sealed(external, peer, protocol, asked));
      expect(pass('in', sealed(peer, external, protocol, answered))).toEqual(
        sealed(peer, internal, protocol, answered),
      );
    });

    test(`a datagram without a checksum stays without: ${name}`, () => {
      const bare = (destination: Uint8Array) => seal(ipPacket(peer, destination, UDP, udpDatagram(4_000, 443)), false);
      expect(pass('in', bare(external))).toEqual(bare(internal));
    });

    test(`an error that leaves names the packet as it came; one that comes, as it left: ${name}`, () => {
      const asked = udpDatagram(4_000, 443);
      const error = (from: Uint8Array, to: Uint8Array, about: Uint8Array): Buffer =>
        sealed(from, to, echo.protocol, Buffer.concat([icmp(echo.unreachable).subarray(0, 8), about]));
      const about = (source: Uint8Array, destination: Uint8Array): Buffer =>
        seal(ipPacket(source, destination, UDP, asked), false);

      pass('in', about(peer, external));
      expect(pass('out', error(internal, peer, about(peer, internal)))).toEqual(
        error(external, peer, about(peer, external)),
      );
      pass('out', about(internal, peer));
      expect(pass('in', error(peer, external, about(external, peer)))).toEqual(
        error(peer, internal, about(internal, peer)),
      );
    });
  }
});

const UNSPEC = 0xffff_ffff;

function icmp(type: number): Buffer {
  return Buffer.of(type, 0, 0, 0, 0x12, 0x34, 0, 1, 1, 2, 3, 4, 5, 6, 7, 8);
}

/** Its checksums computed anew, as RFC 1071 says. @param transport false leaves the transport's as it is */
function seal(packet: Buffer, transport = true): Buffer {
  const sealed = Buffer.from(packet);
  const isIpv4 = (sealed[0] ?? 0) >> 4 === 4;
  const header = isIpv4 ? 20 : 40;
  if (isIpv4) sealed.writeUInt16BE(checksum(sealed.subarray(0, header)), 10);
  const protocol = sealed[isIpv4 ? 9 : 6] ?? 0;
  const body = sealed.subarray(header);
  const pseudo = Buffer.concat([
    sealed.subarray(isIpv4 ? 12 : 8, header),
    Buffer.of(0, protocol, body.length >> 8, body.length & 255),
  ]);
  const at = new Map([
    [TCP, 16],
    [UDP, 6],
    [ICMP, 2],
    [ICMPV6, 2],
  ]).get(protocol);
  if (at === undefined || !transport) return sealed;
  body.writeUInt16BE(0, at);
  body.writeUInt16BE(checksum(protocol === ICMP ? body : Buffer.concat([pseudo, body])), at);
  return sealed;
}

function checksum(bytes: Uint8Array): number {
  let sum = 0;
  for (let at = 0; at < bytes.length; at += 2) sum += ((bytes[at] ?? 0) << 8) | (bytes[at + 1] ?? 0);
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >> 16);
  return ~sum & 0xffff;
}
