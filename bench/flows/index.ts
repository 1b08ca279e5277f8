import type { Bench } from '../harness.ts';
import { nftSet } from './nft.ts';
import { installAndActivate, kernelBatch, perPacket, tcpAck4, tcpAck6 } from './ours.ts';
import { target, target6 } from './workload.ts';

/** The packet filter: what a flow entry costs to put in place, and what a packet costs to judge. */
export async function openFlows(): Promise<Bench> {
  return {
    figures: [
      { bench: 'flows/packet', unit: 'ns', ours: perPacket(target, tcpAck4), peers: [] },
      { bench: 'flows/packet6', unit: 'ns', ours: perPacket(target6, tcpAck6), peers: [] },
      { bench: 'flows', unit: 'entries/s', ours: installAndActivate, peers: [kernelBatch, nftSet] },
    ],
    [Symbol.asyncDispose]: () => Promise.resolve(),
  };
}
