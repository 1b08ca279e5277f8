/** Records as `evidence query --json` printed them, for whoever checks them against a log. */
import { createReadStream } from 'node:fs';
import { z } from 'zod';
import { ShellstreamError } from '../../protocol/errors.ts';
import { checkRecords, type Finding, type LogEntry, type Opening, sameBytes } from '../../protocol/evidence/index.ts';
import { loadCryptoProvider } from '../base/crypto.ts';
import { believe } from '../evidence/realisation.ts';
import type { TrustBundles } from '../identity/index.ts';

export interface ShownRecords {
  /** By their index in the log. */
  readonly records: ReadonlyMap<number, Opening>;
  /** By their number among those that sampling left out: they are in no entry of their own. */
  readonly leftOut: ReadonlyMap<number, Opening>;
}

const line = z.object({
  origin: z.string(),
  leftOut: z.boolean(),
  sequence: z.int().min(0),
  record: z.base64(),
  salt: z.string().regex(/^[0-9a-f]{32}$/),
});

/** Those of this log. @throws ShellstreamError MALFORMED for a line that is no record, EVIDENCE_FAILED for no file */
export function readRecords(path: string, origin: string): Promise<ShownRecords> {
  return recordsIn(chunksOf(path), path, origin);
}

/** The same of text in pieces, cut anywhere; `name` is what it is called in errors. */
export async function recordsIn(chunks: AsyncIterable<string>, name: string, origin: string): Promise<ShownRecords> {
  const [records, leftOutOnes] = [new Map<number, Opening>(), new Map<number, Opening>()];
  let at = 0;
  for await (const text of linesOf(chunks, name)) {
    at += 1;
    if (text === '') continue;
    const shown = line.safeParse(parseJson(text));
    if (!shown.success) throw new ShellstreamError('MALFORMED', `${name}: line ${at} is no record`);
    const { leftOut, sequence, record, salt } = shown.data;
    if (shown.data.origin !== origin) continue;
    const of = leftOut ? leftOutOnes : records;
    const opening = {
      record: new Uint8Array(Buffer.from(record, 'base64')),
      salt: new Uint8Array(Buffer.from(salt, 'hex')),
    };
    const known = of.get(sequence);
    // Of two that differ one would be judged and the other believed.
    if (known !== undefined && !isSame(known, opening)) {
      throw new ShellstreamError('MALFORMED', `${name}: line ${at} is another record of a number that was there`);
    }
    of.set(sequence, opening);
  }
  return { records, leftOut: leftOutOnes };
}

export interface Judged {
  readonly findings: readonly Finding[];
  /** Nodes whose receipts nothing vouches for but the certificate that came along, which a forger makes along too. */
  readonly unproven: readonly string[];
}

/** What is wrong with them; receipts are believed by the bundles that were given. */
export function judgeRecords(
  records: ReadonlyMap<number, Opening>,
  entries: ReadonlyMap<number, LogEntry>,
  bundles: TrustBundles,
): Judged {
  const forged: Finding[] = [];
  const unproven = new Set<string>();
  const findings = checkRecords({
    sha256: loadCryptoProvider().sha256,
    entries,
    records,
    onRecord: (index, { body }) => {
      if (body.case !== 'enforcementReceipt') return;
      const belief = believe(body.value, bundles);
      if (belief.kind === 'unproven') unproven.add(belief.statement.nodeId);
      if (belief.kind !== 'forged') return;
      forged.push({ kind: 'record', entry: index, why: `a forged receipt of ${belief.node}: ${belief.why}` });
    },
  });
  return { findings: [...findings, ...forged], unproven: [...unproven] };
}

/** More than any record makes, written out: a file without line ends is not taken into memory. */
const LONGEST_LINE = 4_194_304;

async function* linesOf(chunks: AsyncIterable<string>, name: string): AsyncGenerator<string> {
  let rest = '';
  for await (const chunk of chunks) {
    const lines = `${rest}${chunk}`.split('\n');
    rest = lines.pop() ?? '';
    yield* lines;
    if (rest.length > LONGEST_LINE) throw new ShellstreamError('MALFORMED', `${name}: a line that is too long`);
  }
  if (rest !== '') yield rest;
}

async function* chunksOf(path: string): AsyncGenerator<string> {
  try {
    for await (const chunk of createReadStream(path, 'utf8')) yield String(chunk);
  } catch (cause) {
    throw new ShellstreamError('EVIDENCE_FAILED', `${path} cannot be read`, { cause });
  }
}

function isSame(one: Opening, other: Opening): boolean {
  return sameBytes(one.record, other.record) && sameBytes(one.salt, other.salt);
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
