import type { Bench } from '../harness.ts';
import { bringBack, takeAway } from './governed.ts';
import { ipBatch, ipRouteRestore } from './iproute2.ts';
import { addRoutes, restoreRoutes } from './ours.ts';

/** Routes: what a mesh puts in place, and what a de-escalation of the posture puts back. */
export async function openRoutes(): Promise<Bench> {
  return {
    figures: [
      { bench: 'routes/lockdown', unit: 'ms', ours: takeAway, peers: [] },
      { bench: 'routes/back', unit: 'ms', ours: bringBack, peers: [] },
      { bench: 'routes/restore', unit: 'ms', ours: restoreRoutes, peers: [ipRouteRestore] },
      { bench: 'routes', unit: 'ms', ours: addRoutes, peers: [ipBatch] },
    ],
    [Symbol.asyncDispose]: () => Promise.resolve(),
  };
}
