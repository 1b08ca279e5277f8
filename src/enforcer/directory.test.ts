/** Places in the directory: whatever is asked at once, and however it ends, no more sessions stand than the limits say. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { reasonOf } from '../../protocol/errors.ts';
import { parseSpiffeId } from '../../protocol/identity/spiffe-id.ts';
import { type DirectoryEvent, type Holder, SessionDirectory, type Standing } from './directory.ts';
import { standingOf } from './fixtures.ts';

const IDENTITIES = ['spiffe://a.test/1', 'spiffe://a.test/2', 'spiffe://b.test/1'];

describe('limits', () => {
  it('of the node and of each identity hold whatever is taken, given back, filled and ended in which order', () => {
    fc.assert(
      fc.property(fc.array(fc.nat({ max: 1_000 }), { maxLength: 200 }), (choices) => {
        const limits = { sessions: 5, sessionsPerIdentity: 3 };
        const directory = new SessionDirectory(limits);
        const places: { readonly identity: string; readonly place: ReturnType<SessionDirectory['takePlace']> }[] = [];
        const standing = new Map<string, string>();
        let last = 0;
        for (const choice of choices) {
          const identity = IDENTITIES[choice % 3] ?? '';
          const held = places.length + standing.size;
          const ofIdentity =
            places.filter((one) => one.identity === identity).length +
            [...standing.values()].filter((one) => one === identity).length;
          switch (Math.floor(choice / 3) % 4) {
            case 0: {
              const refused = refusal(() => places.push({ identity, place: directory.takePlace(identity) }));
              const isFull = held >= limits.sessions || ofIdentity >= limits.sessionsPerIdentity;
              expect(refused).toBe(isFull ? 'SESSION_LIMIT' : undefined);
              break;
            }
            case 1:
              places.shift()?.place[Symbol.dispose]();
              break;
            case 2: {
              const next = places.shift();
              if (next === undefined) break;
              last += 1;
              next.place.put(HOLDER, session(String(last), next.identity));
              // What `using` does after it was filled.
              next.place[Symbol.dispose]();
              standing.set(String(last), next.identity);
              break;
            }
            case 3: {
              const [id] = standing.keys();
              if (id === undefined) break;
              standing.delete(id);
              expect(directory.delete(id, 'CLOSED')?.admission.id).toBe(id);
            }
          }
          expect(directory.size).toBe(standing.size);
          const isFull = places.length + standing.size >= limits.sessions;
          expect(refusal(() => directory.refuseWhenFull())).toBe(isFull ? 'SESSION_LIMIT' : undefined);
        }
      }),
    );
  });

  it('of an identity that comes again count its former session no more', () => {
    const directory = new SessionDirectory({ sessions: 1, sessionsPerIdentity: 1 });
    const [one = ''] = IDENTITIES;
    directory.takePlace(one).put(HOLDER, session('1', one));
    expect(refusal(() => directory.takePlace(one))).toBe('SESSION_LIMIT');
    using place = directory.takePlace(one, '1');
    directory.delete('1', 'SUPERSEDED');
    expect(refusal(() => directory.takePlace(one))).toBe('SESSION_LIMIT');
    place.put(HOLDER, session('2', one));
    expect(directory.all.map(({ admission }) => admission.id)).toEqual(['2']);
  });
});

describe('a session', () => {
  it('is told when it comes and when it goes, once each, and not when it is renewed or noted', () => {
    const directory = new SessionDirectory({ sessions: 9, sessionsPerIdentity: 9 });
    const events: DirectoryEvent[] = [];
    directory.onEvent((event) => events.push(event));
    directory.takePlace('x').put(HOLDER, session('1', 'x'));
    directory.renew(HOLDER, { ...session('1', 'x'), judgedLevel: 4 });
    directory.note('1', { peerLevel: 3 });
    directory.delete('1', 'EXPIRED', true);
    expect(directory.delete('1', 'CLOSED')).toBeUndefined();
    expect(events).toMatchObject([
      { kind: 'opened', standing: { judgedLevel: 5 } },
      { kind: 'ended', standing: { judgedLevel: 4, peerLevel: 3 }, reason: 'EXPIRED', byPeer: true },
    ]);
  });

  it('that is gone is not brought back by a note', () => {
    const directory = new SessionDirectory({ sessions: 9, sessionsPerIdentity: 9 });
    directory.note('1', { peerLevel: 3 });
    expect(directory.get('1')).toBeUndefined();
  });

  it('that is revoked is ended at its holder, who is told to end the connection first', async () => {
    const directory = new SessionDirectory({ sessions: 9, sessionsPerIdentity: 9 });
    const calls: string[] = [];
    const holder: Holder = {
      revoked: (id, reason) => void calls.push(`revoked ${id} ${reason}`),
      release: async (id, reason) => void calls.push(`release ${id} ${reason}`),
    };
    directory.takePlace('x').put(holder, session('1', 'x'));
    await directory.revoke('1', 'SUPERSEDED');
    expect(calls).toEqual(['revoked 1 SUPERSEDED', 'release 1 SUPERSEDED']);
    directory.delete('1', 'SUPERSEDED');
    await directory.revoke('1', 'SUPERSEDED');
    expect(calls).toHaveLength(2);
  });
});

const HOLDER: Holder = { revoked: () => undefined, release: async () => undefined };

function session(id: string, spiffeId: string): Standing {
  const peer = parseSpiffeId(spiffeId);
  return standingOf(id, peer === undefined ? {} : { peer: { spiffeId: peer, trustDomain: 'x.test' } });
}

function refusal(action: () => unknown): string | undefined {
  try {
    action();
    return undefined;
  } catch (error) {
    return reasonOf(error);
  }
}
