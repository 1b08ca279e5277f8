/** What follows a change of posture, in the order of DESIGN-level rule P8: data plane first, then sessions, then tunnels. */
import { levelFromTrustedSource, NORMAL } from '../../protocol/posture/index.ts';
import type { Logger } from '../base/logger.ts';
import type { DataPlane } from '../dataplane/ports.ts';
import type { SessionDirectory } from '../enforcer/directory.ts';
import type { Overlay } from '../enforcer/overlay.ts';
import type { Overseer } from '../enforcer/overseer.ts';
import type { Terminators } from '../enforcer/terminators.ts';
import type { Mesh } from '../mesh/mesh.ts';
import type { PostureEngine, PostureSteps } from '../posture/engine.ts';
import type { OpenedPosture } from '../posture/store.ts';
import type { Isolation } from './isolation.ts';

export interface FollowerParts {
  readonly dataplane: DataPlane;
  readonly directory: SessionDirectory;
  readonly isolation: Isolation;
  readonly terminators: Terminators;
  readonly overseer: Overseer;
  readonly overlay: Overlay | undefined;
  readonly mesh: Mesh;
}

export function postureSteps({
  dataplane,
  directory,
  isolation,
  terminators,
  overseer,
  overlay,
  mesh,
}: FollowerParts): PostureSteps {
  return {
    dataPlane: [
      // Before the map says 1: what DRAIN leaves on for half a second more.
      {
        name: 'connections of the last word',
        apply: (level) => dataplane.flows.setControl(level === 1 ? directory.controls : []),
      },
      { name: 'governance page', apply: (level, epoch) => dataplane.governance.write({ level, epoch }) },
      { name: 'posture map', apply: (level) => dataplane.flows.setPosture(level) },
      { name: 'isolation of new interfaces', apply: () => isolation.cover() },
    ],
    admission: { name: 'admission', apply: (level, epoch) => terminators.setPosture(level, epoch) },
    sessionLayer: [
      { name: 'sessions', apply: () => terminators.judgeSessions() },
      { name: 'what stands', apply: () => overseer.postureChanged() },
      { name: 'tunnels', apply: (level) => (level === 1 ? overlay?.close() : overlay?.reopen()) },
      { name: 'mesh', apply: (level) => (level > 1 ? mesh.nudge() : undefined) },
    ],
  };
}

const NODE_STATEMENT = 'held over the restart of the gateway';

/**
 * Slot 0 of the posture map is another program's word; the data plane obeys it at once, and our steps follow here. What
 * it said before a reboot holds until it says something again: the map itself is new then.
 * Without a record, a level that our own slot kept over a crash is taken up as the console's: towards the stricter.
 */
export async function followExternalPosture(
  owner: AsyncDisposableStack,
  dataplane: DataPlane,
  posture: PostureEngine,
  { kept, isSameBoot }: OpenedPosture,
  log: Logger,
): Promise<void> {
  const say = async (raw: number): Promise<void> => {
    await posture.state('map', levelFromTrustedSource(raw), `posture map slot 0 says ${raw}`);
  };
  const { external, own } = await dataplane.flows.posture();
  owner.use(
    dataplane.flows.onExternalPosture((raw) => {
      say(raw).catch((error: unknown) => log.error('posture did not follow the map', { error }));
    }),
  );
  if (external !== NORMAL || (isSameBoot && kept?.statements.has('map') === true)) await say(external);
  const ours = levelFromTrustedSource(own);
  if (kept === undefined && ours < posture.level && ours < levelFromTrustedSource(external)) {
    await posture.state('console', ours, NODE_STATEMENT);
  }
}
