/**
 * The level that the peer of each member of an overlay is at, and how often its tunnel is kept alive: as is configured, or
 * oftener where the stricter end wants it so.
 */
import { mostRestrictive, type PostureLevel } from '../../protocol/posture/level.ts';
import type { Member, MemberSpec } from './member.ts';

export class MemberLevels {
  /** This node's. */
  own: PostureLevel = 5;
  readonly #keepaliveAt: (level: PostureLevel) => number;
  /** What the kernel has, by number of the member. */
  readonly #written = new Map<number, PostureLevel>();

  /** @param keepaliveAt the most seconds between keepalives at a level */
  constructor(keepaliveAt: (level: PostureLevel) => number) {
    this.#keepaliveAt = keepaliveAt;
  }

  of({ number, spec }: Member): PostureLevel {
    return this.#written.get(number) ?? spec.level;
  }

  note(number: number, level: PostureLevel): void {
    this.#written.set(number, level);
  }

  forget(number: number): void {
    this.#written.delete(number);
  }

  /** Seconds between keepalives in a tunnel whose peer is at `level`; 0: none. */
  keepalive({ keepalive }: MemberSpec, level: PostureLevel): number {
    return keepalive === 0 ? 0 : Math.min(keepalive, this.#keepaliveAt(mostRestrictive(this.own, level)));
  }

  /** Public keys by the seconds that the levels of both ends ask for; without members that are never kept alive. */
  keepalives(members: readonly Member[]): ReadonlyMap<number, readonly Uint8Array[]> {
    const kept = members.filter(({ spec }) => spec.keepalive !== 0);
    const bySeconds = Map.groupBy(kept, (member) => this.keepalive(member.spec, this.of(member)));
    return new Map([...bySeconds].map(([seconds, alike]) => [seconds, alike.map(({ spec }) => spec.publicKey)]));
  }
}
