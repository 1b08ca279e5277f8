/**
 * What each posture level is to outsiders: REQUIREMENTS P1 to P6, row by row, written down by hand and not computed by what
 * it is to check. `outside.ts` says how each of it is seen.
 */
import type { Capability, Mode, SessionType, Tier } from '../../protocol/capability/model.ts';
import type { PostureLevel } from '../../protocol/posture/level.ts';

export interface LevelRow {
  /** P1: whether the tunnel between the sites has its peer, and the anchor its session. */
  readonly mesh: 'connected' | 'disconnected';
  /** P1: to which class of targets packets pass, through the tunnel and as streams of sessions. */
  readonly passes: readonly TargetName[];
  /** P1: whether nothing but monitoring passes on the wire, in any direction. */
  readonly isolated: boolean;
  /** P2: what becomes of a change that a site_owner asks for, not approved beforehand and approved. */
  readonly changes: readonly [Outcome, Outcome];
  /** P2: whose proposals are queued. */
  readonly proposals: readonly Tier[];
  /** P3: whether the token is minted for each handshake, and bound to it. */
  readonly sat: 'cached' | 'fresh' | 'none';
  /** P3: which types may open. */
  readonly types: readonly SessionType[];
  /** P1, P10: what a live session sees of the fall to this level whose type it refuses, whose grant it empties, whose grant is wider than what it gives. */
  readonly farewells: { readonly refused: Farewell; readonly empty: Farewell; readonly wider: Farewell };
  /** P4: which classes of overlay targets have a route at the dialler, which is at this level, too. */
  readonly overlayRoutes: readonly TargetName[];
  /** P4: which routes of the underlay stand. */
  readonly underlayRoutes: readonly RouteName[];
  /** P5: how many of the sessions opened at the level are in the log. */
  readonly notarised: 'some' | 'all';
  /** P6: the number of the rules on the governance page, and what its reader does to flows between zones, ordinary, critical and allowlisted ones. */
  readonly dataPlane: string;
}

/** Reason and deadline of the DRAIN, and the end that follows. */
export type Farewell =
  | 'stays'
  | 'DRAIN POSTURE_DRAIN 4000, POSTURE_DRAIN by the gateway'
  | 'DRAIN POSTURE_END 0, POSTURE_END by the gateway'
  | 'DRAIN POSTURE_ISOLATED 0, POSTURE_ISOLATED by the gateway';

type Outcome = 'done' | 'POSTURE_MODE_NOT_ALLOWED';
export type TargetName = 'ordinary' | 'management' | 'incident' | 'health';
export type RouteName = 'of-master' | 'of-journeyman' | 'management' | 'monitoring';

const CRITICAL: readonly SessionType[] = ['management', 'incident-response', 'health-monitoring'];
const TYPES: readonly SessionType[] = [...CRITICAL, 'operator', 'workload'];
export const TARGET_NAMES: readonly TargetName[] = ['ordinary', 'management', 'incident', 'health'];
export const ROUTES: readonly RouteName[] = ['of-master', 'of-journeyman', 'management', 'monitoring'];
const EVERY_TIER: readonly Tier[] = ['apprentice', 'journeyman', 'master', 'site_owner'];

const DRAINED = 'DRAIN POSTURE_DRAIN 4000, POSTURE_DRAIN by the gateway';
const ENDED = 'DRAIN POSTURE_END 0, POSTURE_END by the gateway';
const ISOLATED = 'DRAIN POSTURE_ISOLATED 0, POSTURE_ISOLATED by the gateway';

/** Who may ask for what, as the default accord has it. */
export const CLASSES: readonly {
  readonly type: SessionType;
  readonly tiers: readonly Tier[];
  readonly modes: readonly Mode[];
}[] = [
  { type: 'management', tiers: ['master', 'site_owner'], modes: ['overlay', 'underlay'] },
  { type: 'incident-response', tiers: ['journeyman', 'master', 'site_owner'], modes: ['overlay', 'underlay'] },
  { type: 'health-monitoring', tiers: EVERY_TIER, modes: ['overlay'] },
  { type: 'operator', tiers: EVERY_TIER, modes: ['overlay', 'underlay'] },
  { type: 'workload', tiers: EVERY_TIER, modes: ['overlay', 'underlay'] },
];

const FIVE: LevelRow = {
  mesh: 'connected',
  passes: TARGET_NAMES,
  isolated: false,
  changes: ['done', 'done'],
  proposals: EVERY_TIER,
  sat: 'cached',
  types: TYPES,
  farewells: { refused: 'stays', empty: 'stays', wider: 'stays' },
  overlayRoutes: TARGET_NAMES,
  underlayRoutes: ROUTES,
  notarised: 'some',
  dataPlane: 'rules 1 actions 1 1 1 1',
};

export const LEVELS: Readonly<Record<PostureLevel, LevelRow>> = {
  5: FIVE,
  4: { ...FIVE, dataPlane: 'rules 2 actions 3 3 3 1' },
  3: {
    ...FIVE,
    sat: 'fresh',
    farewells: { refused: 'stays', empty: DRAINED, wider: DRAINED },
    underlayRoutes: ['of-master', 'management', 'monitoring'],
    notarised: 'all',
    dataPlane: 'rules 3 actions 7 3 3 1',
  },
  2: {
    mesh: 'connected',
    passes: ['management', 'incident', 'health'],
    isolated: false,
    changes: ['POSTURE_MODE_NOT_ALLOWED', 'done'],
    proposals: ['site_owner'],
    sat: 'fresh',
    types: CRITICAL,
    farewells: { refused: ENDED, empty: DRAINED, wider: 'stays' },
    overlayRoutes: ['management', 'incident', 'health'],
    underlayRoutes: ['management', 'monitoring'],
    notarised: 'all',
    dataPlane: 'rules 4 actions 0 0 3 1',
  },
  1: {
    mesh: 'disconnected',
    passes: [],
    isolated: true,
    changes: ['POSTURE_MODE_NOT_ALLOWED', 'POSTURE_MODE_NOT_ALLOWED'],
    proposals: [],
    sat: 'none',
    types: [],
    farewells: { refused: ISOLATED, empty: ISOLATED, wider: ISOLATED },
    overlayRoutes: [],
    underlayRoutes: ['monitoring'],
    notarised: 'all',
    dataPlane: 'rules 5 actions 0 0 0 1',
  },
};

const LOOK: readonly Capability[] = ['OBSERVE'];
const REACH: readonly Capability[] = [...LOOK, 'CONNECT'];
const SHELL: readonly Capability[] = [...REACH, 'SHELL'];
const WORK: readonly Capability[] = ['PROPOSE', 'EXECUTE'];

type GivenAt = Readonly<Record<PostureLevel, readonly Capability[]>>;

/** P2, P3: what a session of a tier is granted that asks for everything. An empty list is a refusal. */
export const GIVEN: Readonly<Record<Mode, Readonly<Record<Tier, GivenAt>>>> = {
  overlay: {
    apprentice: { 5: [...REACH, 'PROPOSE'], 4: [...REACH, 'PROPOSE'], 3: REACH, 2: LOOK, 1: [] },
    journeyman: { 5: [...SHELL, 'PROPOSE'], 4: [...SHELL, 'PROPOSE'], 3: SHELL, 2: REACH, 1: [] },
    master: { 5: [...SHELL, ...WORK], 4: [...SHELL, ...WORK], 3: [...SHELL, ...WORK], 2: SHELL, 1: [] },
    site_owner: fourTimes([...SHELL, ...WORK, 'ADMIN']),
  },
  underlay: {
    apprentice: { 5: [], 4: [], 3: [], 2: [], 1: [] },
    journeyman: { 5: WORK, 4: WORK, 3: [], 2: [], 1: [] },
    master: { 5: WORK, 4: WORK, 3: WORK, 2: [], 1: [] },
    site_owner: fourTimes(WORK),
  },
};

function fourTimes(given: readonly Capability[]): GivenAt {
  return { 5: given, 4: given, 3: given, 2: given, 1: [] };
}
