/** Who says posture beside the console: the map's slot 0, Bascule, and the accord's timers. */
import {
  LOCKDOWN,
  levelFromTrustedSource,
  mostRestrictive,
  NORMAL,
  type PostureLevel,
} from '../../protocol/posture/index.ts';
import type { PosturePin } from '../dataplane/ports.ts';
import type { SvidVerifier } from '../identity/index.ts';
import type { PostureEngine } from '../posture/engine.ts';
import { followTimers } from '../posture/sources/accord-timers.ts';
import { Bascule } from '../posture/sources/bascule.ts';
import type { EnforcerWorld } from './enforcer-world.ts';

export interface PostureSources {
  /** Why some source may not be heard, one sentence each. */
  readonly problems: readonly string[];
  /** Where Bascule may push to; undefined where it may not. */
  readonly pushPort: number | undefined;
}

/** Before the engine follows anything: what the map says is in its first level. Ends with `owner`. */
export async function startPostureSources(
  owner: AsyncDisposableStack,
  world: EnforcerWorld,
  posture: PostureEngine,
  svids: SvidVerifier,
): Promise<PostureSources> {
  const { accord, clock, log } = world;
  const map = await followMap(owner, world, posture);
  owner.use(
    followTimers({
      clock,
      timers: accord.accord.timers,
      sources: () => posture.sources,
      state: (source, level, reason, forMs) => {
        posture.state(source, level, reason, forMs).catch((error: unknown) => {
          log.error('posture did not follow a timer', { source, error });
        });
      },
    }),
  );
  const bascule = await startBascule(owner, world, posture, svids);
  return {
    get problems() {
      const problem = bascule?.health.problem;
      const gone = problem === undefined ? [] : [`Bascule: ${problem}; what it said stands until its expiry`];
      return [...PIN_PROBLEMS[map.pin], ...gone];
    },
    pushPort: bascule?.pushPort,
  };
}

const FOREIGN_AT_MOST: PostureLevel = 2;
const PIN_PROBLEMS: Readonly<Record<PosturePin, readonly string[]>> = {
  ours: [],
  foreign: ['posture map: another one was put in its place, which no program reads; a restart takes it up'],
  gone: ['posture map: its pin is gone and cannot be put back; what it said stands'],
};
const NODE_STATEMENT = 'held over the restart of the gateway';

/**
 * Slot 0 of the posture map is another program's word; the data plane obeys it at once, and our steps follow here. What
 * it said before a reboot holds until it says something again: the map itself is new then.
 * A level that our own slot kept over a crash and no record knows of is taken up as the console's, towards the stricter: it
 * may have been said while the disk was full.
 *
 * A map that was put in its place reaches no program: its word counts through our own slot, and never for more than 2,
 * for what its writer said into the former one is not known any more.
 */
async function followMap(
  owner: AsyncDisposableStack,
  { dataplane, log, posture: { kept, strictest, isSameBoot } }: EnforcerWorld,
  posture: PostureEngine,
): Promise<{ readonly pin: PosturePin }> {
  const map: { pin: PosturePin } = { pin: 'ours' };
  const say = async (raw: number): Promise<void> => {
    const said = levelFromTrustedSource(raw);
    if (map.pin !== 'foreign') return await posture.state('map', said, `posture map slot 0 says ${raw}`);
    await posture.state(
      'map',
      mostRestrictive(said, FOREIGN_AT_MOST),
      `another posture map was put there, with ${raw}`,
    );
  };
  // First the watch: what is written between the two would be heard by nobody.
  owner.use(
    dataplane.flows.onExternalPosture(({ raw, pin }) => {
      if (pin !== map.pin) log.warn('the pin of the posture map changed', { was: map.pin, is: pin });
      const isSame = map.pin === pin;
      map.pin = pin;
      // Nobody can have said anything into a map that nobody finds.
      if (pin === 'gone' && !isSame) return;
      say(raw).catch((error: unknown) => log.error('posture did not follow the map', { error }));
    }),
  );
  const { external, own } = await dataplane.flows.posture();
  if (external !== NORMAL || (isSameBoot && kept?.statements.has('map') === true)) await say(external);
  const ours = levelFromTrustedSource(own);
  const known = kept === undefined ? posture.level : mostRestrictive(posture.level, strictest ?? LOCKDOWN);
  if (ours < known && ours < levelFromTrustedSource(external)) {
    await posture.state('console', ours, NODE_STATEMENT);
  }
  return map;
}

async function startBascule(
  owner: AsyncDisposableStack,
  { config, identity, clock, log, random }: EnforcerWorld,
  posture: PostureEngine,
  svids: SvidVerifier,
): Promise<Bascule | undefined> {
  const configured = config.posture.bascule;
  if (configured === undefined) return undefined;
  return owner.use(
    await Bascule.start({
      tls: { identity, svids, clock },
      spiffeId: configured.spiffeId,
      address: configured.address,
      push: configured.push?.address,
      log: log.child({ part: 'bascule' }),
      random,
      hear: (statement) => posture.hear(statement),
    }),
  );
}
