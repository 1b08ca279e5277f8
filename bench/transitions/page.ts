import { open } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import type { Site } from '../../test/lab/site.ts';

/** As native/kernel/include/governance_state.h has it. */
const SEQUENCE_AT = 8;
const LEVEL_AT = 12;
const HEADER_BYTES = 16;
const POLL_MS = 1;

/** When the governance page of that site says that level, by the host's clock, looked at once a millisecond. */
export async function whenPageSays(site: Site, level: number): Promise<bigint> {
  await using page = await open(join(site.options.directory, 'run', 'governance'), 'r');
  const header = Buffer.alloc(HEADER_BYTES);
  for (;;) {
    await page.read(header, 0, HEADER_BYTES, 0);
    const isWhole = header.readUInt32LE(SEQUENCE_AT) % 2 === 0;
    if (isWhole && header.readUInt32LE(LEVEL_AT) === level) return process.hrtime.bigint();
    await delay(POLL_MS);
  }
}
