import { isIpv4Mapped, tryParseAddress } from '../../protocol/net/address.ts';

/** What one site or one access line usually holds: an IPv4 /24, an IPv6 /56. */
const IPV4_BYTES = 3;
const IPV6_BYTES = 7;

/** A name of the network that an address counts with. */
export function networkOf(text: string): string {
  const address = tryParseAddress(text);
  if (address === undefined) return text;
  if (address.length === 4) return address.subarray(0, IPV4_BYTES).join('.');
  if (isIpv4Mapped(address)) return address.subarray(12, 12 + IPV4_BYTES).join('.');
  return address.subarray(0, IPV6_BYTES).join('.');
}
