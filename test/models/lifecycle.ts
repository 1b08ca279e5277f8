/** What is asked of `lifecycle/lifecycle.pml`: scenes that must hold, and the same with a part of the code's care left out. */
import type { Change } from './mutant.ts';

/** Who takes part beside one admission; a number says how often at most. */
export type Scene = readonly string[];

export interface LifecycleCase {
  readonly what: string;
  readonly scene: Scene;
  readonly changes: readonly Change[];
  readonly holds: boolean;
}

const NEWER: Scene = ['NEWER', 'POSTURE=2', 'ENDS'];
const RENEWAL_OWN: Scene = ['RENEWAL', 'POSTURE=2', 'ENDS'];
const RENEWAL_PEER: Scene = ['RENEWAL', 'PEER=2', 'ENDS'];
const RENEWAL_BOTH: Scene = ['RENEWAL', 'POSTURE=1', 'PEER=1'];
const SHUTDOWN: Scene = ['NEWER', 'RENEWAL', 'SHUTDOWN'];
const CRASH: Scene = ['NEWER', 'RENEWAL', 'POSTURE=1', 'CRASH'];

const holds = (what: string, scene: Scene): LifecycleCase => ({ what, scene, changes: [], holds: true });
const fails = (what: string, scene: Scene, ...changes: Change[]): LifecycleCase => ({
  what,
  scene,
  changes,
  holds: false,
});
const removed = (text: string): Change => ({ from: text, to: '' });

const REREAD_AT_ADMISSION: Change = { from: 'MIN(level, told[s]) < decided ->', to: 'false ->' };
const JUDGED_AT_OPEN: Change = removed('\t\t\ttoldEpoch[s] = bodyEpoch;\n\t\t\tjudge(s, to, from);\n');

export const LIFECYCLE: readonly LifecycleCase[] = [
  holds('a newer session in the place of the former, posture, an end', NEWER),
  holds('a renewal, own posture, an end', RENEWAL_OWN),
  holds('a renewal, the peer’s posture, an end', RENEWAL_PEER),
  holds('a renewal, posture at both ends', RENEWAL_BOTH),
  holds('shutdown with an admission and a renewal under way', SHUTDOWN),
  holds('crash and restart at any moment', CRASH),
  {
    what: 'posture not read again after an admission: judging at the opening is enough',
    scene: NEWER,
    changes: [REREAD_AT_ADMISSION],
    holds: true,
  },
  fails(
    'posture neither read again after an admission nor judged at the opening',
    NEWER,
    REREAD_AT_ADMISSION,
    JUDGED_AT_OPEN,
  ),
  fails('posture not judged at the opening', NEWER, JUDGED_AT_OPEN),
  fails('the level is published before the data plane has it', NEWER, {
    from: '\t\t\townSlot = next;\n\t\t\tlevel = next;\n',
    to: '\t\t\tlevel = next;\n\t\t\townSlot = next;\n',
  }),
  fails('a step that failed is not undone', NEWER, {
    from: ':: refused = true; route[s] = false; tunnel[s] = false; flow[s] = false',
    to: ':: refused = true',
  }),
  fails('release of the former session forgotten', NEWER, removed('\t\t\tleave(1 - s);\n')),
  fails('the former session not ended when the new one is refused', NEWER, {
    from: ':: superseding -> atomic',
    to: ':: superseding && !refused -> atomic',
  }),
  fails('a former session that was not open yet is not ended', NEWER, {
    from: 'stopping || displaced[s] ->',
    to: 'stopping ->',
  }),
  fails('reopening after level 1 puts no peer back', NEWER, {
    from: 'atomic { !queued; tunnel[0] = member[0]; tunnel[1] = member[1] }',
    to: 'skip',
  }),
  fails('standing not checked after a renewal', RENEWAL_OWN, { from: '!refused && !standing[s] ->', to: 'false ->' }),
  fails('a renewed grant judged from the level of before', RENEWAL_PEER, {
    from: '\t\t\teffective[s] = decided;\n\t\t\tif\n\t\t\t:: bodyEpoch',
    to: '\t\t\tif\n\t\t\t:: bodyEpoch',
  }),
  fails('a renewal puts the level of its own message into the kernel', RENEWAL_PEER, {
    from: ':: bodyLevel < peerSlot[s] -> peerSlot[s] = bodyLevel\n\t\t\t\t:: else\n',
    to: ':: peerSlot[s] = bodyLevel\n',
  }),
  fails('shutdown does not reach a session that opens meanwhile', SHUTDOWN, {
    from: 'stopping || displaced[s] ->',
    to: 'displaced[s] ->',
  }),
  fails('nothing is reset at a start: flows', CRASH, removed('\td_step { flow[0] = false; flow[1] = false };\n')),
  fails('nothing is reset at a start: tunnels', CRASH, removed('\td_step { tunnel[0] = false; tunnel[1] = false };\n')),
  fails('nothing is reset at a start: routes', CRASH, removed('\td_step { route[0] = false; route[1] = false };\n')),
  fails('a lease that does not end with the daemon', CRASH, removed(' lease = false;')),
];
