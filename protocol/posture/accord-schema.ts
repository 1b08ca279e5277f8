/** The two forms of an accord document: a whole one, and one that extends another and says only what differs. */
import { z } from 'zod';
import { CAPABILITIES, MODES, SESSION_TYPES, type SessionType, TARGET_CLASSES, TIERS } from '../capability/model.ts';
import { hasPorts, prefixField, protocolField, spiffeIdPatternField } from '../document/fields.ts';
import { ALL_PORTS, type PortRange } from './accord.ts';
import { levelRulesSchema, partialLevelRulesSchema } from './level-rules.ts';
import { timersSchema } from './timer.ts';

/** Sessions attest again at least hourly. */
const LONGEST_LIFETIME_SECONDS = 3600;
/** Draining must leave room in the 5 s that a transition of the overlay may take (P9). */
const LONGEST_DRAIN_MS = 4500;
/** Bounds the work of one decision: targets asked for times rules. */
const MAX_RULES = 1024;
const MAX_ITEMS = 64;

const word = z.string().regex(/^[a-z0-9]([a-z0-9._-]{0,62}[a-z0-9])?$/, 'a name: a-z, 0-9, dot, dash, underscore');
const tier = z.enum(TIERS);
const patterns = z.array(spiffeIdPatternField).min(1).max(MAX_ITEMS);
const prefixes = z.array(prefixField).min(1).max(MAX_ITEMS);
const who = {
  identities: z.union([z.literal('any'), patterns], 'either any, or a list of SPIFFE ID patterns'),
  minimumTier: tier,
};
const sessionTypes = unique(z.enum(SESSION_TYPES));
const capabilities = unique(z.enum(CAPABILITIES));

const portNumber = z.int().min(1).max(65_535);
const portRange = z
  .string()
  .regex(/^[1-9][0-9]{0,4}-[1-9][0-9]{0,4}$/)
  .transform((text): PortRange => {
    const [from = 0, to = 0] = text.split('-').map(Number);
    return { from, to };
  })
  .refine(({ from, to }) => from <= to && to <= 65_535);
const ports = z.union(
  [
    z.literal('any').transform((): PortRange[] => [ALL_PORTS]),
    z
      .array(z.union([portNumber.transform((port): PortRange => ({ from: port, to: port })), portRange]))
      .min(1)
      .max(MAX_ITEMS),
  ],
  'either any, or a list of ports (443) and ranges (8000-8010)',
);

const targetRule = z
  .strictObject({
    name: word,
    class: z.enum(TARGET_CLASSES),
    prefixes,
    protocol: protocolField,
    ports: ports.default([ALL_PORTS]),
    allow: z
      .array(z.strictObject({ ...who, types: sessionTypes.optional() }))
      .min(1)
      .max(MAX_ITEMS),
  })
  .refine(({ protocol, ports }) => hasPorts(protocol) || ports.every((range) => range.from === 0), {
    path: ['ports'],
    error: 'this protocol has no ports',
  });

const tierRule = z
  .strictObject({ identity: spiffeIdPatternField, tier })
  .transform(({ identity, tier }) => ({ pattern: identity, tier }));

const siteSections = {
  targets: z.array(targetRule).max(MAX_RULES),
  advertise: z.array(z.strictObject({ identities: patterns, prefixes })).max(MAX_RULES),
  tiers: z.strictObject({ assigned: z.array(tierRule).max(MAX_RULES), ceilings: z.array(tierRule).max(MAX_RULES) }),
};

const heading = {
  apiVersion: z.literal('shellstream.accord/v1'),
  id: word,
  serial: z.int().min(1),
  signer: word,
  minimumVersion: z.int().min(1),
  siteSections: z.enum(['open', 'closed']),
};

const lifetimeSeconds = z.int().min(60).max(LONGEST_LIFETIME_SECONDS);
const allow = z.array(z.strictObject(who)).max(MAX_ITEMS);
const drainMilliseconds = z.int().min(0).max(LONGEST_DRAIN_MS);
const sessionTypeRule = z.strictObject({ modes: unique(z.enum(MODES)), lifetimeSeconds, allow });

export const wholeAccordSchema = z.strictObject({
  ...heading,
  levels: byLevel(levelRulesSchema),
  capabilities: byMode(byTier(byLevel(capabilities))),
  sessionTypes: bySessionType(sessionTypeRule),
  drainMilliseconds,
  timers: timersSchema.default([]),
  ...siteSections,
});
export type WholeAccordDocument = z.infer<typeof wholeAccordSchema>;

export const extendingAccordSchema = z.strictObject({
  ...heading,
  siteSections: heading.siteSections.default('closed'),
  extends: word,
  levels: byLevel(partialLevelRulesSchema.optional()).optional(),
  capabilities: byMode(byTier(byLevel(capabilities.optional()).optional()).optional()).optional(),
  sessionTypes: bySessionType(sessionTypeRule.partial().optional()).optional(),
  drainMilliseconds: drainMilliseconds.optional(),
  timers: timersSchema.default([]),
  targets: siteSections.targets.optional(),
  advertise: siteSections.advertise.optional(),
  tiers: siteSections.tiers.partial().optional(),
});
export type ExtendingAccordDocument = z.infer<typeof extendingAccordSchema>;

function unique<T extends string>(item: z.ZodType<T>) {
  return z.array(item).refine((list) => new Set(list).size === list.length, 'one of them twice');
}

function byLevel<S extends z.ZodType>(schema: S) {
  return z.strictObject({ 5: schema, 4: schema, 3: schema, 2: schema, 1: schema });
}

function byMode<S extends z.ZodType>(schema: S) {
  return z.strictObject({ overlay: schema, underlay: schema });
}

function byTier<S extends z.ZodType>(schema: S) {
  return z.strictObject({ apprentice: schema, journeyman: schema, master: schema, site_owner: schema });
}

function bySessionType<S extends z.ZodType>(schema: S) {
  return z.strictObject({
    management: schema,
    'incident-response': schema,
    'health-monitoring': schema,
    operator: schema,
    workload: schema,
    mesh: schema,
  } satisfies Record<SessionType, S>);
}
