/** What is kept of governed routes, in three files: the routes, the snapshot of a transition, and the proposals. */
import { open, readFile, rm } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { z } from 'zod';
import { TARGET_CLASSES, TIERS } from '../../protocol/capability/model.ts';
import { parsed, prefixField } from '../../protocol/document/fields.ts';
import { ShellstreamError } from '../../protocol/errors.ts';
import { formatAddress, tryParseAddress } from '../../protocol/net/address.ts';
import { formatPrefix } from '../../protocol/net/prefix.ts';
import type { PostureLevel } from '../../protocol/posture/level.ts';
import { ROUTE_ACTIONS, type RouteSpec } from '../../protocol/routes/index.ts';
import { syncFolder, writeDurably } from '../evidence/files.ts';
import { type Kept, PROPOSAL_STATES, RECORD_STATES, type UnderlayRecords } from './ports.ts';

type Sha256 = (bytes: Uint8Array) => Uint8Array;

/** @param folder it is there */
export async function openUnderlayRecords(folder: string, sha256: Sha256): Promise<UnderlayRecords> {
  const file = <T>(name: string, schema: z.ZodType<T>): Promise<Kept<T>> =>
    openChecked({ path: join(folder, name), sha256, schema });
  return {
    routes: await file('routes.json', z.array(routeRecord).max(MAX_ROUTES)),
    snapshot: await file('routes-snapshot.json', snapshot),
    proposals: await file('route-proposals.json', proposals),
  };
}

/** Nothing was kept, and nothing is. */
export const FORGETFUL: UnderlayRecords = {
  routes: { value: undefined, save: async () => {} },
  snapshot: { value: undefined, save: async () => {} },
  proposals: { value: undefined, save: async () => {} },
};

export const MAX_ROUTES = 16_384;
export const MAX_TOKENS = 1_024;
export const MAX_PROPOSALS = 512;
export const MAX_STAGES = 64;
/** Above what that many routes take. */
const MAX_BYTES = 32 * 1024 * 1024;

interface CheckedFile<T> {
  readonly path: string;
  readonly sha256: Sha256;
  readonly schema: z.ZodType<T>;
}

/** A checksum in hex, a line feed, and JSON: a bit that fell over must not make a route somebody else's. */
async function openChecked<T>({ path, sha256, schema }: CheckedFile<T>): Promise<Kept<T>> {
  const checksum = (json: string): string => Buffer.from(sha256(Buffer.from(json))).toString('hex');
  let last: Promise<unknown> = Promise.resolve();
  const save = (value: T | undefined): Promise<void> => {
    const saved = last.then(async () => {
      if (value === undefined) {
        await rm(path, { force: true });
        return await syncFolder(dirname(path));
      }
      const json = `${JSON.stringify(value, plain)}\n`;
      await writeDurably(path, Buffer.from(`${checksum(json)}\n${json}`), { mode: 0o600 });
    });
    last = saved.catch(() => undefined);
    return saved;
  };
  try {
    const [sum = '', ...rest] = new TextDecoder().decode(await readBounded(path)).split('\n');
    const json = rest.join('\n');
    if (sum !== checksum(json)) throw new ShellstreamError('MALFORMED', `${path} is damaged`);
    const parse = schema.safeParse(JSON.parse(json));
    if (!parse.success) throw new ShellstreamError('MALFORMED', `${path} does not fit`);
    return { value: parse.data, save };
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return { value: undefined, save };
    return { value: undefined, problem: error instanceof Error ? error.message : String(error), save };
  }
}

async function readBounded(path: string): Promise<Uint8Array> {
  await using file = await open(path, 'r');
  const { size } = await file.stat();
  if (size > MAX_BYTES) throw new ShellstreamError('MALFORMED', `${path} has ${size} bytes`);
  return await readFile(file);
}

/** Prefixes and addresses as text. */
function plain(_key: string, value: unknown): unknown {
  if (value instanceof Uint8Array) return formatAddress(value);
  if (isPrefix(value)) return formatPrefix(value);
  return value;
}

function isPrefix(value: unknown): value is RouteSpec['destination'] {
  return typeof value === 'object' && value !== null && 'address' in value && value.address instanceof Uint8Array;
}

const id = z.string().regex(/^[0-9a-f]{32}$/);
const level = z.literal([1, 2, 3, 4, 5] as const satisfies readonly PostureLevel[]);
const words = z.string().max(256);
const address = parsed((text) => {
  const bytes = tryParseAddress(text);
  if (bytes === undefined) throw new ShellstreamError('MALFORMED', 'not an address');
  return bytes;
});

const route: z.ZodType<RouteSpec> = z.strictObject({
  destination: prefixField,
  link: z.string().min(1).max(15),
  gateway: address.optional(),
  table: z.int().min(1).max(4_294_967_295),
  metric: z.int().min(0).max(4_294_967_295).optional(),
});
const owner = z.strictObject({ subject: z.string().min(1).max(2_048), tier: z.enum(TIERS) });
const targetClass = z.enum(TARGET_CLASSES);

const routeRecord = z.strictObject({
  id,
  state: z.enum(RECORD_STATES),
  route,
  class: targetClass,
  owner,
  reason: words,
  atMs: z.number(),
});

const snapshot = z.strictObject({
  takenAtMs: z.number(),
  routes: z.array(words).max(MAX_ROUTES),
  stages: z
    .array(
      z.strictObject({
        level,
        atMs: z.number(),
        added: z.array(words).max(MAX_ROUTES),
        removed: z.array(words).max(MAX_ROUTES),
      }),
    )
    .max(MAX_STAGES),
});

const proposals = z.strictObject({
  tokens: z
    .array(
      z.strictObject({
        hash: z.string().regex(/^[0-9a-f]{64}$/),
        proposer: owner,
        expiresAtMs: z.number(),
        isSpent: z.boolean(),
      }),
    )
    .max(MAX_TOKENS),
  proposals: z
    .array(
      z.strictObject({
        id,
        change: z.strictObject({ action: z.enum(ROUTE_ACTIONS), route, class: targetClass, reason: words }),
        proposer: owner,
        atMs: z.number(),
        state: z.enum(PROPOSAL_STATES),
        decision: z
          .strictObject({ by: z.string().max(2_048), atMs: z.number(), detail: z.string().max(1_024) })
          .optional(),
      }),
    )
    .max(MAX_PROPOSALS),
});
