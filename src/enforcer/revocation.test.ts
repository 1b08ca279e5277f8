/** Every kind of live object under revocation (DESIGN §2), each way of naming it. No kernel, no sockets. */
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { tierPolicyOf } from '../../protocol/capability/index.ts';
import { reasonOf } from '../../protocol/errors.ts';
import { trustDomainOf } from '../../protocol/identity/spiffe-id.ts';
import type { RevocationSubject } from '../../protocol/revocation/index.ts';
import {
  attempt,
  establish,
  footprint,
  type MemoryNode,
  MemoryWorld,
  NOTHING,
} from '../../test/support/memory-nodes.ts';
import { silentLogger } from '../base/logger.ts';
import { LocalEnforcer } from './enforcer.ts';
import { Overseer } from './overseer.ts';
import type { RevocationReader } from './ports.ts';
import { isRevoked } from './revocation.ts';

/** What was revoked is whatever the test says. */
class Revoked implements RevocationReader {
  matches: (subject: RevocationSubject) => boolean = () => false;
  stale: string | undefined;
  readonly seen: RevocationSubject[] = [];

  find(subject: RevocationSubject): object | undefined {
    this.seen.push(subject);
    return this.matches(subject) ? {} : undefined;
  }
}

let world: MemoryWorld;
let a: MemoryNode;
let b: MemoryNode;
let revoked: Revoked;

beforeEach(async () => {
  world = new MemoryWorld();
  revoked = new Revoked();
  a = judging(await world.node('a'));
  b = judging(await world.node('b'));
});
afterEach(() => world[Symbol.asyncDispose]());

/** The node with an enforcer that asks what was revoked. */
function judging(node: MemoryNode): MemoryNode {
  const { accord, spiffeId } = node;
  const enforcer = new LocalEnforcer({
    ...node,
    tiers: tierPolicyOf(accord, trustDomainOf(spiffeId)),
    keepaliveOf: () => 25,
    intends: () => true,
    revocations: revoked,
  });
  return { ...node, enforcer };
}

const WAYS: readonly [string, (known: RevocationSubject) => (subject: RevocationSubject) => boolean][] = [
  ['identity', (known) => (subject) => subject.spiffeId === known.spiffeId],
  ['token', (known) => (subject) => subject.tokenId === known.tokenId],
  [
    'issued before',
    (known) => (subject) => (subject.issuedAtMs ?? Number.POSITIVE_INFINITY) <= (known.issuedAtMs ?? 0),
  ],
  ['session', (known) => (subject) => subject.session === known.session],
];

describe('what stands', () => {
  it.each(WAYS)('ends with tunnel, routes and flows when it is revoked by %s', async (_, by) => {
    await establish(a, b);
    const overseer = new Overseer({ ...b, log: silentLogger });
    const [standing] = b.directory.all;
    if (standing === undefined) throw new Error('nothing stands');
    const { admission, credentials } = standing;
    expect(credentials.tokenId).toMatch(/^[0-9a-f]{64}$/);
    revoked.matches = by({ ...admission.peer, session: admission.id, ...credentials });
    expect(isRevoked(revoked, standing)).toBe(true);
    await overseer.revoked(revoked);
    overseer[Symbol.dispose]();
    expect(b.directory.size).toBe(0);
    expect(await footprint(b.dataplane, b.overlay)).toEqual(NOTHING);
  });

  it('at the end that dialled ends as well', async () => {
    await establish(a, b);
    const overseer = new Overseer({ ...a, log: silentLogger });
    revoked.matches = ({ spiffeId }) => spiffeId === b.spiffeId;
    await overseer.revoked(revoked);
    overseer[Symbol.dispose]();
    expect(await footprint(a.dataplane, a.overlay)).toEqual(NOTHING);
  });

  it('stays when another was revoked', async () => {
    await establish(a, b);
    const overseer = new Overseer({ ...b, log: silentLogger });
    revoked.matches = ({ spiffeId }) => spiffeId === 'spiffe://a.test/another';
    await overseer.revoked(revoked);
    overseer[Symbol.dispose]();
    expect(b.directory.size).toBe(1);
  });
});

describe('a handshake', () => {
  it.each(WAYS.slice(0, 3))(
    'with what was revoked before by %s is refused, cached validation or not',
    async (_, by) => {
      const { hosted } = await establish(a, b);
      const standing = b.directory.get(hosted.id);
      if (standing === undefined) throw new Error('nothing stands');
      await b.enforcer.release(hosted.id, 'CLOSED');
      const { admit } = await attempt(a, b);
      revoked.matches = by({ ...standing.admission.peer, ...standing.credentials });
      // Clocks of a simulated world stand still: a token that was minted again is the same, or as old.
      expect(await reason(b.enforcer.admit(admit))).toBe('REVOKED');
      expect(b.directory.size).toBe(0);
    },
  );

  it('whose peer is revoked while its tunnel is put in place leaves nothing', async () => {
    const { admit } = await attempt(a, b);
    const { join } = b.overlay;
    b.overlay.join = async (spec) => {
      const member = await join.call(b.overlay, spec);
      revoked.matches = ({ spiffeId }) => spiffeId === a.spiffeId;
      return member;
    };
    expect(await reason(b.enforcer.admit(admit))).toBe('REVOKED');
    expect(await footprint(b.dataplane, b.overlay)).toEqual(NOTHING);
    expect(b.directory.size).toBe(0);
  });

  it('with a revoked responder is broken off before a token is minted for it', async () => {
    revoked.matches = ({ spiffeId }) => spiffeId === b.spiffeId;
    expect(await reason(attempt(a, b))).toBe('REVOKED');
    expect(a.tokens.minted).toEqual([]);
  });

  it('whose responder is revoked before its GRANT is taken leaves nothing at the initiator', async () => {
    const tried = await attempt(a, b);
    const hosted = await b.enforcer.admit(tried.admit);
    revoked.matches = ({ spiffeId }) => spiffeId === b.spiffeId;
    expect(await reason(tried.accept(hosted))).toBe('REVOKED');
    expect(await footprint(a.dataplane, a.overlay)).toEqual(NOTHING);
  });
});

describe('an attestation of a session that stands', () => {
  it('is refused for a revoked identity', async () => {
    const { hosted } = await establish(a, b);
    const again = await attempt(a, b, { renews: hosted.id });
    revoked.matches = ({ spiffeId }) => spiffeId === a.spiffeId;
    expect(await reason(b.enforcer.admit(again.admit))).toBe('REVOKED');
  });

  it('of a revoked session ends it, though its credentials are good', async () => {
    const { hosted } = await establish(a, b);
    const again = await attempt(a, b, { renews: hosted.id });
    revoked.matches = ({ session }) => session === hosted.id;
    expect(await reason(b.enforcer.admit(again.admit))).toBe('REVOKED');
    expect(await footprint(b.dataplane, b.overlay)).toEqual(NOTHING);
  });
});

describe('a feed that is not known to be whole and recent', () => {
  beforeEach(() => {
    revoked.stale = 'silent';
  });

  it.each([5, 4] as const)('lets newcomers in at level %i', async (level) => {
    b.change(level);
    await establish(a, b);
  });

  it('refuses newcomers at level 3, at either end', async () => {
    b.change(3);
    const tried = await attempt(a, b);
    expect(await reason(b.enforcer.admit(tried.admit))).toBe('REVOCATIONS_STALE');
    revoked.stale = undefined;
    const other = await attempt(a, b);
    const hosted = await b.enforcer.admit(other.admit);
    revoked.stale = 'silent';
    expect(await reason(other.accept(hosted))).toBe('REVOCATIONS_STALE');
  });

  it('does not end what stands, nor keep it from attesting again', async () => {
    revoked.stale = undefined;
    b.change(3);
    const { hosted } = await establish(a, b);
    revoked.stale = 'silent';
    const again = await attempt(a, b, { renews: hosted.id });
    await expect(b.enforcer.admit(again.admit)).resolves.toMatchObject({ id: hosted.id });
  });
});

async function reason(promise: Promise<unknown>): Promise<string> {
  return await promise.then(
    () => 'none',
    (error: unknown) => reasonOf(error),
  );
}
