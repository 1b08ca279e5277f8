import type { Bench } from '../harness.ts';
import { embedded } from './ours.ts';
import { manyPeers } from './peers.ts';
import { throughput } from './throughput.ts';
import { wireguardGo } from './wireguard-go.ts';

/** WireGuard in user space: what peers cost to configure, and what one stream gets through. */
export async function openTunnels(): Promise<Bench> {
  return {
    figures: [
      { bench: 'tunnels/peers', unit: 'ms', ours: manyPeers(embedded), peers: [manyPeers(wireguardGo)] },
      { bench: 'tunnels', unit: 'Mbit/s', ours: throughput(embedded), peers: [throughput(wireguardGo)] },
    ],
    [Symbol.asyncDispose]: () => Promise.resolve(),
  };
}
