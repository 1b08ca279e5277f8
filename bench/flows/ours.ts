import type { LinuxFlows } from '../../src/dataplane/linux/flows.ts';
import { kernelAddon } from '../../src/dataplane/linux/native.ts';
import { packPolicies } from '../../src/dataplane/linux/policies-packing.ts';
import type { FlowRule, FlowSession } from '../../src/dataplane/ports.ts';
import type { Contender } from '../harness.ts';
import { governedFlows } from '../host/flows.ts';
import { governedNamespace } from '../host/governed-namespace.ts';
import { ENTRIES, SESSIONS, TARGETS, target } from './workload.ts';

const LIFETIME_NS = 3_600_000_000_000n;
const REPEAT = 200_000;
/** TC_ACT_UNSPEC as the kernel gives it back: the packet passes. */
const PASSES = 0xffffffff;

/** Entries a second through the driver, as the enforcer calls it: one install and one activate a session. */
export const installAndActivate: Contender = {
  name: 'ours',
  async start() {
    await using stack = new AsyncDisposableStack();
    const { flows, ifindex } = await governed(stack, 'flows');
    const sessions = Array.from({ length: SESSIONS }, (_, slot) => session(slot));
    const rules = sessions.map(({ sessionSlot }) =>
      Array.from({ length: TARGETS }, (_, index) => rule(ifindex, target(sessionSlot, index))),
    );
    const owned = stack.move();
    let generation = 0;
    return {
      async sample() {
        generation += 1;
        const begun = performance.now();
        for (const [slot, one] of sessions.entries()) {
          const now = { ...one, generation };
          await flows.install(now, rules[slot] ?? []);
          await flows.activate(now);
        }
        const seconds = (performance.now() - begun) / 1000;
        for (const [slot, { sessionSlot }] of sessions.entries()) await flows.remove(sessionSlot, rules[slot] ?? []);
        return ENTRIES / seconds;
      },
      [Symbol.asyncDispose]: () => owned.disposeAsync(),
    };
  },
};

/** A peer, and what bounds any driver that writes the map by bpf(2): the same entries, packed beforehand, in batches. */
export const kernelBatch: Contender = {
  name: 'kernel-batch',
  async start() {
    await using stack = new AsyncDisposableStack();
    const { flows, ifindex } = await governed(stack, 'batch');
    const batches = Array.from({ length: SESSIONS }, (_, slot) => {
      const rules = Array.from({ length: TARGETS }, (_, index) => rule(ifindex, target(slot, index)));
      const { hosts } = packPolicies(session(slot), rules);
      return { hosts, ...split(hosts) };
    });
    const owned = stack.move();
    return {
      async sample() {
        const begun = performance.now();
        for (const { keys, values } of batches) {
          const { error } = flows.plane.putBatch('flow_policy', keys, values);
          if (error !== undefined) throw new Error(error);
        }
        const seconds = (performance.now() - begun) / 1000;
        for (const { hosts } of batches) flows.plane.uninstallPolicies(hosts);
        return ENTRIES / seconds;
      },
      [Symbol.asyncDispose]: () => owned.disposeAsync(),
    };
  },
};

/**
 * Nanoseconds that the kernel takes to judge a packet of an established flow, over a program that does nothing, both by
 * BPF_PROG_TEST_RUN.
 */
export function perPacket(targetOf: typeof target, packetTo: typeof tcpAck4): Contender {
  return {
    name: 'ours',
    async start() {
      await using stack = new AsyncDisposableStack();
      const { flows, ifindex } = await governed(stack, 'packet');
      await flows.setPosture(5);
      await flows.setPeerLevel(0, 5);
      await flows.renewLease(kernelAddon().bootTimeNs() + LIFETIME_NS);
      for (let slot = 0; slot < SESSIONS; slot += 1) {
        const rules = Array.from({ length: TARGETS }, (_, index) => rule(ifindex, targetOf(slot, index)));
        await flows.install(session(slot), rules);
        await flows.activate(session(slot));
      }
      const packet = packetTo(targetOf(SESSIONS >> 1, TARGETS >> 1));
      const cost = (program: string): number => {
        const { verdict, nanoseconds } = flows.plane.testRun(program, ifindex, packet, REPEAT);
        if (verdict !== PASSES) throw new Error(`the packet was judged ${verdict}: nothing was measured`);
        return nanoseconds;
      };
      const owned = stack.move();
      return {
        sample: async () => cost('tunnel_ether_out') - cost('empty'),
        [Symbol.asyncDispose]: () => owned.disposeAsync(),
      };
    },
  };
}

async function governed(
  stack: AsyncDisposableStack,
  label: string,
): Promise<{ readonly flows: LinuxFlows; readonly ifindex: number }> {
  const { namespace, ifindex } = await governedNamespace(`bench-${label}`);
  stack.use(namespace);
  return { flows: await governedFlows(stack, namespace, ifindex, { rules: ENTRIES }), ifindex };
}

function session(sessionSlot: number): FlowSession {
  return { sessionSlot, generation: 1, peerSlot: 0, expiresAtBootNs: kernelAddon().bootTimeNs() + LIFETIME_NS };
}

function rule(ifindex: number, { address, port }: ReturnType<typeof target>): FlowRule {
  const destination = { address, length: address.length * 8 };
  return { ifindex, direction: 'out', destination, protocol: 6, port, floor: 3 };
}

/** Of `struct staged`: 28 bytes of key, 12 of value. */
function split(staged: Uint8Array): { readonly keys: Uint8Array; readonly values: Uint8Array } {
  const entries = Array.from({ length: staged.length / 40 }, (_, n) => staged.subarray(n * 40, (n + 1) * 40));
  return {
    keys: Buffer.concat(entries.map((entry) => entry.subarray(0, 28))),
    values: Buffer.concat(entries.map((entry) => entry.subarray(28))),
  };
}

/** Ethernet, IPv4, TCP ACK from 10.255.0.1:40000. */
export function tcpAck4(to: ReturnType<typeof target>): Uint8Array {
  const ip = Buffer.alloc(20);
  ip.writeUInt8(0x45, 0);
  ip.writeUInt16BE(40, 2);
  ip.writeUInt8(64, 8);
  ip.writeUInt8(6, 9);
  ip.set([10, 255, 0, 1], 12);
  ip.set(to.address, 16);
  return tcpAck(0x0800, ip, to.port);
}

/** The same over IPv6, from fdff::1. */
export function tcpAck6(to: ReturnType<typeof target>): Uint8Array {
  const ip = Buffer.alloc(40);
  ip.writeUInt8(0x60, 0);
  ip.writeUInt16BE(20, 4);
  ip.writeUInt8(6, 6);
  ip.writeUInt8(64, 7);
  ip.set([0xfd, 0xff], 8);
  ip.writeUInt8(1, 23);
  ip.set(to.address, 24);
  return tcpAck(0x86dd, ip, to.port);
}

function tcpAck(etherType: number, ip: Uint8Array, port: number): Uint8Array {
  const ethernet = Buffer.alloc(14);
  ethernet.writeUInt16BE(etherType, 12);
  const tcp = Buffer.alloc(20);
  tcp.writeUInt16BE(40_000, 0);
  tcp.writeUInt16BE(port, 2);
  tcp.writeUInt8(0x50, 12);
  tcp.writeUInt8(0x10, 13);
  tcp.writeUInt16BE(0xffff, 14);
  return Buffer.concat([ethernet, ip, tcp]);
}
