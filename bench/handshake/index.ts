import type { Bench } from '../harness.ts';
import { makeIdentities } from './identities.ts';
import { gateway } from './ours.ts';
import { handshakePeers } from './peers.ts';

/** CPU of the server, user and system, for one mutually authenticated session: opened, one echo, closed. */
export async function openHandshake(): Promise<Bench> {
  const identities = await makeIdentities();
  return {
    figures: [{ bench: 'handshake', unit: 'us', ours: gateway(identities), peers: handshakePeers(identities) }],
    [Symbol.asyncDispose]: () => identities[Symbol.asyncDispose](),
  };
}
