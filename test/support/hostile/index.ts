/** Programs that attack: each a process of its own, with a valid SVID and our code bent where it cheats. */
import { fileURLToPath } from 'node:url';
import type { Site } from '../../lab/site.ts';
import type { Running } from '../processes.ts';

export type Attack = 'stolen-token' | 'rogue-responder' | 'crowd' | 'never-reads' | 'tokens' | 'flapping';

/** How a visit to a gateway ended. */
export interface Verdict {
  readonly outcome: 'granted' | 'refused';
  readonly reason?: string;
}

/** Starts one in a site's network. */
export function startHostile(site: Site, attack: Attack, options: object): Running {
  const program = fileURLToPath(new URL(`children/${attack}.ts`, import.meta.url));
  return site.inside(process.execPath, [program, JSON.stringify(options)]);
}

/** Runs one to its end; what it says last. */
export async function runHostile(site: Site, attack: Attack, options: object): Promise<Verdict> {
  await using running = startHostile(site, attack, options);
  const { stdout, stderr } = await running.finished;
  const last = stdout.trim().split('\n').at(-1) ?? '';
  if (!last.startsWith('{')) throw new Error(`${attack} said nothing: ${stderr}`);
  return JSON.parse(last);
}
