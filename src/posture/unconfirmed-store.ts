/** The file behind `ConsoleStatements`. One that cannot be read may have guarded anything: then the console goes back to 2. */
import { readFile, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { z } from 'zod';
import { ShellstreamError } from '../../protocol/errors.ts';
import type { PostureLevel } from '../../protocol/posture/index.ts';
import { syncFolder, writeDurably } from '../evidence/files.ts';
import type { Unconfirmed, UnconfirmedStore } from './console-statements.ts';

export const FORGETFUL: UnconfirmedStore = { kept: undefined, save: async () => undefined };

/** In a folder that is there. */
export async function openUnconfirmedStore(folder: string): Promise<UnconfirmedStore> {
  const path = join(folder, 'unconfirmed.json');
  let last: Promise<unknown> = Promise.resolve();
  return {
    kept: await load(path),
    // One after the other: two consoles may speak at once, and the later word is the one to be kept.
    save: (unconfirmed) => {
      const saved = last.then(async () => {
        if (unconfirmed !== undefined) {
          return await writeDurably(path, Buffer.from(JSON.stringify(unconfirmed)), { mode: 0o600 });
        }
        await rm(path, { force: true });
        await syncFolder(folder);
      });
      last = saved.catch(() => undefined);
      return saved;
    },
  };
}

const statement = {
  level: z.literal([1, 2, 3, 4, 5] as const satisfies readonly PostureLevel[]),
  reason: z.string().max(256),
};
const schema = z.strictObject({
  former: z.strictObject({ ...statement, expiresAtMs: z.number().optional() }),
  tentative: z.strictObject(statement).optional(),
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
