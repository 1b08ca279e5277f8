/**
 * What the posture's sources say, and which level follows. Each source holds one statement at a time; the most
 * restrictive of those that count governs. Values only: whoever keeps them on disk writes them down as they are.
 */
import { mostRestrictive, NORMAL, type PostureLevel } from './level.ts';

export interface Statement {
  /** `map`, `console`, `bascule`, an accord timer's name. */
  readonly source: string;
  readonly level: PostureLevel;
  /** Of this source alone; grows with each statement, so that an old one cannot be played again. */
  readonly epoch: bigint;
  /** Milliseconds of wall time; undefined: it stands until the source says otherwise. */
  readonly expiresAt?: number | undefined;
  readonly reason?: string | undefined;
}

export interface Held {
  readonly statement: Statement;
  /** Statements up to this epoch do not count: a site_owner at the local console said so. */
  readonly setAsideThrough?: bigint | undefined;
}

/** By source. Expired statements stay: their epochs are what makes a replay stale. */
export type Statements = ReadonlyMap<string, Held>;

export const NO_STATEMENTS: Statements = new Map();

export type Stated =
  | { readonly kind: 'accepted'; readonly statements: Statements }
  | { readonly kind: 'stale'; readonly heldEpoch: bigint };

/** Takes a source's new statement; one whose epoch is not above the last is stale, whatever its level. */
export function state(statements: Statements, statement: Statement): Stated {
  const held = statements.get(statement.source);
  if (held !== undefined && statement.epoch <= held.statement.epoch) {
    return { kind: 'stale', heldEpoch: held.statement.epoch };
  }
  return { kind: 'accepted', statements: withHeld(statements, { ...held, statement }) };
}

export type SetAside =
  | { readonly kind: 'set-aside'; readonly statements: Statements }
  | { readonly kind: 'unknown-source' }
  /** Nothing may silence a source for what it has not said yet. */
  | { readonly kind: 'not-said-yet'; readonly heldEpoch: bigint };

/** Lets one source's statements up to `through` not count. Its next one counts again. */
export function setAside(statements: Statements, source: string, through: bigint): SetAside {
  const held = statements.get(source);
  if (held === undefined) return { kind: 'unknown-source' };
  const heldEpoch = held.statement.epoch;
  if (through > heldEpoch) return { kind: 'not-said-yet', heldEpoch };
  const already = held.setAsideThrough ?? through;
  const setAsideThrough = already > through ? already : through;
  return { kind: 'set-aside', statements: withHeld(statements, { ...held, setAsideThrough }) };
}

export interface EffectiveLevel {
  readonly level: PostureLevel;
  /** The sources that hold it there; empty: none says anything, and the level is normal. */
  readonly heldBy: readonly string[];
  /** When it must be looked at again, milliseconds of wall time; undefined: only a statement changes it. */
  readonly nextExpiry: number | undefined;
}

/** The level at wall time `now`: the most restrictive of the statements that count. */
export function effectiveLevel(statements: Statements, now: number): EffectiveLevel {
  const counting = [...statements.values()].filter((held) => counts(held, now)).map((held) => held.statement);
  const level = mostRestrictive(NORMAL, ...counting.map((statement) => statement.level));
  const expiries = counting.flatMap((statement) => statement.expiresAt ?? []);
  return {
    level,
    heldBy: counting.filter((statement) => statement.level === level).map((statement) => statement.source),
    nextExpiry: expiries.length === 0 ? undefined : Math.min(...expiries),
  };
}

/** Whether a statement has its say at wall time `now`. */
export function counts({ statement, setAsideThrough }: Held, now: number): boolean {
  const isSetAside = setAsideThrough !== undefined && statement.epoch <= setAsideThrough;
  return !isSetAside && (statement.expiresAt === undefined || now < statement.expiresAt);
}

function withHeld(statements: Statements, held: Held): Statements {
  return new Map(statements).set(held.statement.source, held);
}
