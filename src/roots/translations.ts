import { ShellstreamError } from '../../protocol/errors.ts';
import { formatPrefix, prefixesOverlap } from '../../protocol/net/prefix.ts';
import type { Accord } from '../../protocol/posture/index.ts';
import type { Config } from '../base/config.ts';
import type { Translation } from '../dataplane/ports.ts';

/**
 * What the configuration has translated. @throws ShellstreamError MALFORMED for an external prefix that nobody could reach: it is
 * neither advertised nor a target of the accord, and whoever wrote it meant another one
 */
export function translationsOf({ advertise, mesh }: Config, accord: Accord): readonly Translation[] {
  const known = [
    ...advertise,
    ...mesh.peers.flatMap((peer) => peer.advertise ?? []),
    ...accord.targets.flatMap(({ prefixes }) => prefixes),
  ];
  for (const { external } of mesh.prefixTranslation) {
    if (known.some((prefix) => prefixesOverlap(prefix, external))) continue;
    const detail = `mesh.prefixTranslation: ${formatPrefix(external)} is neither advertised nor a target of the accord`;
    throw new ShellstreamError('MALFORMED', detail);
  }
  return mesh.prefixTranslation;
}
