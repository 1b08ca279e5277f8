import { toBinary } from '@bufbuild/protobuf';
import { RequestSchema } from '../../protocol/gen/shellstream/wire/v1/wire_pb.ts';
import { encodeOffer, VERSION } from '../../protocol/handshake/index.ts';
import { requestToWire } from '../../protocol/wire/convert.ts';
import type { Config, MeshPeerConfig } from '../base/config.ts';
import type { EnforcerParts } from '../enforcer/enforcer.ts';
import type { AllowedForward } from '../enforcer/forwards.ts';
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

/** What we open to a peer that we dial, and where we say we come from to one that dialled us and opens something. */
export function meshOpenings({ mesh, advertise }: Config): Required<Pick<EnforcerParts, 'offerTo' | 'advertiseTo'>> {
  const peers = new Map<string, MeshPeerConfig>(mesh.peers.map((peer) => [peer.spiffeId, peer]));
  return {
    offerTo: (spiffeId) => peers.get(spiffeId)?.offer ?? [],
    advertiseTo: (spiffeId) => peers.get(spiffeId)?.advertise ?? advertise,
  };
}

/** As identities; names are the configuration's own. */
export function meshForwards({ mesh: { peers, forward } }: Config): readonly AllowedForward[] {
  const identityOf = (name: string): string[] => peers.flatMap((peer) => (peer.name === name ? [peer.spiffeId] : []));
  return forward.flatMap(({ from, to }) =>
    identityOf(from).flatMap((sender) => identityOf(to).map((receiver) => ({ from: sender, to: receiver }))),
  );
}

/** Whether an approach is, to the byte, one that the configuration asks for. */
export function intentions(config: Config): (approach: Approach) => boolean {
  const intended = new Set(config.mesh.peers.map((peer) => fingerprint(meshApproach(config, peer))));
  return (approach) => intended.has(fingerprint(approach));
}

function fingerprint({ offer, expectedId, request }: Approach): string {
  const parts = [encodeOffer(offer), toBinary(RequestSchema, requestToWire(request))];
  return [expectedId, ...parts.map((part) => Buffer.from(part).toString('base64'))].join(' ');
}
