/** A mesh session in the other direction: what its initiator opens to the responder, and how either may lie about it. */
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { Target } from '../../protocol/capability/index.ts';
import { reasonOf } from '../../protocol/errors.ts';
import { parseAddress } from '../../protocol/net/address.ts';
import { parsePrefix } from '../../protocol/net/prefix.ts';
import {
  type AttemptOptions,
  attempt,
  establish,
  footprint,
  type MemoryNode,
  MemoryWorld,
  NOTHING,
  PRINTER,
  REQUEST,
  TARGET,
} from '../../test/support/memory-nodes.ts';

const OTHER_PORT = { ...PRINTER, port: 632 };
const ADVERTISING = { request: { ...REQUEST, advertise: [parsePrefix('10.1.0.0/24')] } };
const SYN = 0x02;

let world: MemoryWorld;
let a: MemoryNode;
let b: MemoryNode;

beforeEach(async () => {
  world = new MemoryWorld();
  a = await world.node('a');
  b = await world.node('b');
  b.opens.advertise = [parsePrefix('10.2.0.0/24')];
});
afterEach(() => world[Symbol.asyncDispose]());

describe('an offer', () => {
  beforeEach(() => {
    a.opens.offer = [PRINTER];
  });

  it('lets the responder reach what is at the initiator, beside what was granted, and goes with the session', async () => {
    const { hosted, visited } = await establish(a, b, ADVERTISING);
    expect(passes(b, a, PRINTER, '10.2.0.10')).toBe('PASS');
    expect(passes(a, b, TARGET, '10.1.0.20')).toBe('PASS');
    const stands = { sessions: 1, policies: 2, live: 2, peers: 1 };
    expect(await footprint(a.dataplane, a.overlay)).toMatchObject(stands);
    expect(await footprint(b.dataplane, b.overlay)).toMatchObject(stands);
    expect(visited.offered).toEqual([{ ...PRINTER, class: 'ordinary', floor: 3 }]);
    expect(hosted.offered).toEqual(visited.offered);
    await b.enforcer.release(hosted.id, 'CLOSED');
    await a.enforcer.release(visited.id, 'CLOSED');
    expect(await footprint(b.dataplane, b.overlay)).toMatchObject({ ...NOTHING, live: expect.any(Number) });
    expect(await footprint(a.dataplane, a.overlay)).toMatchObject({ ...NOTHING, live: expect.any(Number) });
  });

  it('opens nothing else, and to nobody who comes from elsewhere', async () => {
    await establish(a, b, ADVERTISING);
    expect(passes(b, a, OTHER_PORT, '10.2.0.10')).toBe('NO_FLOW');
    expect(arrives(a, PRINTER, '10.3.0.1')).toBe('SOURCE_NOT_PINNED');
  });

  it('falls with the level of either end, by the one write that its grant falls by', async () => {
    const { hosted, visited } = await establish(a, b, ADVERTISING);
    const writes: number[] = [];
    const { flows } = a.dataplane;
    const setPeerLevel = flows.setPeerLevel.bind(flows);
    flows.setPeerLevel = async (slot, level) => {
      writes.push(level);
      await setPeerLevel(slot, level);
    };
    await a.enforcer.setPeerLevel(visited.id, 2);
    expect(writes).toEqual([2]);
    expect(arrives(a, PRINTER, '10.2.0.10')).toBe('POSTURE');
    expect(passes(a, b, TARGET, '10.1.0.20')).toBe('POSTURE');
    expect(leaves(b, PRINTER, '10.2.0.10')).toBe('PASS');
    await b.enforcer.setPeerLevel(hosted.id, 2);
    expect(leaves(b, PRINTER, '10.2.0.10')).toBe('POSTURE');
  });

  it('is replaced by the next attestation, as the grant is', async () => {
    const { hosted } = await establish(a, b, ADVERTISING);
    const again = { ...ADVERTISING, renews: hosted.id };
    a.opens.offer = [OTHER_PORT];
    await establish(a, b, again);
    expect([passes(b, a, PRINTER, '10.2.0.10'), passes(b, a, OTHER_PORT, '10.2.0.10')]).toEqual(['NO_FLOW', 'PASS']);
    a.opens.offer = [];
    const last = await establish(a, b, again);
    expect(passes(b, a, OTHER_PORT, '10.2.0.10')).toBe('NO_FLOW');
    expect(last.visited.offered).toBeUndefined();
  });

  it.each<[string, Target]>([
    ['the accord does not name', { ...PRINTER, port: 22 }],
    ['is not advertised in this session', { ...PRINTER, prefix: parsePrefix('10.1.1.20/32') }],
  ])('of what %s fails the dial whole, and no token is minted', async (_, target) => {
    a.opens.offer = [PRINTER, target];
    expect(await reason(attempt(a, b, ADVERTISING))).toBe('TARGET_NOT_ALLOWED');
    expect(a.tokens.minted).toEqual([]);
  });

  it('to somebody who has no tier without a token fails the dial', async () => {
    const c = await world.node('c');
    expect(await reason(attempt(a, c, ADVERTISING))).toBe('TARGET_NOT_ALLOWED');
  });

  it('is made in mesh sessions only', async () => {
    const { hosted } = await establish(a, b, { type: 'management', request: { ...REQUEST, targets: [] } });
    expect(hosted.offered).toBeUndefined();
  });
});

describe('attack: an initiator that offers', () => {
  const offering = (...offered: Target[]): AttemptOptions => ({
    ...ADVERTISING,
    lie: (body) => ({ ...body, offered }),
  });
  const outcome = async (options: AttemptOptions): Promise<string> => {
    const { admit } = await attempt(a, b, options);
    return await reason(b.enforcer.admit(admit));
  };
  const at = (prefix: string): Target => ({ ...PRINTER, prefix: parsePrefix(prefix) });

  it.each([
    ['what it may advertise, and did not', '10.1.0.20/32', REQUEST],
    ['more than it advertises', '10.1.0.0/16', undefined],
    ["another site's addresses", '10.3.0.10/32', undefined],
    ["the responder's own", '10.2.0.10/32', undefined],
    ["the responder's address in the tunnel", '10.99.0.2/32', undefined],
    ['loopback', '127.0.0.1/32', undefined],
    ['IPv4 in disguise', '::ffff:10.1.0.20/128', undefined],
    ['everything', '0.0.0.0/0', undefined],
  ])('%s is refused', async (_, prefix, request = ADVERTISING.request) => {
    expect(await outcome({ ...offering(PRINTER, at(prefix)), request })).toBe('TARGET_NOT_ALLOWED');
    expect(await footprint(b.dataplane, b.overlay)).toEqual(NOTHING);
  });

  it.each([
    ['a protocol that no flow is of', { ...PRINTER, protocol: 47, port: 0 }],
    ['a port of ICMP', { ...PRINTER, protocol: 1, port: 8 }],
  ])('%s is refused', async (_, target) => {
    expect(await outcome(offering(target))).toBe('TARGET_NOT_ALLOWED');
  });

  it('too much is refused before anything is looked at', async () => {
    const many = Array.from({ length: 257 }, (_, n) => ({ ...PRINTER, port: n + 1 }));
    expect(await reason(attempt(a, b, offering(...many)))).toBe('MALFORMED');
  });

  it('in a session that is no mesh session is refused', async () => {
    const options = { ...offering(PRINTER), type: 'management', request: { ...REQUEST, targets: [] } } as const;
    expect(await reason(attempt(a, b, options))).toBe('MALFORMED');
  });

  it('its own address in the tunnel opens that', async () => {
    expect(await outcome(offering(at('10.99.0.1/32')))).toBe('nothing was refused');
  });
});

describe('attack: a responder', () => {
  /** What the initiator makes of a grant that says so much of where the responder comes from. */
  const advertises = async (...prefixes: string[]): Promise<string> => {
    const tried = await attempt(a, b, ADVERTISING);
    const hosted = await b.enforcer.admit(tried.admit);
    if (hosted.answer === undefined) throw new Error('no answer');
    const answer = { ...hosted.answer, advertise: prefixes.map(parsePrefix) };
    return await reason(tried.accept({ ...hosted, answer }));
  };

  it.each(['10.1.0.0/24', '10.3.0.0/24', '0.0.0.0/0', '127.0.0.0/8'])(
    'that says it comes from %s, which our accord does not let it have, has no session',
    async (prefix) => {
      a.opens.offer = [PRINTER];
      expect(await advertises(prefix)).toBe('PREFIX_NOT_ALLOWED');
      expect(await footprint(a.dataplane, a.overlay)).toEqual(NOTHING);
    },
  );

  it('that was offered nothing comes from nowhere but its targets, whatever it says', async () => {
    expect(await advertises('10.2.0.0/24', '10.3.0.0/24')).toBe('nothing was refused');
    expect(a.overlay.members[0]?.spec.prefixes).toEqual([TARGET.prefix, parsePrefix('10.99.0.2/32')]);
  });

  it('that grants the initiator its own offer, as if it were the request, is not believed', async () => {
    a.opens.offer = [PRINTER];
    const tried = await attempt(a, b, ADVERTISING);
    const hosted = await b.enforcer.admit(tried.admit);
    if (hosted.answer === undefined) throw new Error('no answer');
    const answer = { ...hosted.answer, targets: [...hosted.answer.targets, PRINTER] };
    expect(await reason(tried.accept({ ...hosted, answer }))).toBe('UNEXPECTED_RECORD');
  });
});

/** A request from `from`'s network to what is at `to`, through both filters; why not, by whoever stops it first. */
function passes(from: MemoryNode, to: MemoryNode, target: Target, source: string): string {
  const verdict = leaves(from, target, source);
  return verdict === 'PASS' ? arrives(to, target, source) : verdict;
}

function leaves(node: MemoryNode, target: Target, source: string): string {
  return node.dataplane.flows.judge({ ...packet(node, target, source), direction: 'out' });
}

function arrives(node: MemoryNode, target: Target, source: string): string {
  return node.dataplane.flows.judge({ ...packet(node, target, source), direction: 'in' });
}

function packet({ overlay }: MemoryNode, { prefix, port }: Target, source: string) {
  const { ifindex } = overlay.device;
  const addresses = { source: parseAddress(source), destination: prefix.address };
  return { kind: 'tcp' as const, ifindex, ...addresses, sourcePort: 40_000, destinationPort: port, flags: SYN };
}

async function reason(work: Promise<unknown>): Promise<string> {
  return await work.then(() => 'nothing was refused', reasonOf);
}
