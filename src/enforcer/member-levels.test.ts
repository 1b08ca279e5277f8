import { describe, expect, it } from 'vitest';
import type { PostureLevel } from '../../protocol/posture/level.ts';
import type { Member, MemberSpec } from './member.ts';
import { MemberLevels } from './member-levels.ts';

const AT_MOST: Readonly<Record<PostureLevel, number>> = { 5: Number.POSITIVE_INFINITY, 4: 25, 3: 15, 2: 10, 1: 10 };

function member(number: number, keepalive: number, level: PostureLevel = 5): Member {
  const spec: MemberSpec = {
    spiffeId: `spiffe://alpha.example/site/${number}`,
    publicKey: Uint8Array.of(number),
    keepalive,
    prefixes: [],
    hosted: [],
    visited: [],
    level,
    expiresAtBootNs: 0n,
  };
  const session = { sessionSlot: number, generation: 1, peerSlot: number, expiresAtBootNs: 0n };
  return { number, session, spec, generation: 1 };
}

describe('how often the tunnel of a member is kept alive', () => {
  it('is as configured, or oftener where the stricter of both ends wants it so', () => {
    const levels = new MemberLevels((level) => AT_MOST[level]);
    const { spec } = member(1, 20);
    const seconds = (own: PostureLevel, peer: PostureLevel): number => {
      levels.own = own;
      return levels.keepalive(spec, peer);
    };
    expect([seconds(5, 5), seconds(4, 5), seconds(3, 5), seconds(5, 3), seconds(3, 2), seconds(2, 3)]).toEqual([
      20, 20, 15, 15, 10, 10,
    ]);
  });

  it('is never at any level for one that is not to be kept alive', () => {
    const levels = new MemberLevels((level) => AT_MOST[level]);
    levels.own = 2;
    expect(levels.keepalive(member(1, 0).spec, 2)).toBe(0);
    expect(levels.keepalives([member(1, 0)])).toEqual(new Map());
  });

  it('goes by the level that its peer said last, and by what it joined with once that is forgotten', () => {
    const levels = new MemberLevels((level) => AT_MOST[level]);
    const [first, second, third] = [member(1, 20), member(2, 20), member(3, 20, 3)] as const;
    levels.note(2, 3);
    const [one, two, three] = [first, second, third].map(({ spec }) => spec.publicKey);
    expect(levels.keepalives([first, second, third])).toEqual(
      new Map([
        [20, [one]],
        [15, [two, three]],
      ]),
    );
    levels.forget(2);
    expect(levels.of(second)).toBe(5);
  });
});
