/** Who says posture beside the console: the map's slot 0, Bascule, and the accord's timers. */
import { levelFromTrustedSource, NORMAL } from '../../protocol/posture/index.ts';
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
  await followMap(owner, world, posture);
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
      return problem === undefined ? [] : [`Bascule: ${problem}; what it said stands until its expiry`];
    },
    pushPort: bascule?.pushPort,
  };
}

const NODE_STATEMENT = 'held over the restart of the gateway';

/**
 * Slot 0 of the posture map is another program's word; the data plane obeys it at once, and our steps follow here. What
 * it said before a reboot holds until it says something again: the map itself is new then.
 * Without a record, a level that our own slot kept over a crash is taken up as the console's: towards the stricter.
 */
async function followMap(
  owner: AsyncDisposableStack,
  { dataplane, log, posture: { kept, isSameBoot } }: EnforcerWorld,
  posture: PostureEngine,
): Promise<void> {
  const say = async (raw: number): Promise<void> => {
    await posture.state('map', levelFromTrustedSource(raw), `posture map slot 0 says ${raw}`);
  };
  // First the watch: what is written between the two would be heard by nobody.
  owner.use(
    dataplane.flows.onExternalPosture((raw) => {
      say(raw).catch((error: unknown) => log.error('posture did not follow the map', { error }));
    }),
  );
  const { external, own } = await dataplane.flows.posture();
  if (external !== NORMAL || (isSameBoot && kept?.statements.has('map') === true)) await say(external);
  const ours = levelFromTrustedSource(own);
  if (kept === undefined && ours < posture.level && ours < levelFromTrustedSource(external)) {
    await posture.state('console', ours, NODE_STATEMENT);
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
