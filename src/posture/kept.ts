/** What is kept of the posture, and its form on disk. */
import { z } from 'zod';
import { ShellstreamError } from '../../protocol/errors.ts';
import type { Held, PostureLevel, Statements } from '../../protocol/posture/index.ts';

export interface KeptPosture {
  readonly statements: Statements;
  /** The node's own epoch when it was written: a later run begins above it, whatever the host's clock says. */
  readonly epoch: bigint;
}

/** Characters; what is longer is cut, as a record with it could not be read. */
const MAX_REASON = 1_024;

export type Sha256 = (bytes: Uint8Array) => Uint8Array;

/** As JSON takes it. */
export function keptDocument({ statements, epoch }: KeptPosture): object {
  return {
    epoch: String(epoch),
    statements: [...statements.values()].map(({ statement, setAsideThrough }) => ({
      ...statement,
      epoch: String(statement.epoch),
      ...(statement.reason === undefined ? {} : { reason: statement.reason.slice(0, MAX_REASON) }),
      ...(setAsideThrough === undefined ? {} : { setAsideThrough: String(setAsideThrough) }),
    })),
  };
}

/** The first `digits` of the SHA-256 in hex: a bit that fell over must not turn a lockdown into something else. */
export function checksum(text: string, sha256: Sha256, digits = 64): string {
  return Buffer.from(sha256(Buffer.from(text)))
    .toString('hex')
    .slice(0, digits);
}

/** With which the names of the accord's timers begin, as sources. */
export const TIMER = 'timer-';

/** An accord and its base have up to 64 timers; map, console, Bascule and the record itself speak, too. */
const MAX_SOURCES = 128;

export const epochSchema = z
  .string()
  .regex(/^\d{1,20}$/)
  .transform(BigInt);
export const levelSchema = z.literal([1, 2, 3, 4, 5] as const satisfies readonly PostureLevel[]);

export const keptFields = {
  epoch: epochSchema,
  statements: z
    .array(
      z.strictObject({
        source: z.string().min(1).max(64),
        level: levelSchema,
        epoch: epochSchema,
        expiresAt: z.number().optional(),
        reason: z.string().max(MAX_REASON).optional(),
        setAsideThrough: epochSchema.optional(),
      }),
    )
    .max(MAX_SOURCES),
};
const keptSchema = z.object(keptFields);

export function keptOf({ epoch, statements }: z.infer<typeof keptSchema>): KeptPosture {
  const held = statements.map(({ setAsideThrough, ...statement }): [string, Held] => [
    statement.source,
    { statement, ...(setAsideThrough === undefined ? {} : { setAsideThrough }) },
  ]);
  return { statements: new Map(held), epoch };
}

/** @throws ShellstreamError MALFORMED, saying what of `what` does not fit */
export function parseDocument<T>(schema: z.ZodType<T>, json: string, what: string): T {
  let document: unknown;
  try {
    document = JSON.parse(json);
  } catch {
    throw new ShellstreamError('MALFORMED', `${what} is no JSON`);
  }
  const parsed = schema.safeParse(document);
  if (!parsed.success) throw new ShellstreamError('MALFORMED', `${what} does not fit`);
  return parsed.data;
}

/** Of each source what it said last, whoever wrote it down; of the same word the later end, for the clock may have been set. */
export function merged(one: KeptPosture, other: KeptPosture): KeptPosture {
  const statements = new Map(one.statements);
  for (const [source, held] of other.statements) {
    const known = statements.get(source);
    if (known === undefined || held.statement.epoch > known.statement.epoch) statements.set(source, held);
    else if (held.statement.epoch === known.statement.epoch) statements.set(source, untilTheLater(known, held));
  }
  return { statements, epoch: later(one.epoch, other.epoch) };
}

function untilTheLater(known: Held, { statement: { expiresAt } }: Held): Held {
  const { statement } = known;
  if (statement.expiresAt === undefined || expiresAt === undefined || expiresAt <= statement.expiresAt) return known;
  return { ...known, statement: { ...statement, expiresAt } };
}

export function later(one: bigint, other: bigint): bigint {
  return one > other ? one : other;
}
