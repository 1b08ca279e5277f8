import { describeLack, examineHost } from '../kernel-tier/requirements.ts';
import { runMachine } from '../kernel-tier/run.ts';
import type { Suite } from './tally.ts';

/** Minutes of an emulated machine: only when asked for by name. */
export const kernelTier: Suite = {
  name: 'kernel',
  about: "Debian's own kernel in an emulated machine: its WireGuard, clsact, suspend and reboot",
  apart: true,
  run: async () => {
    const host = await examineHost();
    switch (host.is) {
      case 'unable':
        return {
          passed: 0,
          failed: [],
          skipped: [{ name: 'kernel tier', why: `needs ${host.lacks.map(describeLack).join(', ')}` }],
        };
      case 'able':
        return await runMachine(host.kernel);
    }
  },
};
