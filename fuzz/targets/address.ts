/** IP addresses and prefixes, against Node's own reading of them. The input is up to three lines. */
import { BlockList, isIP } from 'node:net';
import { formatAddress, isIpv4Mapped, tryParseAddress } from '../../protocol/net/address.ts';
import {
  canonicalPrefix,
  formatPrefix,
  intersectPrefixes,
  parseInterfaceAddress,
  parsePrefix,
  prefixContainsAddress,
  prefixesEqual,
} from '../../protocol/net/prefix.ts';
import { isAdvertisable } from '../../protocol/net/special.ts';
import { words } from '../formats/lines.ts';
import { alike, attempt, holds, type OpenTarget } from '../target.ts';
import { ascii } from './examples.ts';

export const open: OpenTarget = async () => ({
  about: 'addresses and prefixes: Node reads the same, and what is written reads back',
  covers: ['protocol/net/'],
  maxBytes: 160,
  format: words,
  dictionary: ['::', ':', '.', '/', '255', '256', '00', 'ffff', '::ffff:', '/32', '/128', '%eth0', '0x', '[', ']'],
  seeds: [
    '10.0.0.1\n10.0.0.0/8\n10.2.0.0/16',
    '::1\n::/0\nfd00::/8',
    '2001:db8::1:0:0:1\n2001:db8::/32\n2001:db8::/48',
    '::ffff:10.0.0.1\n::ffff:0:0/96\n::/0',
    '1:2:3:4:5:6:7::\n0.0.0.0/0\n127.0.0.1',
    '64:ff9b::192.0.2.33\n192.0.2.33/31\n192.0.2.32/31',
  ].map(ascii),
  run(input) {
    const [text = '', one = '', other = ''] = Buffer.from(input).toString('latin1').split('\n');
    return `${address(text)} ${prefixes(text, one, other)}`;
  },
});

function address(text: string): string {
  const bytes = tryParseAddress(text);
  // Node takes zones, which mean nothing on another host.
  holds((bytes !== undefined) === (isIP(text) !== 0 && !text.includes('%')), `Node does not agree on ${text}`);
  if (bytes === undefined) return 'no address';
  const written = formatAddress(bytes);
  holds(alike(tryParseAddress(written), bytes), `${written} is another address`);
  holds(formatAddress(tryParseAddress(written) ?? bytes) === written, 'written in two ways');
  // The URL standard writes IPv6 as RFC 5952 does.
  const host =
    bytes.length === 16 ? new URL(`http://[${text}]`).hostname.slice(1, -1) : new URL(`http://${text}`).hostname;
  holds(written === host, `${written} is ${host} elsewhere`);
  return `IPv${bytes.length === 4 ? 4 : 6}${isIpv4Mapped(bytes) ? ' mapped' : ''}`;
}

function prefixes(text: string, one: string, other: string): string {
  const read = attempt({ reasons: ['MALFORMED'], longest: 400 }, () => [parsePrefix(one), parsePrefix(other)] as const);
  if ('refusal' in read) {
    const loose = attempt({ reasons: ['MALFORMED'], longest: 400 }, () => parseInterfaceAddress(one));
    return 'refusal' in loose
      ? 'no prefix'
      : `host bits ${formatPrefix(canonicalPrefix(loose.value)) !== formatPrefix(loose.value)}`;
  }
  const [a, b] = read.value;
  holds(prefixesEqual(parsePrefix(formatPrefix(a)), a), 'a prefix reads back as another');
  const both = intersectPrefixes(a, b);
  holds(alike(both, intersectPrefixes(b, a)), 'the order of two prefixes matters');
  if (isAdvertisable(a)) holds(a.length >= 8, 'nearly everything may be advertised');
  const bytes = tryParseAddress(text);
  if (bytes === undefined) return 'prefixes';
  const contains = prefixContainsAddress(a, bytes);
  // Node's list takes mapped addresses for IPv4, which is what ours refuses to do.
  if (
    !isIpv4Mapped(bytes) &&
    !isIpv4Mapped(a.address) &&
    !(a.address.length === 16 && a.length < 96 && bytes.length === 4)
  ) {
    holds(
      contains === nodeContains(a, bytes),
      `Node does not agree that ${one} ${contains ? 'holds' : 'lacks'} ${text}`,
    );
  }
  return `${contains ? 'inside' : 'outside'} ${both === undefined ? 'apart' : 'nested'}`;
}

function nodeContains(prefix: { address: Uint8Array; length: number }, bytes: Uint8Array): boolean {
  const list = new BlockList();
  list.addSubnet(formatAddress(prefix.address), prefix.length, family(prefix.address));
  return list.check(formatAddress(bytes), family(bytes));
}

function family(bytes: Uint8Array): 'ipv4' | 'ipv6' {
  return bytes.length === 4 ? 'ipv4' : 'ipv6';
}
