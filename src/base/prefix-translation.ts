/** `mesh.prefixTranslation`: one prefix for another, and what of the configuration does not go with it. */
import { z } from 'zod';
import type { Prefix } from '../../protocol/capability/model.ts';
import { prefixField } from '../../protocol/document/fields.ts';
import { formatPrefix, prefixContainsAddress, prefixesOverlap } from '../../protocol/net/prefix.ts';
import { isAdvertisable } from '../../protocol/net/special.ts';

const translatable = prefixField.refine(isAdvertisable, 'never behind a site: loopback, link-local, default');

/** In RFC 6296's terms. */
export const prefixTranslation = z
  .array(
    z
      .strictObject({ internal: translatable, external: translatable })
      .refine(
        ({ internal, external }) =>
          internal.length === external.length && internal.address.length === external.address.length,
        { path: ['external'], error: 'not as large as the internal one' },
      ),
  )
  .max(16)
  .default([]);

interface TranslatedSite {
  readonly wireguard: { readonly addresses: readonly Prefix[] };
  readonly advertise: readonly Prefix[];
  readonly mesh: {
    readonly prefixTranslation: readonly { readonly internal: Prefix; readonly external: Prefix }[];
    readonly peers: readonly { readonly advertise?: readonly Prefix[] | undefined }[];
  };
}

export interface TranslationProblem {
  readonly path: readonly (string | number)[];
  readonly message: string;
}

export function translationProblems({ wireguard, advertise, mesh }: TranslatedSite): readonly TranslationProblem[] {
  const problems: TranslationProblem[] = [];
  const taken: Prefix[] = [];
  for (const [at, translation] of mesh.prefixTranslation.entries()) {
    for (const side of ['internal', 'external'] as const) {
      const prefix = translation[side];
      const tell = (message: string) => problems.push({ path: ['mesh', 'prefixTranslation', at, side], message });
      const other = taken.find((one) => prefixesOverlap(one, prefix));
      if (other !== undefined) tell(`overlaps ${formatPrefix(other)}, which is translated as well`);
      // The gateway's own address would leave as somebody else's.
      if (wireguard.addresses.some(({ address }) => prefixContainsAddress(prefix, address))) {
        tell('holds an address of ours in the tunnel');
      }
      taken.push(prefix);
    }
  }
  const internals = mesh.prefixTranslation.map(({ internal }) => internal);
  const advertised = [
    { path: ['advertise'], prefixes: advertise },
    ...mesh.peers.map((peer, at) => ({ path: ['mesh', 'peers', at, 'advertise'], prefixes: peer.advertise ?? [] })),
  ];
  for (const { path, prefixes } of advertised) {
    for (const [at, prefix] of prefixes.entries()) {
      if (!internals.some((internal) => prefixesOverlap(internal, prefix))) continue;
      problems.push({ path: [...path, at], message: 'is translated: peers see the external prefix only' });
    }
  }
  return problems;
}
