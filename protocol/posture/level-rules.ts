/**
 * What one posture level says, area by area: the columns of the requirements' tables P1 to P6 as typed settings.
 * The values are data (`protocol/accords/default.yaml`); here stand only their kinds and which way is stricter.
 */
import { z } from 'zod';
import { SESSION_TYPES, TARGET_CLASSES, type Tier } from '../capability/model.ts';
import { atLeast, atMost, flag, type RuleField, scale, subset } from './rule-field.ts';

/** The lowest tier that may; `nobody`: none may. */
const gate = (): RuleField<Tier | 'nobody'> => scale('apprentice', 'journeyman', 'master', 'site_owner', 'nobody');

/** What P6 asks of a data plane, the loosest first; the governance page tells them by number, from 1. */
export const DATA_PLANE_RULES = [
  'standard',
  'deep-classification',
  'inter-zone-deprioritised',
  'critical-only',
  'allowlist-only',
] as const;
export type DataPlaneRules = (typeof DATA_PLANE_RULES)[number];

export const LEVEL_FIELDS = {
  /** P1: the mesh between sites. */
  overlay: {
    tunnels: scale('all', 'management', 'none'),
    anchors: scale('connected', 'disconnected'),
    /** What entering the level does to live sessions that it does not fully allow. */
    sessions: scale('keep', 'drain-wider', 'end-non-critical', 'end-remote'),
    isolation: scale('none', 'isolated'),
    keepaliveSeconds: atMost(1, 120),
    healthCheckSeconds: atMost(1, 300),
  },
  /** P2: mutations of the physical infrastructure. */
  underlay: {
    execute: gate(),
    /** Proposals handed in outside a session, each with its RequestToken. */
    proposals: gate(),
    changes: scale('all', 'pre-approved-emergency', 'none'),
    compiler: scale('open', 'frozen'),
    vlans: scale('all', 'monitoring'),
    driftCheckSeconds: atMost(1, 86_400),
  },
  /** P3 */
  handshake: {
    remote: scale('open', 'refused'),
    sat: scale('cached', 'fresh'),
    types: subset(SESSION_TYPES),
    logEverySession: flag(),
  },
  /** P4: whose routes stand, by the class of what they lead to. */
  routes: {
    overlay: subset(TARGET_CLASSES),
    underlay: subset(TARGET_CLASSES),
    /** The lowest tier whose workloads keep underlay routes. */
    underlayWorkloads: gate(),
  },
  /** P5 */
  notarisation: {
    transitPercent: atLeast(0, 100),
    mutationPercent: atLeast(0, 100),
    anchoring: scale('batched', 'at-once', 'per-record'),
    payload: scale('none', 'full-hash'),
    frameHeaders: flag(),
  },
  /** P6: what the governance page asks of a user-space data plane. */
  dataPlane: {
    rules: scale(...DATA_PLANE_RULES),
  },
} as const;

type Fields = typeof LEVEL_FIELDS;
export type Area = keyof Fields;

type ValueOf<Field> = Field extends RuleField<infer Value> ? Value : never;

/** All settings of one level. */
export type LevelRules = {
  readonly [A in Area]: { readonly [Name in keyof Fields[A]]: ValueOf<Fields[A][Name]> };
};

/** The same with any of them left out: what an overlay changes. */
export type PartialLevelRules = {
  readonly [A in Area]?: { readonly [Name in keyof Fields[A]]?: ValueOf<Fields[A][Name]> | undefined } | undefined;
};

// The casts tie schemas, built from the table in a loop, to the types derived from the same table.
export const levelRulesSchema = z.strictObject(
  mapValues(LEVEL_FIELDS, (fields: FieldTable) => z.strictObject(mapValues(fields, (field) => field.schema))),
) as unknown as z.ZodType<LevelRules>;

export const partialLevelRulesSchema = z.strictObject(
  mapValues(LEVEL_FIELDS, (fields: FieldTable) =>
    z.strictObject(mapValues(fields, (field) => field.schema.optional())).optional(),
  ),
) as unknown as z.ZodType<PartialLevelRules>;

/** A setting that is looser than it may be. */
export interface LooserRule {
  readonly area: Area;
  readonly name: string;
}

/** The settings of `rules` that are looser than those of `than`; none: it is as strict everywhere. */
export function looserRules(rules: PartialLevelRules, than: LevelRules): readonly LooserRule[] {
  return AREAS.flatMap((area) => {
    const fields: FieldTable = LEVEL_FIELDS[area];
    const values: Readonly<Record<string, unknown>> = rules[area] ?? {};
    const limits: Readonly<Record<string, unknown>> = than[area];
    return Object.entries(fields)
      .filter(([name, field]) => values[name] !== undefined && !field.isAsStrict(values[name], limits[name]))
      .map(([name]) => ({ area, name }));
  });
}

/** `rules` with the settings of `changes` in their place. */
export function overlayRules(rules: LevelRules, changes: PartialLevelRules): LevelRules {
  const areas = AREAS.map((area) => [area, { ...rules[area], ...definedOnly(changes[area] ?? {}) }]);
  return Object.fromEntries(areas) as unknown as LevelRules;
}

export const AREAS = Object.keys(LEVEL_FIELDS) as readonly Area[];

/** Fields of mixed kinds; both values given to one of them have passed its own schema. */
type FieldTable = Readonly<Record<string, RuleField<unknown>>>;

function definedOnly(values: object): object {
  return Object.fromEntries(Object.entries(values).filter(([, value]) => value !== undefined));
}

function mapValues<In, Out>(table: Readonly<Record<string, In>>, map: (value: In) => Out): Record<string, Out> {
  return Object.fromEntries(Object.entries(table).map(([name, value]) => [name, map(value)]));
}
