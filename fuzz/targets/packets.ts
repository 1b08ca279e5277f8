/**
 * Packets through the eBPF programs (BPF_PROG_TEST_RUN) and through the table in memory: one verdict. The input is pieces, a
 * packet each behind one byte: bit 0 outwards, bit 1 with an Ethernet header. Flows that they open live for the rest of
 * the input.
 */

import type { Verdict } from '../../src/dataplane/flow-packet.ts';
import { CONTRACT_SIZES } from '../../src/dataplane/flows.contract.scene.ts';
import type { LinuxFlows } from '../../src/dataplane/linux/flows.ts';
import { createMemoryFlows } from '../../src/dataplane/memory/flows.ts';
import type { FlowRule, FlowTable } from '../../src/dataplane/ports.ts';
import { createFlowWorld, verdictOf } from '../../test/dataplane/flow-world.ts';
import { ipPacket, tcpSegment, udpDatagram } from '../../test/dataplane/packet-bytes.ts';
import { unmet } from '../../test/support/requirements.ts';
import { packets } from '../formats/packet.ts';
import { joined, pieces } from '../formats/sequence.ts';
import { holds, type OpenTarget, Unavailable } from '../target.ts';
import { readPacket } from './packet-reader.ts';

const [ICMP, TCP, UDP, ICMPV6] = [1, 6, 17, 58] as const;
const PEER = Uint8Array.of(10, 1, 0, 2);
const OURS = Uint8Array.of(10, 2, 0, 1);
const PEER6 = Uint8Array.of(0xfd, 1, ...new Uint8Array(13), 2);
const OURS6 = Uint8Array.of(0xfd, 2, ...new Uint8Array(13), 1);
const HOUR = 3_600_000_000_000n;
/** BPF_PROG_TEST_RUN takes a page at most, and of some shorter ones says EINVAL by what stands at the place of an EtherType. */
const LONGEST_BYTES = 3_000;
const LEAST_BYTES = 64;
const MOST_PACKETS = 24;

export const open: OpenTarget = async () => {
  const missing = unmet(['root', 'namespaces', 'bpf', 'bpf objects', 'addon kernel', 'tun']);
  if (missing !== undefined) throw new Unavailable(missing);
  const world = await createFlowWorld();
  const on = await world.fresh();
  const { tunnel, outer } = on.interfaces;
  await prepare(world.flows, [tunnel, outer], on.now());
  return {
    about: 'packets: the kernel programs and the table in memory give the same verdict',
    covers: ['src/dataplane/memory/flow-judge.ts'],
    maxBytes: 4_000,
    format: packets,
    dictionary: [
      PEER,
      OURS,
      PEER6,
      OURS6,
      Uint8Array.of(0x45, 0),
      Uint8Array.of(60, 0),
      Uint8Array.of(0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff),
    ],
    seeds: SEEDS,
    async run(input) {
      for (const map of ['flow_state', 'flow_places', 'flow_cursor']) world.flows.plane.clear(map);
      const memory = createMemoryFlows({ ...CONTRACT_SIZES, bootTimeNs: on.now });
      await prepare(memory, [tunnel, outer], on.now());
      const verdicts: string[] = [];
      for (const piece of pieces(input).slice(0, MOST_PACKETS)) {
        const packet = Buffer.from(piece.subarray(1));
        if (packet.length > LONGEST_BYTES) continue;
        const ethernet = ((piece[0] ?? 0) & 2) === 2;
        const direction = ((piece[0] ?? 0) & 1) === 1 ? 'out' : 'in';
        const ifindex = ethernet ? outer : tunnel;
        if (packet.length < 14) continue;
        const expected = readPacket(packet, { ifindex, direction }, ethernet);
        const here = verdictInKernel(world.flows, `tunnel_${ethernet ? 'ether_' : ''}${direction}`, ifindex, packet);
        if (here === undefined) continue;
        const there = memory.judge(expected);
        holds(here === there, `${expected.kind} ${direction}: ${here} in the kernel, ${there} in memory`);
        verdicts.push(`${expected.kind} ${here}`);
      }
      return verdicts.slice(-2).join(', ');
    },
    async dispose() {
      await on[Symbol.asyncDispose]();
      await world[Symbol.asyncDispose]();
    },
  };
};

function verdictInKernel(flows: LinuxFlows, program: string, ifindex: number, packet: Buffer): Verdict | undefined {
  try {
    return verdictOf(flows, program, ifindex, packet);
  } catch (error) {
    if (packet.length < LEAST_BYTES && error instanceof Error && error.message.includes('EINVAL')) return undefined;
    throw error;
  }
}

async function prepare(flows: FlowTable, interfaces: readonly number[], now: bigint): Promise<void> {
  await flows.renewLease(now + HOUR);
  await flows.setPeerLevel(1, 5);
  const session = { sessionSlot: 1, generation: 1, peerSlot: 1, expiresAtBootNs: now + HOUR };
  const high = { sessionSlot: 2, generation: 1, peerSlot: 1, expiresAtBootNs: now + HOUR };
  for (const ifindex of interfaces) {
    await flows.attach({ ifindex, kind: 'tunnel' });
    await flows.pinSources(ifindex, 1, [
      { address: Uint8Array.of(10, 1, 0, 0), length: 16 },
      { address: PEER6, length: 128 },
    ]);
  }
  await flows.install(session, interfaces.flatMap(rules));
  await flows.activate(session);
  await flows.install(
    high,
    interfaces.map((ifindex) => ({
      ifindex,
      direction: 'in',
      destination: { address: OURS, length: 32 },
      protocol: TCP,
      port: 22,
      floor: 5,
    })),
  );
}

function rules(ifindex: number): FlowRule[] {
  const host = (address: Uint8Array) => ({ address, length: address.length * 8 });
  const base = { ifindex, direction: 'in', floor: 3 } as const;
  return [
    { ...base, destination: host(OURS), protocol: TCP, port: 443 },
    { ...base, destination: host(OURS), protocol: UDP, port: 0 },
    { ...base, destination: host(OURS6), protocol: UDP, port: 53 },
    { ...base, destination: { address: Uint8Array.of(10, 2, 0, 0), length: 16 }, protocol: ICMP, port: 0 },
    { ...base, destination: host(OURS6), protocol: ICMPV6, port: 0 },
    {
      ...base,
      direction: 'out',
      destination: { address: Uint8Array.of(10, 1, 0, 0), length: 24 },
      protocol: TCP,
      port: 80,
    },
    { ...base, direction: 'out', destination: host(PEER6), protocol: TCP, port: 0 },
  ];
}

const inwards = (packet: Uint8Array): Uint8Array => Uint8Array.of(0, ...packet);
const outwards = (packet: Uint8Array): Uint8Array => Uint8Array.of(1, ...packet);
const framed = (type: number, packet: Uint8Array): Uint8Array =>
  Uint8Array.of(2, 2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, type >> 8, type & 0xff, ...packet);
const echo = (type: number): Uint8Array => Uint8Array.of(type, 0, 0, 0, 0, 7, 0, 1);
const error4 = (about: Uint8Array): Uint8Array => Uint8Array.of(3, 1, 0, 0, 0, 0, 0, 0, ...about);

const SEEDS: readonly Uint8Array[] = [
  [
    inwards(ipPacket(PEER, OURS, TCP, tcpSegment(4000, 443, 2))),
    outwards(ipPacket(OURS, PEER, TCP, tcpSegment(443, 4000, 18))),
    inwards(ipPacket(PEER, OURS, TCP, tcpSegment(4000, 443, 17))),
    inwards(ipPacket(PEER, OURS, TCP, tcpSegment(4000, 22, 2))),
  ],
  [
    inwards(ipPacket(PEER, OURS, UDP, udpDatagram(4000, 9))),
    inwards(ipPacket(PEER, OURS, ICMP, error4(ipPacket(OURS, PEER, UDP, udpDatagram(9, 4000))))),
    outwards(ipPacket(OURS, PEER, ICMP, error4(ipPacket(PEER, OURS, UDP, udpDatagram(4000, 9))))),
  ],
  [
    inwards(ipPacket(PEER, OURS, ICMP, echo(8))),
    outwards(ipPacket(OURS, PEER, ICMP, echo(0))),
    inwards(ipPacket(PEER6, OURS6, ICMPV6, echo(128))),
    outwards(ipPacket(OURS6, PEER6, ICMPV6, echo(129))),
  ],
  [
    inwards(ipPacket(PEER6, OURS6, 60, Uint8Array.of(UDP, 0, 0, 0, 0, 0, 0, 0, ...udpDatagram(5, 53)))),
    outwards(ipPacket(OURS6, PEER6, TCP, tcpSegment(5, 80, 2))),
    inwards(
      ipPacket(
        PEER6,
        OURS6,
        ICMPV6,
        Uint8Array.of(2, 0, 0, 0, 0, 0, 5, 0, ...ipPacket(OURS6, PEER6, TCP, tcpSegment(5, 80, 2))),
      ),
    ),
  ],
  [
    framed(0x0806, new Uint8Array(46)),
    framed(0x0800, ipPacket(PEER, OURS, TCP, tcpSegment(4000, 443, 2))),
    framed(0x86dd, ipPacket(PEER6, OURS6, ICMPV6, Uint8Array.of(135, 0, ...new Uint8Array(22)), { hopLimit: 255 })),
  ],
  [
    inwards(ipPacket(PEER, OURS, UDP, udpDatagram(1, 2), { ipOptions: Uint8Array.of(148, 4, 0, 0) })),
    inwards(ipPacket(PEER, OURS, UDP, udpDatagram(1, 2), { fragment: 0x2000 })),
    inwards(ipPacket(PEER, OURS, 47, new Uint8Array(24))),
  ],
].map(joined);
