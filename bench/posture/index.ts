import { kernelAddon } from '../../src/dataplane/linux/native.ts';
import type { Bench } from '../harness.ts';
import { governedFlows, ifindexOf } from '../host/flows.ts';
import { cutOff, RECEIVER } from './cut-off.ts';

const HOUR_NS = 3_600_000_000_000n;
const UDP = 17;

/** A flow of floor 3, cut off by the posture's map: the last forbidden packet after one write. */
const postureMap = cutOff('ours', async (namespace) => {
  await using stack = new AsyncDisposableStack();
  const ifindex = await ifindexOf(namespace, 'gov0');
  const flows = await governedFlows(stack, namespace, ifindex);
  const { address, port } = RECEIVER;
  const expiresAtBootNs = kernelAddon().bootTimeNs() + HOUR_NS;
  const session = { sessionSlot: 0, generation: 1, peerSlot: 0, expiresAtBootNs };
  await flows.renewLease(expiresAtBootNs);
  await flows.setPeerLevel(0, 5);
  await flows.install(session, [
    { ifindex, direction: 'out', destination: { address, length: 32 }, protocol: UDP, port, floor: 3 },
  ]);
  await flows.activate(session);
  const owned = stack.move();
  return {
    open: () => flows.setPosture(5),
    close: () => flows.setPosture(2),
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
    figures: [{ bench: 'posture', unit: 'us', ours: postureMap, peers: [nftRule] }],
    [Symbol.asyncDispose]: () => Promise.resolve(),
  };
}
