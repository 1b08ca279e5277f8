import { kernelAddon } from '../../src/dataplane/linux/native.ts';
import type { ControlFlow, FlowRule, FlowSession } from '../../src/dataplane/ports.ts';
import type { Bench } from '../harness.ts';
import { governedFlows, ifindexOf } from '../host/flows.ts';
import { cutOff, RECEIVER } from './cut-off.ts';
import { MEMBERS, SESSIONS, settling } from './lockdown.ts';
import { pageToReader } from './page.ts';
import { slotCpu, slotLatency } from './slot.ts';

const HOUR_NS = 3_600_000_000_000n;
const [TCP, UDP] = [6, 17];

const TARGETS_EACH = 10;
const FLOWS_OF_ONE_PEER = 10_000;
/** Of one write each, where the contract is about every one. */
const WRITES = 500;

/** A flow of floor 3 among those of a thousand peers, cut off by the posture's map: the last forbidden packet after one write. */
const postureMap = cutOff('ours', async (namespace) => {
  await using stack = new AsyncDisposableStack();
  const ifindex = await ifindexOf(namespace, 'gov0');
  const flows = await governedFlows(stack, namespace, ifindex);
  const { address, port } = RECEIVER;
  const expiresAtBootNs = kernelAddon().bootTimeNs() + HOUR_NS;
  const floor3 = (to: Uint8Array): FlowRule => {
    return { ifindex, direction: 'out', destination: { address: to, length: 32 }, protocol: UDP, port, floor: 3 };
  };
  await flows.renewLease(expiresAtBootNs);
  await flows.setControl(Array.from({ length: SESSIONS }, (_, n) => control(n)));
  for (let slot = 0; slot < MEMBERS; slot += 1) {
    const session: FlowSession = { sessionSlot: slot, generation: 1, peerSlot: slot, expiresAtBootNs };
    const others = Array.from({ length: TARGETS_EACH }, (_, n) => Uint8Array.of(10, slot >> 8, slot & 0xff, n));
    await flows.setPeerLevel(slot, 5);
    await flows.install(session, (slot === MEMBERS >> 1 ? [address, ...others] : others).map(floor3));
    await flows.activate(session);
  }
  const owned = stack.move();
  return {
    open: () => flows.setPosture(5),
    close: () => flows.setPosture(1),
    [Symbol.asyncDispose]: () => owned.disposeAsync(),
  };
});

function control(n: number): ControlFlow {
  const [localAddress, remoteAddress] = [Uint8Array.of(192, 0, 2, 1), Uint8Array.of(198, 51, n >> 8, n & 0xff)];
  return { protocol: TCP, localAddress, localPort: 7843, remoteAddress, remotePort: 40_000 };
}

/** 10,000 flows of floor 3 of one peer, cut off by one write of its level. */
const peerLevel = cutOff('ours', async (namespace) => {
  await using stack = new AsyncDisposableStack();
  const ifindex = await ifindexOf(namespace, 'gov0');
  const flows = await governedFlows(stack, namespace, ifindex);
  const { address, port } = RECEIVER;
  const expiresAtBootNs = kernelAddon().bootTimeNs() + HOUR_NS;
  const others = Array.from({ length: FLOWS_OF_ONE_PEER - 1 }, (_, n) => Uint8Array.of(10, 0, n >> 8, n & 0xff));
  const rules = [address, ...others].map((to): FlowRule => {
    return { ifindex, direction: 'out', destination: { address: to, length: 32 }, protocol: UDP, port, floor: 3 };
  });
  const session: FlowSession = { sessionSlot: 1, generation: 1, peerSlot: 1, expiresAtBootNs };
  await flows.renewLease(expiresAtBootNs);
  await flows.setPosture(5);
  await flows.install(session, rules);
  await flows.activate(session);
  const owned = stack.move();
  return {
    open: () => flows.setPeerLevel(1, 5),
    close: () => flows.setPeerLevel(1, 2),
    [Symbol.asyncDispose]: () => owned.disposeAsync(),
  };
});

/** A peer: the same cut by an nftables rule, put in by the `nft` program as its users do. */
const nftRule = cutOff('nft-rule', async (namespace) => {
  const nft = async (input: string): Promise<void> => void (await namespace.run('nft', ['-f', '-'], { input }));
  await nft('table inet bench {\nchain out { type filter hook output priority 0; }\n}\n');
  return {
    open: () => nft('flush chain inet bench out\n'),
    close: () => nft(`add rule inet bench out udp dport ${RECEIVER.port} drop\n`),
    [Symbol.asyncDispose]: () => Promise.resolve(),
  };
});

export async function openPosture(): Promise<Bench> {
  return {
    figures: [
      { bench: 'posture/settled', unit: 'ms', ours: settling(1), peers: [] },
      { bench: 'posture/settled-at-2', unit: 'ms', ours: settling(2), peers: [] },
      { bench: 'posture/page', unit: 'us', ours: pageToReader(0), peers: [], bounded: { runs: WRITES } },
      { bench: 'posture/page-polled', unit: 'us', ours: pageToReader(500), peers: [], bounded: { runs: WRITES } },
      { bench: 'posture/slot', unit: 'ms', ours: slotLatency, peers: [], bounded: { runs: WRITES } },
      { bench: 'posture/slot-cpu', unit: '%', ours: slotCpu, peers: [] },
      { bench: 'posture/peer-level', unit: 'us', ours: peerLevel, peers: [], bounded: { runs: 20 } },
      { bench: 'posture', unit: 'us', ours: postureMap, peers: [nftRule] },
    ],
    [Symbol.asyncDispose]: () => Promise.resolve(),
  };
}
