/** `mesh.peers[].offer`: what of the configuration does not go with it. */
import type { Prefix } from '../../protocol/capability/model.ts';
import { formatPrefix, hostPrefix, prefixContains, prefixesOverlap } from '../../protocol/net/prefix.ts';

interface OfferingSite {
  readonly wireguard: { readonly addresses: readonly Prefix[] };
  readonly advertise: readonly Prefix[];
  readonly mesh: {
    readonly prefixTranslation: readonly { readonly internal: Prefix }[];
    readonly peers: readonly {
      readonly address?: object | undefined;
      readonly advertise?: readonly Prefix[] | undefined;
      readonly offer: readonly { readonly prefix: Prefix }[];
    }[];
  };
}

export interface OfferProblem {
  readonly path: readonly (string | number)[];
  readonly message: string;
}

export function offerProblems({ wireguard, advertise, mesh }: OfferingSite): readonly OfferProblem[] {
  const addresses = wireguard.addresses.map(({ address }) => hostPrefix(address));
  return mesh.peers.flatMap((peer, number): OfferProblem[] => {
    const path = ['mesh', 'peers', number, 'offer'];
    if (peer.address === undefined && peer.offer.length > 0) {
      return [{ path, message: 'this peer dials us: what it may reach is the accord’s to say, as it asks' }];
    }
    const reachable = [...(peer.advertise ?? advertise), ...addresses];
    return peer.offer.flatMap(({ prefix }, at) => {
      const message = problemOf(prefix, reachable, mesh.prefixTranslation);
      return message === undefined ? [] : [{ path: [...path, at, 'prefix'], message }];
    });
  });
}

function problemOf(
  prefix: Prefix,
  reachable: readonly Prefix[],
  translations: readonly { readonly internal: Prefix }[],
): string | undefined {
  if (translations.some(({ internal }) => prefixesOverlap(internal, prefix))) {
    return 'is translated: peers see the external prefix only';
  }
  if (reachable.some((outer) => prefixContains(outer, prefix))) return undefined;
  return `${formatPrefix(prefix)} is not advertised to this peer`;
}
