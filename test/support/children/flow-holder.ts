/**
 * Holds one flow open through the filter on an interface and renews the lease, as a gateway does, until it is killed.
 * On a link that outlives it: what a tunnel in the kernel is to a gateway.
 */
import { parsePrefix } from '../../../protocol/net/prefix.ts';
import { systemClock } from '../../../src/base/clock.ts';
import { createLinuxFlows } from '../../../src/dataplane/linux/flows.ts';
import { kernelAddon } from '../../../src/dataplane/linux/native.ts';

interface Arguments {
  readonly instance: string;
  readonly namespace: string;
  readonly ifindex: number;
  readonly peer: string;
  readonly own: string;
  readonly leaseMs: number;
}

const { instance, namespace, ifindex, peer, own, leaseMs }: Arguments = JSON.parse(process.argv[2] ?? '');
const flows = await createLinuxFlows({ instance, namespace });
const now = (): bigint => kernelAddon().bootTimeNs();
const session = { sessionSlot: 1, generation: 1, peerSlot: 1, expiresAtBootNs: now() + 3_600_000_000_000n };
await flows.attach({ ifindex, kind: 'tunnel' });
await flows.setPosture(5);
await flows.setPeerLevel(1, 5);
await flows.pinSources(ifindex, 1, [parsePrefix(peer)]);
const icmp = { ifindex, direction: 'in', destination: parsePrefix(own), protocol: 1, port: 0, floor: 3 } as const;
await flows.install(session, [icmp]);
await flows.activate(session);
await renew();
console.log('holding');

async function renew(): Promise<void> {
  await flows.renewLease(now() + BigInt(leaseMs) * 1_000_000n);
  systemClock.after(leaseMs / 3, () => void renew());
}
