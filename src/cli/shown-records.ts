/** Records as `evidence query --json` printed them, for whoever checks them against a log. */
import { readFileSync } from 'node:fs';
import { z } from 'zod';
import { ShellstreamError } from '../../protocol/errors.ts';
import { checkRecords, describeFinding, type LogEntry, type Opening } from '../../protocol/evidence/index.ts';
import { nodeCrypto } from '../base/crypto-node.ts';
import { believe } from '../evidence/realisation.ts';
import type { TrustBundles } from '../identity/index.ts';

const line = z.object({
  origin: z.string(),
  leftOut: z.boolean(),
  sequence: z.int().min(0),
  record: z.base64(),
  salt: z.string().regex(/^[0-9a-f]{32}$/),
});

/** Those of this log, by their index; left-out ones are in no entry of their own. @throws ShellstreamError MALFORMED */
export function readRecords(path: string, origin: string): Map<number, Opening> {
  const records = new Map<number, Opening>();
  for (const [at, text] of readFileSync(path, 'utf8').split('\n').entries()) {
    if (text === '') continue;
    const shown = line.safeParse(parseJson(text));
    if (!shown.success) throw new ShellstreamError('MALFORMED', `${path}: line ${at + 1} is no record`);
    const { leftOut, sequence, record, salt } = shown.data;
    if (leftOut || shown.data.origin !== origin) continue;
    records.set(sequence, {
      record: new Uint8Array(Buffer.from(record, 'base64')),
      salt: new Uint8Array(Buffer.from(salt, 'hex')),
    });
  }
  return records;
}

/** What is wrong with them, in words; receipts are believed by the bundles that were given. */
export function judgeRecords(
  records: ReadonlyMap<number, Opening>,
  entries: ReadonlyMap<number, LogEntry>,
  bundles: TrustBundles,
): readonly string[] {
  const forged: string[] = [];
  const findings = checkRecords({
    sha256: nodeCrypto.sha256,
    entries,
    records,
    onRecord: (index, { body }) => {
      if (body.case !== 'enforcementReceipt') return;
      const belief = believe(body.value, bundles);
      if (belief.kind === 'forged')
        forged.push(`record of entry ${index}: a forged receipt of ${belief.node}: ${belief.why}`);
    },
  });
  return [...findings.map(describeFinding), ...forged];
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
