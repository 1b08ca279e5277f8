import type { Bench } from '../harness.ts';
import { nftSet } from './nft.ts';
import { installAndActivate, perPacket } from './ours.ts';

/** The packet filter: what a flow entry costs to put in place, and what a packet costs to judge. */
export async function openFlows(): Promise<Bench> {
  return {
    figures: [
      { bench: 'flows/packet', unit: 'ns', ours: perPacket, peers: [] },
      { bench: 'flows', unit: 'entries/s', ours: installAndActivate, peers: [nftSet] },
    ],
    [Symbol.asyncDispose]: () => Promise.resolve(),
  };
}
