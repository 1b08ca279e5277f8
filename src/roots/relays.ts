import type { EnforcerParts } from '../enforcer/enforcer.ts';
import type { SessionId } from '../enforcer/ports.ts';
import { Relays } from '../enforcer/relay.ts';
import type { EnforcerWorld } from './enforcer-world.ts';

/** Of one terminator: whose tunnels it carries, and what takes their packets. */
export function relaysOf(
  { config, openRelay }: EnforcerWorld,
  toTerminator: (session: SessionId, packet: Uint8Array) => void,
): Pick<EnforcerParts, 'carries' | 'relays'> {
  const carried = new Set<string>(config.mesh.peers.filter(({ carry }) => carry).map(({ spiffeId }) => spiffeId));
  return {
    carries: (spiffeId) => carried.has(spiffeId),
    ...(openRelay === undefined ? {} : { relays: new Relays(openRelay, toTerminator) }),
  };
}
