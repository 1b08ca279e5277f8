/** What follows a change of posture, in the order of rule P8: data plane, sessions, tunnels, and behind the last words the routes. */
import type { Accord } from '../../protocol/posture/index.ts';
import type { DataPlane } from '../dataplane/ports.ts';
import type { SessionDirectory } from '../enforcer/directory.ts';
import type { Overlay } from '../enforcer/overlay.ts';
import type { Overseer } from '../enforcer/overseer.ts';
import type { Terminators } from '../enforcer/terminators.ts';
import type { Mesh } from '../mesh/mesh.ts';
import type { PostureSteps } from '../posture/plan.ts';
import type { GovernedRoutes } from '../underlay/governed-routes.ts';
import type { Isolation } from './isolation.ts';

export interface FollowerParts {
  readonly accord: Accord;
  readonly dataplane: {
    readonly governance: Pick<DataPlane['governance'], 'write'>;
    readonly flows: Pick<DataPlane['flows'], 'setControl' | 'setPosture'>;
  };
  readonly directory: Pick<SessionDirectory, 'controls'>;
  readonly isolation: Pick<Isolation, 'cover'>;
  readonly terminators: Pick<Terminators, 'setPosture' | 'judgeSessions'>;
  readonly overseer: Pick<Overseer, 'postureChanged'>;
  readonly overlay: Pick<Overlay, 'close' | 'reopen'> | undefined;
  readonly mesh: Pick<Mesh, 'nudge'>;
  /** Absent where none are governed. */
  readonly routes?: Pick<GovernedRoutes, 'takeSnapshot' | 'apply'>;
}

export function postureSteps({
  accord,
  dataplane,
  directory,
  isolation,
  terminators,
  overseer,
  overlay,
  mesh,
  routes,
}: FollowerParts): PostureSteps {
  let lastWords: Promise<void> = Promise.resolve();
  return {
    dataPlane: [
      // Before the map says 1: what DRAIN leaves on for half a second more.
      {
        name: 'connections of the last word',
        apply: (level) => dataplane.flows.setControl(level === 1 ? directory.controls : []),
      },
      {
        name: 'governance page',
        apply: (level, epoch) =>
          dataplane.governance.write({ level, epoch, rules: accord.levels[level].dataPlane.rules }),
      },
      { name: 'posture map', apply: (level) => dataplane.flows.setPosture(level) },
      { name: 'isolation of new interfaces', apply: () => isolation.cover() },
    ],
    admission: { name: 'admission', apply: (level, epoch) => terminators.setPosture(level, epoch) },
    sessionLayer: [
      {
        name: 'sessions',
        // What the level ends is taken away while terminators say the last words: their clients do not hold that up.
        apply: () => {
          lastWords = terminators.judgeSessions();
        },
      },
      // All of them at once, before the sessions they belong to are come to one by one.
      { name: 'lockdown of tunnels', apply: (level) => (level === 1 ? overlay?.close() : undefined) },
      { name: 'ends', apply: () => overseer.postureChanged() },
      { name: 'tunnels', apply: (level) => (level === 1 ? undefined : overlay?.reopen(level)) },
      // While the last words are said.
      { name: 'snapshot of routes', apply: (level) => routes?.takeSnapshot(level) },
      // They go over what the routes lead to.
      { name: 'last words', apply: () => lastWords },
      { name: 'routes', apply: (level) => routes?.apply(level) },
      { name: 'mesh', apply: (level) => (level > 1 ? mesh.nudge() : undefined) },
    ],
  };
}
