/**
 * A document that extends an accord, laid over it. It may make anything stricter and nothing looser; only where the
 * accord leaves its site sections open does it bring targets, advertise and tiers of its own.
 */
import { type Capability, MODES, SESSION_TYPES, TIERS } from '../capability/model.ts';
import type { Accord, CapabilityTable, SessionTypeRule } from './accord.ts';
import type { AccordProblem } from './accord-rules.ts';
import type { ExtendingAccordDocument } from './accord-schema.ts';
import { POSTURE_LEVELS, type PostureLevel } from './level.ts';
import { type LevelRules, looserRules, overlayRules } from './level-rules.ts';
import { isAdvertiseWithin, isTargetWithin, isTierRuleWithin, isWhoWithin } from './within.ts';

export type Tightened =
  | { readonly kind: 'tightened'; readonly accord: Accord }
  | { readonly kind: 'wider'; readonly problems: readonly AccordProblem[] };

export function tighten(base: Accord, overlay: ExtendingAccordDocument): Tightened {
  const problems = [
    ...headingProblems(base, overlay),
    ...levelProblems(base, overlay),
    ...capabilityProblems(base, overlay),
    ...sessionTypeProblems(base, overlay),
    ...(base.siteSections === 'open' ? [] : siteProblems(base, overlay)),
  ];
  return problems.length > 0 ? { kind: 'wider', problems } : { kind: 'tightened', accord: merged(base, overlay) };
}

function merged(base: Accord, overlay: ExtendingAccordDocument): Accord {
  const open = base.siteSections === 'open';
  return {
    id: overlay.id,
    extends: base.id,
    serial: overlay.serial,
    signer: overlay.signer,
    minimumVersion: overlay.minimumVersion,
    siteSections: overlay.siteSections,
    levels: mergedLevels(base, overlay),
    capabilities: mergedCapabilities(base, overlay),
    sessionTypes: mergedSessionTypes(base, overlay),
    drainMs: overlay.drainMilliseconds ?? base.drainMs,
    targets: overlay.targets ?? base.targets,
    advertise: overlay.advertise ?? base.advertise,
    // Of several tier rules the lowest holds: added to those of a closed accord they only take away.
    tiers: {
      assigned: [...(open ? [] : base.tiers.assigned), ...(overlay.tiers?.assigned ?? [])],
      ceilings: [...(open ? [] : base.tiers.ceilings), ...(overlay.tiers?.ceilings ?? [])],
    },
    // One more never loosens: of several sources the strictest governs.
    timers: [...base.timers, ...overlay.timers],
  };
}

function headingProblems(base: Accord, overlay: ExtendingAccordDocument): AccordProblem[] {
  const problems: AccordProblem[] = [];
  if (overlay.minimumVersion < base.minimumVersion) {
    problems.push({ path: ['minimumVersion'], text: `lower than ${base.minimumVersion} of ${base.id}` });
  }
  if (overlay.siteSections === 'open' && base.siteSections === 'closed') {
    problems.push({ path: ['siteSections'], text: `closed by ${base.id}` });
  }
  for (const [at, { name }] of overlay.timers.entries()) {
    // Under one name it would speak for the other, and could take back what that one asks for.
    if (base.timers.some((timer) => timer.name === name)) {
      problems.push({ path: ['timers', at, 'name'], text: `a timer of ${base.id}` });
    }
  }
  if (overlay.drainMilliseconds !== undefined && overlay.drainMilliseconds > base.drainMs) {
    problems.push({ path: ['drainMilliseconds'], text: `longer than ${base.drainMs} of ${base.id}` });
  }
  return problems;
}

function levelProblems(base: Accord, overlay: ExtendingAccordDocument): AccordProblem[] {
  return POSTURE_LEVELS.flatMap((level) =>
    looserRules(overlay.levels?.[level] ?? {}, base.levels[level]).map(({ area, name }) => ({
      path: ['levels', level, area, name],
      text: `looser than in ${base.id}`,
    })),
  );
}

function capabilityProblems(base: Accord, overlay: ExtendingAccordDocument): AccordProblem[] {
  const problems: AccordProblem[] = [];
  for (const mode of MODES) {
    for (const tier of TIERS) {
      for (const level of POSTURE_LEVELS) {
        const given = base.capabilities[mode][tier][level];
        const added = overlay.capabilities?.[mode]?.[tier]?.[level]?.filter((one) => !given.includes(one)) ?? [];
        if (added.length === 0) continue;
        problems.push({ path: ['capabilities', mode, tier, level], text: `${added.join(', ')} not in ${base.id}` });
      }
    }
  }
  return problems;
}

function sessionTypeProblems(base: Accord, overlay: ExtendingAccordDocument): AccordProblem[] {
  const problems: AccordProblem[] = [];
  for (const type of SESSION_TYPES) {
    const rule = base.sessionTypes[type];
    const change = overlay.sessionTypes?.[type];
    const path = ['sessionTypes', type];
    if (change?.modes?.some((mode) => !rule.modes.includes(mode))) {
      problems.push({ path: [...path, 'modes'], text: `a mode that is not in ${base.id}` });
    }
    if (change?.lifetimeSeconds !== undefined && change.lifetimeSeconds * 1000 > rule.lifetimeMs) {
      problems.push({ path: [...path, 'lifetimeSeconds'], text: `longer than in ${base.id}` });
    }
    for (const [at, who] of change?.allow?.entries() ?? []) {
      if (rule.allow.some((allowed) => isWhoWithin(who, allowed))) continue;
      problems.push({ path: [...path, 'allow', at], text: `allows more than ${base.id}` });
    }
  }
  return problems;
}

function siteProblems(base: Accord, overlay: ExtendingAccordDocument): AccordProblem[] {
  const outside = <T>(
    path: readonly PropertyKey[],
    items: readonly T[] | undefined,
    limits: readonly T[],
    isWithin: (item: T, limit: T) => boolean,
  ): AccordProblem[] =>
    [...(items ?? []).entries()]
      .filter(([, item]) => !limits.some((limit) => isWithin(item, limit)))
      .map(([at]) => ({ path: [...path, at], text: `lies in no entry of ${base.id}` }));
  return [
    ...outside(['targets'], overlay.targets, base.targets, isTargetWithin),
    ...outside(['advertise'], overlay.advertise, base.advertise, isAdvertiseWithin),
    ...outside(['tiers', 'assigned'], overlay.tiers?.assigned, base.tiers.assigned, isTierRuleWithin),
    ...outside(['tiers', 'ceilings'], overlay.tiers?.ceilings, base.tiers.ceilings, isTierRuleWithin),
  ];
}

function mergedLevels(base: Accord, overlay: ExtendingAccordDocument): Accord['levels'] {
  const at = (level: PostureLevel): LevelRules => overlayRules(base.levels[level], overlay.levels?.[level] ?? {});
  return { 5: at(5), 4: at(4), 3: at(3), 2: at(2), 1: at(1) };
}

function mergedCapabilities(base: Accord, overlay: ExtendingAccordDocument): CapabilityTable {
  const ofMode = (mode: (typeof MODES)[number]): CapabilityTable[typeof mode] => {
    const ofTier = (tier: (typeof TIERS)[number]): Readonly<Record<PostureLevel, readonly Capability[]>> => {
      const at = (level: PostureLevel): readonly Capability[] =>
        overlay.capabilities?.[mode]?.[tier]?.[level] ?? base.capabilities[mode][tier][level];
      return { 5: at(5), 4: at(4), 3: at(3), 2: at(2), 1: at(1) };
    };
    return {
      apprentice: ofTier('apprentice'),
      journeyman: ofTier('journeyman'),
      master: ofTier('master'),
      site_owner: ofTier('site_owner'),
    };
  };
  return { overlay: ofMode('overlay'), underlay: ofMode('underlay') };
}

function mergedSessionTypes(base: Accord, overlay: ExtendingAccordDocument): Accord['sessionTypes'] {
  const of = (type: (typeof SESSION_TYPES)[number]): SessionTypeRule => {
    const rule = base.sessionTypes[type];
    const change = overlay.sessionTypes?.[type];
    return {
      modes: change?.modes ?? rule.modes,
      lifetimeMs: change?.lifetimeSeconds === undefined ? rule.lifetimeMs : change.lifetimeSeconds * 1000,
      allow: change?.allow ?? rule.allow,
    };
  };
  return {
    management: of('management'),
    'incident-response': of('incident-response'),
    'health-monitoring': of('health-monitoring'),
    operator: of('operator'),
    workload: of('workload'),
    mesh: of('mesh'),
  };
}
