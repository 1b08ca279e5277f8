/** What the console is told, against what the gateway then does: two whole gateways in memory. */
import { afterEach, beforeEach, expect, it } from 'vitest';
import { parsePrefix } from '../../protocol/net/prefix.ts';
import type { PostureLevel } from '../../protocol/posture/index.ts';
import { MANAGEMENT } from '../../test/support/memory-nodes.ts';
import { MemorySites, type Visitor } from '../../test/support/memory-sites.ts';
import type { GatewayView } from '../control/ports.ts';
import { gatewayView } from './gateway-view.ts';

const CONSOLE = { uid: 0, gid: 0, pid: 1 };
let sites: MemorySites;
let view: GatewayView;

beforeEach(async () => {
  sites = await MemorySites.connected();
  view = gatewayView(sites.b.gateway, { version: '0', tunnelWhy: 'memory' });
});
afterEach(() => sites[Symbol.asyncDispose]());

it.for([4, 3, 2, 1] as const)('a dry run of %i says what then happens to each session', async (level) => {
  const visitors = [
    await sites.visitor('operator', [MANAGEMENT], '/master'),
    await sites.visitor('operator', [MANAGEMENT], '/apprentice', ['OBSERVE', 'CONNECT', 'PROPOSE'], 'apprentice'),
    await sites.visitor('management', [MANAGEMENT], '/manager'),
  ];
  const { counts, sessions, from, to } = await view.previewPosture(level);
  expect([from, to, sites.b.gateway.posture.level]).toEqual([5, level, 5]);
  const foretold = (id: string): string => sessions.find((session) => session.id === id)?.fate ?? 'keep';
  const before = visitors.map(({ session }) => foretold(session.id));
  await view.setPosture({ level, reason: 'drill', forMs: undefined, confirmWithinMs: undefined }, CONSOLE);
  await sites.clock.advance(100);
  expect(visitors.map(fateOf)).toEqual(before);
  expect(before).toEqual(FATES[level]);
  const standing = Object.values(counts).reduce((sum, count) => sum + count, 0);
  expect([standing, counts.end]).toEqual([4, level === 1 ? 4 : before.filter((fate) => fate === 'end').length]);
});

it('a dry run tells the governed routes that go and that come back: how many, and the first hundred', async () => {
  const { network } = sites.b.dataplane;
  await network.setUp(network.plug('lan'));
  for (let n = 0; n < 101; n += 1) {
    const route = { destination: parsePrefix(`172.31.${n}.0/24`), link: 'lan', table: 254 };
    await view.underlay.change({ action: 'add', route, class: 'ordinary', reason: 'drill' }, CONSOLE);
  }
  const none = { count: 0, first: [] };
  expect(await view.previewPosture(5)).toMatchObject({ withdrawn: none, restored: none });
  const { withdrawn, restored } = await view.previewPosture(2);
  expect([withdrawn.count, withdrawn.first.length, restored]).toEqual([101, 100, none]);
  expect(withdrawn.first[0]).toMatch(/^172\.31\.\d+\.0\/24 table 254 metric 0 dev lan$/);
  await view.setPosture({ level: 2, reason: 'drill' }, CONSOLE);
  expect(await view.previewPosture(5)).toMatchObject({ withdrawn: none, restored: withdrawn });
});

it('attack: of two consoles at once, each of which would confirm what it is answered, none confirms the other’s word', async () => {
  const say = (level: PostureLevel) =>
    view.setPosture({ level, reason: `drill ${level}`, confirmWithinMs: 60_000 }, CONSOLE);
  const [first, second] = await Promise.allSettled([say(3), say(2)]);
  expect(first).toMatchObject({ status: 'rejected', reason: { reason: 'POSTURE_CHANGED' } });
  const { unconfirmed, sources } = await view.posture();
  expect(second).toMatchObject({ status: 'fulfilled', value: { unconfirmed } });
  expect(sources).toMatchObject([{ source: 'console', level: 2, epoch: unconfirmed?.epoch }]);
});

it('what is wrong with the posture is a finding of the doctor', async () => {
  expect((await view.diagnose()).filter(({ name }) => name === 'posture')).toEqual([]);
  sites.b.dataplane.flows.replacePostureMap('foreign', 5);
  await sites.until('followed', () => sites.b.gateway.posture.level === 2);
  expect((await view.diagnose()).filter(({ name }) => name === 'posture')).toMatchObject([
    { state: 'warning', detail: expect.stringContaining('another one was put in its place') },
  ]);
});

/** Of the master, the apprentice who may propose, and the manager. */
const FATES: Readonly<Record<Exclude<PostureLevel, 5>, readonly string[]>> = {
  4: ['keep', 'keep', 'keep'],
  3: ['reattest', 'drain', 'reattest'],
  2: ['end', 'end', 'reattest'],
  1: ['end', 'end', 'end'],
};

/** One that drains with nothing to do is over at once, too: the word that came first tells them apart. */
function fateOf({ session, heard }: Visitor): string {
  if (heard.some((what) => what.startsWith('drain POSTURE_DRAIN'))) return 'drain';
  if (session.state === 'ended') return 'end';
  return heard.includes('attested again') ? 'reattest' : 'keep';
}
