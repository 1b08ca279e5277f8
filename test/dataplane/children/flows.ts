/**
 * Owns a flow table: governs the interface named, grants TCP 8080 and ping on it to 10.1.0.2 and fd01::2, says `up`.
 * Arguments: instance, path of the network namespace, interface, lease in milliseconds. Then it stays, or with a fifth
 * argument `leave` lets Node end by itself.
 */
import { parseAddress } from '../../../protocol/net/address.ts';
import { createLinuxFlows } from '../../../src/dataplane/linux/flows.ts';
import { kernelAddon } from '../../../src/dataplane/linux/native.ts';
import { createLinuxNetwork } from '../../../src/dataplane/linux/network.ts';
import type { FlowRule } from '../../../src/dataplane/ports.ts';

const [instance = '', namespace = '', name = '', leaseMs = '0', mode] = process.argv.slice(2);
const flows = await createLinuxFlows({ instance, namespace, sizes: { sessions: 16, peers: 16, rules: 64 } });
const links = await createLinuxNetwork({ namespace }).links();
const ifindex = links.find((link) => link.name === name)?.ifindex ?? 0;
await flows.attach({ ifindex, kind: 'tunnel' });

const now = kernelAddon().bootTimeNs();
const session = { sessionSlot: 1, generation: 1, peerSlot: 1, expiresAtBootNs: now + 600_000_000_000n };
const rules = [
  ruleTo('10.1.0.1', 6, 8080),
  ruleTo('10.1.0.1', 1, 0),
  ruleTo('fd01::1', 6, 8080),
  ruleTo('fd01::1', 58, 0),
];
await flows.pinSources(ifindex, 1, [host('10.1.0.2'), host('fd01::2')]);
await flows.setPeerLevel(1, 5);
await flows.install(session, rules);
await flows.activate(session);
await flows.renewLease(now + BigInt(leaseMs) * 1_000_000n);
flows.onExternalPosture(({ raw, pin }) => console.log(pin === 'ours' ? `posture ${raw}` : `posture ${raw} ${pin}`));
flows.onDenials((denials) => {
  for (const { cause, destinationPort } of denials) console.log(`denied ${cause} ${destinationPort}`);
});
console.log('up');
if (mode !== 'leave') process.stdin.resume();

function host(text: string): FlowRule['destination'] {
  const address = parseAddress(text);
  if (address === undefined) throw new Error(`no address: ${text}`);
  return { address, length: address.length * 8 };
}

function ruleTo(text: string, protocol: number, port: number): FlowRule {
  return { ifindex, direction: 'in', destination: host(text), protocol, port, floor: 3 };
}
