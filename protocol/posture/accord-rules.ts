/**
 * What must hold inside an accord, whoever signed it: levels and tiers only take away, level 1 gives nothing, and the
 * requirements that are no site's to relax.
 */
import { CRITICAL_TYPES, MODES, TIERS } from '../capability/model.ts';
import { isAdvertisable } from '../net/special.ts';
import type { Accord } from './accord.ts';
import { POSTURE_LEVELS, type PostureLevel } from './level.ts';
import { looserRules } from './level-rules.ts';

/** What is wrong, and the path of it in the document. */
export interface AccordProblem {
  readonly path: readonly PropertyKey[];
  readonly text: string;
}

/** The highest protocol version whose rules this code keeps. */
const KNOWN_VERSION = 1;

/** From level 3 down a cached validation opens nothing (S2). */
const FRESH_FROM: PostureLevel = 3;

export function accordProblems(accord: Accord): readonly AccordProblem[] {
  return [
    ...versionProblems(accord),
    ...levelProblems(accord),
    ...lockdownProblems(accord),
    ...capabilityProblems(accord),
    ...siteProblems(accord),
  ];
}

function versionProblems(accord: Accord): AccordProblem[] {
  if (accord.minimumVersion <= KNOWN_VERSION) return [];
  return [{ path: ['minimumVersion'], text: `needs version ${accord.minimumVersion}, this is ${KNOWN_VERSION}` }];
}

function levelProblems({ levels }: Accord): AccordProblem[] {
  const problems: AccordProblem[] = [];
  for (const level of POSTURE_LEVELS) {
    const above = levelAbove(level);
    const looser = above === undefined ? [] : looserRules(levels[level], levels[above]);
    for (const { area, name } of looser) {
      problems.push({ path: ['levels', level, area, name], text: `looser than at level ${above}` });
    }
    if (level <= FRESH_FROM && levels[level].handshake.sat !== 'fresh') {
      problems.push({
        path: ['levels', level, 'handshake', 'sat'],
        text: `must be fresh from level ${FRESH_FROM} down`,
      });
    }
  }
  const nonCritical = levels[2].handshake.types.filter((type) => type !== 'mesh' && !CRITICAL_TYPES.has(type));
  if (nonCritical.length > 0) {
    problems.push({ path: ['levels', 2, 'handshake', 'types'], text: `not critical: ${nonCritical.join(', ')}` });
  }
  return problems;
}

function lockdownProblems({ levels, capabilities }: Accord): AccordProblem[] {
  const { overlay, handshake, underlay, dataPlane } = levels[1];
  const must: readonly (readonly [boolean, readonly PropertyKey[], string])[] = [
    [handshake.remote === 'refused', ['handshake', 'remote'], 'must be refused'],
    [handshake.types.length === 0, ['handshake', 'types'], 'must be empty'],
    [overlay.tunnels === 'none', ['overlay', 'tunnels'], 'must be none'],
    [overlay.sessions === 'end-remote', ['overlay', 'sessions'], 'must be end-remote'],
    [underlay.execute === 'nobody', ['underlay', 'execute'], 'must be nobody'],
    [dataPlane.rules === 'allowlist-only', ['dataPlane', 'rules'], 'must be allowlist-only'],
  ];
  const problems: AccordProblem[] = must
    .filter(([holds]) => !holds)
    .map(([, path, text]) => ({ path: ['levels', 1, ...path], text: `${text} at level 1` }));
  for (const mode of MODES) {
    for (const tier of TIERS) {
      if (capabilities[mode][tier][1].length > 0) {
        problems.push({ path: ['capabilities', mode, tier, 1], text: 'must be empty at level 1' });
      }
    }
  }
  return problems;
}

function capabilityProblems({ capabilities, levels }: Accord): AccordProblem[] {
  const problems: AccordProblem[] = [];
  for (const mode of MODES) {
    for (const [rank, tier] of TIERS.entries()) {
      const lowerTier = TIERS[rank - 1];
      for (const level of POSTURE_LEVELS) {
        const path = ['capabilities', mode, tier, level];
        const given = capabilities[mode][tier][level];
        const above = levelAbove(level);
        const added = above === undefined ? [] : given.filter((one) => !capabilities[mode][tier][above].includes(one));
        if (added.length > 0) problems.push({ path, text: `${added.join(', ')} not given at level ${above}` });
        const lost =
          lowerTier === undefined ? [] : capabilities[mode][lowerTier][level].filter((c) => !given.includes(c));
        if (lost.length > 0) problems.push({ path, text: `${lost.join(', ')} given to ${lowerTier}, but not here` });
        const gate = levels[level].underlay.execute;
        if (mode === 'underlay' && given.length > 0 && (gate === 'nobody' || rank < TIERS.indexOf(gate))) {
          problems.push({ path, text: `levels.${level}.underlay.execute lets only ${gate} in` });
        }
      }
    }
  }
  return problems;
}

function siteProblems({ targets, advertise }: Accord): AccordProblem[] {
  const problems: AccordProblem[] = [];
  const names = new Set<string>();
  for (const [at, { name }] of targets.entries()) {
    if (names.has(name)) problems.push({ path: ['targets', at, 'name'], text: `${name} is there twice` });
    names.add(name);
  }
  for (const [at, rule] of advertise.entries()) {
    for (const [index, prefix] of rule.prefixes.entries()) {
      if (isAdvertisable(prefix)) continue;
      const path = ['advertise', at, 'prefixes', index];
      problems.push({ path, text: 'no default route, loopback, link-local, multicast or nearly everything' });
    }
  }
  return problems;
}

function levelAbove(level: PostureLevel): PostureLevel | undefined {
  return POSTURE_LEVELS[POSTURE_LEVELS.indexOf(level) - 1];
}
