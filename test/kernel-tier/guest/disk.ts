/** The one thing of the machine that outlives a boot. */
import { readFileSync, writeFileSync } from 'node:fs';
import { z } from 'zod';

export const DISK = '/run/tier/disk';
/** Of a gateway: its configuration, and its state beside it. */
export const KEPT = { config: `${DISK}/gateway.yaml`, state: `${DISK}/gateway` } as const;

const FILE = `${DISK}/boots`;
const boots = z.int().min(0);

/** Which boot this is, from 1. */
export function countBoot(): number {
  const count = boots.parse(former()) + 1;
  writeFileSync(FILE, JSON.stringify(count));
  return count;
}

function former(): unknown {
  try {
    return JSON.parse(readFileSync(FILE, 'utf8'));
  } catch {
    return 0;
  }
}
