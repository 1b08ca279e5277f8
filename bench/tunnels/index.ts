import type { Bench } from '../harness.ts';
import { embedded, embeddedAlone } from './ours.ts';
import { manyPeers } from './peers.ts';
import { cost, throughput } from './throughput.ts';
import { wireguardGo } from './wireguard-go.ts';

/** WireGuard in user space: what peers cost to configure, and what one stream gets through. */
export async function openTunnels(): Promise<Bench> {
  return {
    figures: [
      { bench: 'tunnels/peers', unit: 'ms', ours: manyPeers(embedded), peers: [manyPeers(wireguardGo)] },
      { bench: 'tunnels/cpu', unit: 'ms/GB', ours: cost(embeddedAlone), peers: [cost(wireguardGo)] },
      // Both of our ends in one process, with its one pool of threads, where wireguard-go has two processes.
      { bench: 'tunnels/one-process', unit: 'Mbit/s', ours: throughput(embedded), peers: [throughput(wireguardGo)] },
      { bench: 'tunnels', unit: 'Mbit/s', ours: throughput(embeddedAlone), peers: [throughput(wireguardGo)] },
    ],
    [Symbol.asyncDispose]: () => Promise.resolve(),
  };
}
