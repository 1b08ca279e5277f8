/** The privileged addon, typed as it types itself. The only file of the daemon that loads it. */
import { existsSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import type * as Kernel from '../../../native/kernel/kernel.d.ts';
import { ShellstreamError } from '../../../protocol/errors.ts';

export type KernelAddon = typeof Kernel;
export type { FlowPlane } from '../../../native/kernel/kernel.d.ts';

let loaded: KernelAddon | undefined;

/** Loads once. INTERNAL when the addon was not built or does not fit this machine. */
export function kernelAddon(): KernelAddon {
  if (loaded === undefined) {
    const path = join(nativeFolder(), 'kernel', 'kernel.node');
    try {
      loaded = createRequire(import.meta.url)(path) as KernelAddon;
    } catch (cause) {
      throw new ShellstreamError('INTERNAL', `cannot load ${path}`, { cause });
    }
  }
  return loaded;
}

/** The object file with the eBPF programs; it lies beside the addon, in the checkout and in the package alike. */
export function flowProgramsPath(): string {
  return join(nativeFolder(), 'bpf', 'shellstream.o');
}

/** Compiled code lies deeper or shallower than its source does: look upwards. */
function nativeFolder(): string {
  let folder = import.meta.dirname;
  for (let parent = dirname(folder); parent !== folder; folder = parent, parent = dirname(folder)) {
    const native = join(folder, 'native');
    if (existsSync(join(native, 'kernel', 'kernel.node'))) return native;
  }
  throw new ShellstreamError('INTERNAL', 'native/kernel/kernel.node is not built: run `npm run setup`');
}
