import { formatPrefix } from '../../protocol/net/prefix.ts';
import type { GatewayStatus } from '../control/ports.ts';
import type { EnforcerNode } from './enforcer.ts';

/** What the configuration says of the mesh beyond its peers, and what of that is in the kernel. */
export function meshView({ world, overlay }: EnforcerNode): Pick<GatewayStatus, 'translations' | 'forwards'> {
  const { peers, forward, prefixTranslation } = world.config.mesh;
  const members = new Set(overlay?.members.map(({ spec }) => spec.spiffeId));
  const isMember = (name: string): boolean => peers.some((peer) => peer.name === name && members.has(peer.spiffeId));
  return {
    translations: prefixTranslation.map(({ internal, external }) => ({
      internal: formatPrefix(internal),
      external: formatPrefix(external),
    })),
    forwards: forward.map(({ from, to }) => ({ from, to, stands: isMember(from) && isMember(to) })),
  };
}
