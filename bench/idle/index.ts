import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Bench } from '../harness.ts';
import { idleSessions } from './ours.ts';

/** Memory of the gateway for a session that does nothing. */
export async function openIdle(): Promise<Bench> {
  const directory = await mkdtemp(join(tmpdir(), 'shs-bench-'));
  return {
    figures: [{ bench: 'idle', unit: 'KiB', ours: idleSessions(directory), peers: [] }],
    [Symbol.asyncDispose]: () => rm(directory, { recursive: true, force: true }),
  };
}
