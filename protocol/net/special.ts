import type { Prefix } from '../capability/model.ts';
import { isCanonicalPrefix, parsePrefix, prefixesOverlap } from './prefix.ts';

/** Ranges that never lie behind another site (RFC 6890): this host, this link, groups, and IPv4 in disguise. */
const NEVER_BEHIND_A_PEER: readonly Prefix[] = [
  '0.0.0.0/8',
  '127.0.0.0/8',
  '169.254.0.0/16',
  '224.0.0.0/3',
  '::/96',
  '::ffff:0:0/96',
  'fe80::/10',
  'ff00::/8',
].map(parsePrefix);

/** Shorter than this is most of the Internet: two halves are a default route that is not called one. */
const SHORTEST_IPV4 = 8;
const SHORTEST_IPV6 = 16;

/** Whether a site may ever have this prefix behind it; a default route never. */
export function isAdvertisable(prefix: Prefix): boolean {
  const shortest = prefix.address.length === 4 ? SHORTEST_IPV4 : SHORTEST_IPV6;
  return (
    isCanonicalPrefix(prefix) &&
    prefix.length >= shortest &&
    !NEVER_BEHIND_A_PEER.some((special) => prefixesOverlap(special, prefix))
  );
}
