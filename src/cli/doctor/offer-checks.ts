/** Whether the accord lets peers have what the configuration offers them: a dial that says too much fails. */
import { decideOffer, decideTier, tierPolicyOf } from '../../../protocol/capability/index.ts';
import { hostPrefix } from '../../../protocol/net/prefix.ts';
import type { Accord } from '../../../protocol/posture/index.ts';
import type { Config } from '../../base/config.ts';
import type { Finding } from '../../control/ports.ts';
import { problem } from '../output.ts';
import { missing, ok } from './kernel-checks.ts';

export function offers({ site, wireguard, advertise, mesh, accord: { file } }: Config, accord: Accord): Finding[] {
  const tiers = tierPolicyOf(accord, site.trustDomain);
  const addresses = wireguard.addresses.map(({ address }) => hostPrefix(address));
  return mesh.peers.flatMap((peer): Finding[] => {
    if (peer.offer.length === 0) return [];
    try {
      decideOffer({
        accord,
        identity: peer.spiffeId,
        tier: decideTier(peer.spiffeId, undefined, tiers),
        level: 5,
        mode: 'overlay',
        targets: peer.offer,
        advertised: [...(peer.advertise ?? advertise), ...addresses],
      });
      return [ok('offer', `${peer.name} may have what mesh.peers offers it`)];
    } catch (error) {
      return [missing('offer', `${peer.name}: ${problem(error)}`, `mend ${file}, or the offer`)];
    }
  });
}
