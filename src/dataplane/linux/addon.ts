/** The privileged addon, loaded once. The drivers of this folder are the only code that calls it. */
import { createRequire } from 'node:module';
import { fileURLToPath } from 'node:url';
import type * as Addon from '../../../native/kernel/kernel.d.ts';
import { ShellstreamError } from '../../../protocol/errors.ts';

/** Where the build puts it (native/build.sh). */
const KERNEL_ADDON = fileURLToPath(new URL('../../../native/kernel/kernel.node', import.meta.url));

let loaded: typeof Addon | undefined;

/** Throws INTERNAL when the addon is not built or does not fit this machine. */
export function kernelAddon(): typeof Addon {
  try {
    loaded ??= createRequire(import.meta.url)(KERNEL_ADDON) as typeof Addon;
    return loaded;
  } catch (cause) {
    throw new ShellstreamError('INTERNAL', 'the native kernel addon does not load', { cause });
  }
}
