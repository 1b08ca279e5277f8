/** What an initiator says that we may reach at its site: what is taken of it is its own, and lies behind nobody else. */
import { mayAdvertise, takeOffer } from '../../protocol/capability/index.ts';
import { encodeConfirmBody, parseConfirmBody } from '../../protocol/handshake/bodies.ts';
import { LIMITS } from '../../protocol/handshake/constants.ts';
import { parseSpiffeId } from '../../protocol/identity/spiffe-id.ts';
import { hostPrefix, intersectPrefixes, parsePrefix, prefixContains } from '../../protocol/net/prefix.ts';
import { checkRule } from '../../src/dataplane/flow-rules.ts';
import { ACCORD } from '../../test/support/memory-nodes.ts';
import { protobuf } from '../formats/protobuf.ts';
import { treeFormat } from '../formats/tree.ts';
import { attempt, holds, type OpenTarget } from '../target.ts';
import { CONFIRM, fill } from './examples.ts';

/** What the accord lets the initiator have behind it, and what never is. */
const OWN = ['10.1.0.0/24', '10.99.0.1/32'].map(parsePrefix);
const FOREIGN = ['10.2.0.0/24', '10.99.0.2/32', '127.0.0.0/8', '::ffff:0:0/96'].map(parsePrefix);

export const open: OpenTarget = async () => {
  const initiator = parseSpiffeId('spiffe://a.test/gateway');
  if (initiator === undefined) throw new Error('no SPIFFE ID');
  const wireguard = { publicKey: fill(3), proof: fill(4), port: 51_840, addresses: [Uint8Array.of(10, 99, 0, 1)] };
  const offering = (...offered: readonly [prefix: string, protocol: number, port: number][]): Uint8Array =>
    encodeConfirmBody({
      ...CONFIRM,
      wireguard,
      offered: offered.map(([prefix, protocol, port]) => ({ prefix: parsePrefix(prefix), protocol, port })),
    });
  return {
    about:
      'offers of an initiator: what is taken lies inside what it may advertise, and is a flow that the kernel can hold',
    covers: ['protocol/capability/offer.ts', 'protocol/wire/convert.ts'],
    maxBytes: LIMITS.bodyBytes,
    format: treeFormat(protobuf),
    dictionary: [Uint8Array.of(10, 1, 0, 20), Uint8Array.of(10, 2, 0, 10), Uint8Array.of(127, 0, 0, 1), fill(0, 16)],
    seeds: [
      offering(),
      offering(['10.1.0.20/32', 6, 631], ['10.99.0.1/32', 1, 0], ['10.1.0.0/24', 17, 0]),
      offering(['10.1.0.20/32', 6, 631], ['10.2.0.10/32', 6, 8080]),
      offering(['10.1.0.0/16', 6, 0]),
      offering(['127.0.0.1/32', 6, 22]),
      offering(['::ffff:10.1.0.20/128', 6, 22]),
      offering(['10.1.0.20/32', 47, 0]),
      offering(['10.1.0.20/32', 1, 8]),
    ],
    run(input) {
      const read = attempt({ reasons: ['MALFORMED', 'TARGET_NOT_ALLOWED'] }, () => {
        const { request, wireguard: tunnel, offered = [] } = parseConfirmBody(input);
        const advertised = [...request.advertise, ...(tunnel?.addresses ?? []).map(hostPrefix)];
        if (advertised.some((prefix) => !mayAdvertise(ACCORD.accord, initiator, prefix))) return undefined;
        return takeOffer(ACCORD.accord, offered, advertised);
      });
      if ('refusal' in read) return `refused ${read.refusal}`;
      if (read.value === undefined) return 'not its prefixes';
      for (const { prefix, protocol, port, floor } of read.value) {
        holds(
          OWN.some((own) => prefixContains(own, prefix)),
          'an offer outside what it may have is taken',
        );
        holds(!FOREIGN.some((other) => intersectPrefixes(other, prefix) !== undefined), 'an offer of others is taken');
        checkRule({ ifindex: 1, direction: 'out', destination: prefix, protocol, port, floor });
        holds(floor >= 2, 'a flow that outlives the mesh');
      }
      return `taken ${Math.min(read.value.length, 4)}`;
    },
  };
};
