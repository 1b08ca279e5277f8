/**
 * Holds on disk: an anchor that restarts, or whose host does, still holds. A record that cannot be read may have held
 * anybody: what it means is `Holds`' to say.
 */
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { z } from 'zod';
import { spiffeIdField } from '../../protocol/document/fields.ts';
import { ShellstreamError } from '../../protocol/errors.ts';
import { HOLD_CAUSES, type Hold } from '../../protocol/hold/index.ts';
import { writeDurably } from '../evidence/files.ts';

export interface KeptHolds {
  readonly holds: readonly Hold[];
  /** Signed releases that were used, until they expire by themselves. */
  readonly spent: readonly SpentRelease[];
}

export interface SpentRelease {
  readonly hold: string;
  /** Wall time, milliseconds. */
  readonly untilMs: number;
}

export interface HoldStore {
  /** Resolves when it is durable. */
  save(kept: KeptHolds): Promise<void>;
}

export interface OpenedHolds {
  readonly store: HoldStore;
  readonly kept: KeptHolds;
  /** Why the record could not be read; `kept` is empty then. */
  readonly problem?: string;
}

export const NOTHING_HELD: KeptHolds = { holds: [], spent: [] };

type Sha256 = (bytes: Uint8Array) => Uint8Array;

/** A store of one file in a folder that is there, and what it holds. */
export async function openHoldStore(folder: string, sha256: Sha256): Promise<OpenedHolds> {
  const path = join(folder, 'holds.json');
  const store: HoldStore = { save: (kept) => writeDurably(path, Buffer.from(text(kept, sha256)), { mode: 0o600 }) };
  try {
    return { store, kept: parse(await readFile(path), sha256) };
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return { store, kept: NOTHING_HELD };
    return { store, kept: NOTHING_HELD, problem: error instanceof Error ? error.message : String(error) };
  }
}

/** A checksum in hex, a line feed, and JSON: a bit that fell over must not turn a hold into none. */
function text({ holds, spent }: KeptHolds, sha256: Sha256): string {
  const record = { version: 1, holds: holds.map((hold) => ({ ...hold, epoch: String(hold.epoch) })), spent };
  const json = `${JSON.stringify(record, undefined, 2)}\n`;
  return `${checksum(json, sha256)}\n${json}`;
}

function parse(bytes: Uint8Array, sha256: Sha256): KeptHolds {
  if (bytes.length > MAX_BYTES) throw new ShellstreamError('MALFORMED', `a record of ${bytes.length} bytes`);
  const [sum = '', ...rest] = new TextDecoder().decode(bytes).split('\n');
  const json = rest.join('\n');
  if (sum !== checksum(json, sha256)) throw new ShellstreamError('MALFORMED', 'the record of holds is damaged');
  const parsed = recordSchema.safeParse(JSON.parse(json));
  if (!parsed.success) throw new ShellstreamError('MALFORMED', 'the record of holds does not fit');
  return { holds: parsed.data.holds, spent: parsed.data.spent };
}

function checksum(json: string, sha256: Sha256): string {
  return Buffer.from(sha256(Buffer.from(json))).toString('hex');
}

/** Above what 1,024 peers and all spent releases take. */
const MAX_BYTES = 16 * 1024 * 1024;

const id = z.string().regex(/^[0-9a-f]{32}$/);
const epoch = z
  .string()
  .regex(/^\d{1,20}$/)
  .transform(BigInt);

const recordSchema = z.strictObject({
  version: z.literal(1),
  holds: z
    .array(
      z.strictObject({
        id,
        peer: spiffeIdField,
        anchor: spiffeIdField,
        cause: z.enum(HOLD_CAUSES),
        epoch,
        sinceMs: z.number(),
        reason: z.string().max(1_024),
      }),
    )
    .max(4_096),
  spent: z.array(z.strictObject({ hold: id, untilMs: z.number() })).max(8_192),
});
