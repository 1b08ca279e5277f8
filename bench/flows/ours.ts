import type { LinuxFlows } from '../../src/dataplane/linux/flows.ts';
import { kernelAddon } from '../../src/dataplane/linux/native.ts';
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
      Array.from({ length: TARGETS }, (_, index) => rule(ifindex, sessionSlot, index)),
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

/** Nanoseconds that the kernel takes to judge a packet of a granted flow among all the others: BPF_PROG_TEST_RUN. */
export const perPacket: Contender = {
  name: 'ours',
  async start() {
    await using stack = new AsyncDisposableStack();
    const { flows, ifindex } = await governed(stack, 'packet');
    await flows.setPosture(5);
    await flows.setPeerLevel(0, 5);
    await flows.renewLease(kernelAddon().bootTimeNs() + LIFETIME_NS);
    for (let slot = 0; slot < SESSIONS; slot += 1) {
      const rules = Array.from({ length: TARGETS }, (_, index) => rule(ifindex, slot, index));
      await flows.install(session(slot), rules);
      await flows.activate(session(slot));
    }
    const packet = tcpSyn(target(SESSIONS >> 1, TARGETS >> 1));
    const owned = stack.move();
    return {
      async sample() {
        const { verdict, nanoseconds } = flows.plane.testRun('tunnel_ether_out', ifindex, packet, REPEAT);
        if (verdict !== PASSES) throw new Error(`the packet was judged ${verdict}: nothing was measured`);
        return nanoseconds;
      },
      [Symbol.asyncDispose]: () => owned.disposeAsync(),
    };
  },
};

async function governed(
  stack: AsyncDisposableStack,
  label: string,
): Promise<{ readonly flows: LinuxFlows; readonly ifindex: number }> {
  const { namespace, ifindex } = await governedNamespace(`bench-${label}`);
  stack.use(namespace);
  return { flows: await governedFlows(stack, namespace, ifindex), ifindex };
}

function session(sessionSlot: number): FlowSession {
  return { sessionSlot, generation: 1, peerSlot: 0, expiresAtBootNs: kernelAddon().bootTimeNs() + LIFETIME_NS };
}

function rule(ifindex: number, sessionSlot: number, index: number): FlowRule {
  const { address, port } = target(sessionSlot, index);
  return { ifindex, direction: 'out', destination: { address, length: 32 }, protocol: 6, port, floor: 3 };
}

/** Ethernet, IPv4, TCP SYN from 10.255.0.1:40000. */
function tcpSyn(to: { readonly address: Uint8Array; readonly port: number }): Uint8Array {
  const packet = Buffer.alloc(14 + 20 + 20);
  packet.writeUInt16BE(0x0800, 12);
  const ip = packet.subarray(14);
  ip.writeUInt8(0x45, 0);
  ip.writeUInt16BE(40, 2);
  ip.writeUInt8(64, 8);
  ip.writeUInt8(6, 9);
  ip.set([10, 255, 0, 1], 12);
  ip.set(to.address, 16);
  const tcp = ip.subarray(20);
  tcp.writeUInt16BE(40_000, 0);
  tcp.writeUInt16BE(to.port, 2);
  tcp.writeUInt8(0x50, 12);
  tcp.writeUInt8(0x02, 13);
  tcp.writeUInt16BE(0xffff, 14);
  return packet;
}
