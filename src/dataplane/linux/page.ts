/** The governance page: a file that data planes in user space map. Layout: native/kernel/include/governance_state.h. */
import { ShellstreamError } from '../../../protocol/errors.ts';
import { DATA_PLANE_RULES } from '../../../protocol/posture/level-rules.ts';
import type { GovernancePage } from '../ports.ts';
import { kernelAddon } from './native.ts';

/**
 * Opens or creates the page at `path`, mode 0644. Until the first `write` a new page reads as level 1, and so does one
 * whose heartbeat is older than 3 s. DATAPLANE_FAILED when the file is not ours.
 */
export function openGovernancePage(path: string): GovernancePage {
  return attempt(`open the governance page ${path}`, () => {
    const writer = kernelAddon().GovernancePageWriter.open(path);
    return {
      write: ({ level, epoch, rules }) =>
        attempt('write the governance page', () => writer.write(level, epoch, DATA_PLANE_RULES.indexOf(rules) + 1)),
      beat: () => attempt('move the heartbeat', () => writer.beat()),
    };
  });
}

function attempt<T>(what: string, call: () => T): T {
  try {
    return call();
  } catch (cause) {
    const words = cause instanceof Error ? cause.message : String(cause);
    throw new ShellstreamError('DATAPLANE_FAILED', `cannot ${what}: ${words}`, { cause });
  }
}
