import { VERSION } from '../../protocol/handshake/index.ts';
import type { Config, MeshPeerConfig } from '../base/config.ts';
import type { Approach } from '../enforcer/terminator-port.ts';

/** What we ask of a configured peer: a mesh session with its targets, advertising what lies behind us. */
export function meshApproach(config: Config, peer: MeshPeerConfig): Approach {
  return {
    offer: { versions: [VERSION], sessionType: 'mesh', mode: 'overlay' },
    expectedId: peer.spiffeId,
    request: {
      capabilities: peer.request.capabilities,
      targets: peer.request.targets,
      advertise: peer.advertise ?? config.advertise,
    },
  };
}
