/** Who says posture beside the console: the map's slot 0, Bascule, and the accord's timers. */
import { isPostureLevel, LOCKDOWN, levelFromTrustedSource, mostRestrictive } from '../../protocol/posture/index.ts';
import type { SvidVerifier } from '../identity/index.ts';
import type { PostureEngine } from '../posture/engine.ts';
import { followTimers } from '../posture/sources/accord-timers.ts';
import { Bascule } from '../posture/sources/bascule.ts';
import { followMap } from '../posture/sources/posture-map.ts';
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
  const { isSameBoot } = world.posture;
  const map = owner.use(await followMap({ flows: world.dataplane.flows, log, posture, isSameBoot }));
  await takeUpOwnSlot(world, posture);
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
      return [...map.problems, ...gone];
    },
    pushPort: bascule?.pushPort,
  };
}

const NODE_STATEMENT = 'held over the restart of the gateway';

/**
 * A level that our own slot kept over a crash and no record knows of is taken up as the console's, towards the stricter: it
 * may have been said while the disk was full.
 */
async function takeUpOwnSlot(
  { dataplane, posture: { kept, strictest }, unconfirmed }: EnforcerWorld,
  posture: PostureEngine,
): Promise<void> {
  const { external, own } = await dataplane.flows.posture();
  // An empty map that somebody else made: we never write what is no level.
  if (!isPostureLevel(own)) return;
  // The boot unit goes by what waits for its confirmation, too.
  const former = unconfirmed?.kept?.former.level ?? posture.level;
  const known = kept === undefined ? posture.level : mostRestrictive(posture.level, former, strictest ?? LOCKDOWN);
  if (own < known && own < levelFromTrustedSource(external)) {
    await posture.state('console', own, NODE_STATEMENT);
  }
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
