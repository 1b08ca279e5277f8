import type { Bench } from '../harness.ts';
import { makeIdentities } from './identities.ts';
import { gateway } from './ours.ts';
import { handshakePeers } from './peers.ts';

/** CPU of the server, user and system, for one mutually authenticated session: opened, one echo, closed. */
export async function openHandshake(): Promise<Bench> {
  const identities = await makeIdentities();
  const peers = handshakePeers(identities);
  const others = [gateway(identities, 'warm', { terminators: 2 }), gateway(identities, 'warm', { evidence: true })];
  return {
    figures: [
      { bench: 'handshake-cold', unit: 'us', ours: gateway(identities, 'cold'), peers },
      { bench: 'handshake', unit: 'us', ours: gateway(identities, 'warm'), peers: [...peers, ...others] },
    ],
    [Symbol.asyncDispose]: () => identities[Symbol.asyncDispose](),
  };
}
