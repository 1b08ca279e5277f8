import { availableParallelism } from 'node:os';
import { fileURLToPath } from 'node:url';
import type { Config } from '../base/config.ts';
import type { HostOptions } from './terminator-host.ts';

/** This program's entry, sources or build. */
const ENTRY = fileURLToPath(
  new URL(import.meta.url.endsWith('.ts') ? './shellstream.ts' : './shellstream.js', import.meta.url),
);

/** How this host starts its terminators. */
export async function terminatorProcesses({ terminators, instance, log }: Config): Promise<HostOptions> {
  const count = terminators.count === 'auto' ? availableParallelism() : terminators.count;
  const args = [ENTRY, 'terminator', '--instance', instance, '--log-level', log.level];
  return { count, command: { command: process.execPath, args: ['--disable-sigusr1', ...args] } };
}
