/** What the registry says in the log when more sessions end at once than it tells one by one. */
import { afterEach, beforeEach, expect, it } from 'vitest';
import { MANAGEMENT } from '../../test/support/memory-nodes.ts';
import { MemorySites, type Visitor } from '../../test/support/memory-sites.ts';

const CROWD = 70;
/** As many of a kind are told one by one. */
const EACH = 64;

let sites: MemorySites;
let visitors: readonly Visitor[];

beforeEach(async () => {
  const limits = {
    perPrefixRate: { perSecond: 10_000, burst: 10_000 },
    handshakeBudget: { millisecondsPerSecond: 10_000 },
  };
  sites = await MemorySites.connected({ limits });
  visitors = await Promise.all(Array.from({ length: CROWD }, () => sites.visitor('management', [MANAGEMENT])));
});
afterEach(() => sites[Symbol.asyncDispose]());

it.each([
  { when: 'once the second is over', over: () => sites.clock.advance(1_000) },
  { when: 'at the end', over: () => sites.b.gateway.registry.endAll('CLOSED') },
])('peers drain and end theirs: of either it is said, $when, how many more there were', async ({ over }) => {
  for (const { session } of visitors) session.drain('OPERATOR_DRAIN', 0);
  await sites.until('all ended', () => sites.b.gateway.registry.size === 1);
  const each = Array.from({ length: EACH }, () => ({ reason: 'OPERATOR_DRAIN' }));
  expect([told('session ended'), told('drain received')]).toMatchObject([each, each]);
  await over();
  const sessions = visitors.slice(EACH).map(({ session }) => session.id);
  const more = { reason: 'OPERATOR_DRAIN', count: CROWD - EACH, sessions };
  expect(told('more sessions ended')).toEqual([{ ...more, byPeer: true }]);
  expect(told('more drains received')).toEqual([{ count: more.count, sessions }]);
});

it.each(['drainAll', 'endAll'] as const)('%s tells of all before it is through', async (end) => {
  const before = sites.clock.monotonic();
  await sites.b.gateway.registry[end]('SHUTTING_DOWN', 0);
  expect(sites.clock.monotonic()).toBe(before);
  expect(told('session ended')).toHaveLength(EACH);
  // The mesh session is one more.
  expect(told('more sessions ended')).toMatchObject([{ reason: 'SHUTTING_DOWN', count: CROWD + 1 - EACH }]);
});

function told(what: string) {
  return sites.b.log.filter(({ message }) => message === what).map(({ fields }) => fields);
}
