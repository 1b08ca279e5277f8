/** A site that is held, and what it and others may try. No kernel, no sockets. */
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { reasonOf } from '../../protocol/errors.ts';
import {
  type AttemptOptions,
  attempt,
  establish,
  footprint,
  type MemoryNode,
  MemoryWorld,
  NOTHING,
  REQUEST,
} from '../../test/support/memory-nodes.ts';

let world: MemoryWorld;
let a: MemoryNode;
let b: MemoryNode;

beforeEach(async () => {
  world = new MemoryWorld();
  a = await world.node('a');
  b = await world.node('b');
});
afterEach(() => world[Symbol.asyncDispose]());

describe('a held site', () => {
  it('is not admitted, whatever it asks for, and nothing of the attempt stands', async () => {
    b.holds.held.add('a.test');
    expect(await outcome(a)).toBe('PEER_HELD');
    expect(await outcome(a, { type: 'management' })).toBe('PEER_HELD');
    expect(await footprint(b.dataplane, b.overlay)).toEqual(NOTHING);
  });

  it('does not keep others out', async () => {
    b.holds.held.add('a.test');
    const c = await world.node('c');
    expect(await outcome(c)).toBe('granted');
  });

  it('is not attested to: no token is minted for it', async () => {
    a.holds.held.add('b.test');
    expect(await reason(attempt(a, b))).toBe('PEER_HELD');
    expect(a.tokens.minted).toEqual([]);
  });

  it('whose hold comes while its token is looked at is not let in by it', async () => {
    // Where a token is asked about each time.
    b.change(3);
    const { admit } = await attempt(a, b);
    b.tokens.beforeConfirm = () => void b.holds.held.add('a.test');
    expect(await reason(b.enforcer.admit(admit))).toBe('PEER_HELD');
    expect(await footprint(b.dataplane, b.overlay)).toEqual(NOTHING);
  });

  it('whose hold comes before its GRANT is not accepted', async () => {
    const tried = await attempt(a, b);
    const hosted = await b.enforcer.admit(tried.admit);
    a.holds.held.add('b.test');
    expect(await reason(tried.accept(hosted))).toBe('PEER_HELD');
    expect(await footprint(a.dataplane, a.overlay)).toEqual(NOTHING);
  });

  it('does not renew a session that its terminator kept', async () => {
    const { hosted } = await establish(a, b);
    b.holds.held.add('a.test');
    const again = await attempt(a, b, { renews: hosted.id });
    expect(await reason(b.enforcer.admit(again.admit))).toBe('PEER_HELD');
  });
});

describe('the ceremony', () => {
  const ADMIN = { type: 'management', request: { ...REQUEST, capabilities: ['OBSERVE', 'ADMIN'] } } as const;
  let owner: MemoryNode;

  beforeEach(async () => {
    owner = await world.node('a', { path: '/people/owner', tier: 'site_owner', tunnelAddress: '10.99.0.9' });
    b.holds.held.add('a.test');
    b.holds.ceremony.add(owner.spiffeId);
  });

  it('of a named site_owner with ADMIN releases the site, by a token of this very handshake', async () => {
    expect(await outcome(owner, ADMIN)).toBe('granted');
    expect(owner.tokens.minted).toEqual([expect.stringMatching(/^spiffe:\/\/b\.test\/gateway#[A-Za-z0-9_-]{43}$/)]);
    expect(b.holds.held.size).toBe(0);
    expect(await outcome(a)).toBe('granted');
  });

  it.each<readonly [string, () => Promise<string>]>([
    ['without ADMIN', () => outcome(owner, { type: 'management' })],
    ['in a session of another type', () => outcome(owner, { ...ADMIN, type: 'operator' })],
    [
      'from level 1',
      () => {
        owner.change(1);
        return outcome(owner, ADMIN);
      },
    ],
    [
      'of somebody who is not named',
      () => {
        b.holds.ceremony.delete(owner.spiffeId);
        return outcome(owner, ADMIN);
      },
    ],
    [
      'attack: of a gateway that is named and no site_owner',
      () => {
        b.holds.ceremony.add(a.spiffeId);
        return outcome(a, ADMIN);
      },
    ],
  ])('%s releases nobody', async (_what, happen) => {
    expect(await happen()).not.toBe('granted');
    expect(b.holds.held.size).toBe(1);
  });

  it('attack: with a token that was minted for another handshake releases nobody', async () => {
    const earlier = await attempt(owner, b, ADMIN);
    const { admit } = await attempt(owner, b, ADMIN);
    expect(await reason(b.enforcer.admit({ ...admit, evidence: earlier.admit.evidence }))).not.toBe('granted');
    // Asked for before the hold, and so without one that is bound.
    b.holds.held.clear();
    const plain = await attempt(owner, b, ADMIN);
    b.holds.held.add('a.test');
    expect(await reason(b.enforcer.admit(plain.admit))).toBe('SAT_NOT_FRESH');
    expect(b.holds.held.size).toBe(1);
  });
});

async function outcome(from: MemoryNode, options: AttemptOptions = {}): Promise<string> {
  return await reason(attempt(from, b, options).then(({ admit }) => b.enforcer.admit(admit)));
}

async function reason(work: Promise<unknown>): Promise<string> {
  try {
    await work;
    return 'granted';
  } catch (error) {
    return reasonOf(error);
  }
}
