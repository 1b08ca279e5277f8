/** Tunnels whose packets go in their session: which, when, and what takes the packets. */
import type { SessionDirectory } from '../enforcer/directory.ts';
import type { EnforcerParts } from '../enforcer/enforcer.ts';
import type { Overlay } from '../enforcer/overlay.ts';
import type { SessionId } from '../enforcer/ports.ts';
import { Relays } from '../enforcer/relay.ts';
import { UdpWatch } from '../mesh/udp-watch.ts';
import type { EnforcerWorld } from './enforcer-world.ts';

/** Over peers that we dial, where the configuration leaves it to us to find out. */
export function watchUdp(
  { config, clock, log }: EnforcerWorld,
  directory: SessionDirectory,
  overlay: Overlay | undefined,
): UdpWatch {
  const { peers, carryAfterSeconds } = config.mesh;
  const watched = peers.filter(({ address, carry }) => address !== undefined && carry === 'auto');
  return new UdpWatch({
    clock,
    log: log.child({ part: 'mesh' }),
    directory,
    peers: watched.map(({ spiffeId }) => spiffeId),
    tunnel: async () => (await overlay?.device.peers()) ?? [],
    afterMs: carryAfterSeconds * 1000,
  });
}

/** Of one terminator: whose tunnels it carries, and what takes their packets. */
export function relaysOf(
  { config, openRelay }: EnforcerWorld,
  udp: UdpWatch,
  toTerminator: (session: SessionId, packet: Uint8Array) => void,
): Pick<EnforcerParts, 'carries' | 'relays'> {
  return {
    carries: (spiffeId) => {
      const peer = config.mesh.peers.find((one) => one.spiffeId === spiffeId);
      if (peer === undefined || peer.carry === false) return 'never';
      return peer.carry === true || udp.isBlocked(peer.spiffeId) ? 'always' : 'when-needed';
    },
    ...(openRelay === undefined ? {} : { relays: new Relays(openRelay, toTerminator) }),
  };
}
