/** The file behind `ConsoleStatements`. One that cannot be read may have guarded anything: then the console goes back to 2. */
import { readFile, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { z } from 'zod';
import { ShellstreamError } from '../../protocol/errors.ts';
import type { PostureLevel } from '../../protocol/posture/index.ts';
import { writeDurably } from '../evidence/files.ts';
import type { Unconfirmed, UnconfirmedStore } from './console-statements.ts';

export const FORGETFUL: UnconfirmedStore = { kept: undefined, save: async () => undefined };

/** In a folder that is there. */
export async function openUnconfirmedStore(folder: string): Promise<UnconfirmedStore> {
  const path = join(folder, 'unconfirmed.json');
  return {
    kept: await load(path),
    save: async (unconfirmed) => {
      if (unconfirmed === undefined) await rm(path, { force: true });
      else await writeDurably(path, Buffer.from(JSON.stringify(unconfirmed)), { mode: 0o600 });
    },
  };
}

const schema = z.strictObject({
  former: z.strictObject({
    level: z.literal([1, 2, 3, 4, 5] as const satisfies readonly PostureLevel[]),
    reason: z.string().max(256),
    expiresAtMs: z.number().optional(),
  }),
  untilMs: z.number(),
  withinMs: z.number().min(0),
});

const UNREADABLE: Unconfirmed = {
  former: { level: 2, reason: 'what the console said before cannot be read' },
  untilMs: 0,
  withinMs: 0,
};

async function load(path: string): Promise<Unconfirmed | undefined> {
  try {
    return schema.parse(JSON.parse(await readFile(path, 'utf8')));
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return undefined;
    if (error instanceof z.ZodError || error instanceof SyntaxError) return UNREADABLE;
    throw new ShellstreamError('INTERNAL', `${path} cannot be read`, { cause: error });
  }
}
