import { makeIdentities } from '../handshake/identities.ts';
import type { Bench, Figure } from '../harness.ts';
import { gatewayStreams } from './ours.ts';
import { tlsPeers } from './tls.ts';
import type { Direction } from './transfer.ts';

/** CPU of the server for a mebibyte through a session's stream. */
export async function openStreams(): Promise<Bench> {
  const identities = await makeIdentities();
  const figure = (bench: string, directions: readonly Direction[]): Figure => ({
    bench,
    unit: 'us/MiB',
    ours: gatewayStreams(identities.directory, directions),
    peers: tlsPeers(identities, directions),
  });
  return {
    figures: [figure('streams-up', ['up']), figure('streams-down', ['down']), figure('streams', ['up', 'down'])],
    [Symbol.asyncDispose]: () => identities[Symbol.asyncDispose](),
  };
}
