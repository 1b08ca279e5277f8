/**
 * Records that somebody shows an auditor beside a log: lines of JSON. The first byte says in which pieces they come. Whatever
 * is in them, one that is not what the log commits to is found, and no receipt is proven that its node did not sign.
 */
import { sign } from 'node:crypto';
import {
  auditRecords,
  DEFAULT_RATES,
  encodeArtifact,
  type Opening,
  parseArtifact,
  parseEntry,
  recordEntry,
} from '../../protocol/evidence/index.ts';
import { nodeCrypto } from '../../src/base/crypto-node.ts';
import { countedIn } from '../../src/cli/counted.ts';
import { judgeRecords, recordsIn } from '../../src/cli/shown-records.ts';
import { consoleUse, mutation, ORIGIN, transit } from '../../src/evidence/fixtures.ts';
import { believe } from '../../src/evidence/realisation.ts';
import { signReceipt } from '../../src/evidence/receipts.ts';
import type { Recording } from '../../src/evidence/recorder.ts';
import { lines } from '../formats/lines.ts';
import { behind } from '../formats/sequence.ts';
import { alike, holds, judged, type OpenTarget } from '../target.ts';
import { ascii, fill } from './examples.ts';
import { bundles, ID, leaf, leafKey, NOW } from './keys.ts';

const { sha256 } = nodeCrypto;

/** Another one of the same node: good in itself, and not what the log holds. */
const [RECEIPT, OTHER] = [3, 4].map((level): Recording => {
  const said = { nodeId: ID, epoch: 2n, fromLevel: 5, level, atMs: BigInt(NOW), tookMs: 4n, accordHash: fill(7) };
  const value = signReceipt({ chain: [leaf(leafKey)], sign: (message) => sign(null, message, leafKey) }, said);
  return { case: 'enforcementReceipt', value };
});
const LOGGED = [transit(1), RECEIPT ?? consoleUse, consoleUse, mutation(2)].map(opened);
const ENTRIES = new Map(LOGGED.map(({ salt, record }, at) => [at, parseEntry(recordEntry(sha256, salt, record))]));
const TEXT = LOGGED.map((opening, at) => line(opening, at)).join('');

export const open: OpenTarget = async () => ({
  about: 'records that are shown beside a log: what it does not commit to is found, what nobody signed is not proven',
  covers: ['src/cli/shown-records.ts', 'src/cli/counted.ts', 'src/evidence/realisation.ts', 'protocol/evidence/'],
  maxBytes: 12_000,
  format: behind(1, lines),
  dictionary: ['"leftOut":true', '"sequence":', '9007199254740991', '-1', `"origin":"${ORIGIN}"`, '"salt":"', '\n\n'],
  seeds: [
    Uint8Array.of(0, ...ascii(TEXT)),
    Uint8Array.of(7, ...ascii(`${TEXT}${line(opened(transit(9), 9), 0)}`)),
    Uint8Array.of(200, ...ascii(`${TEXT}\n${line(opened(transit(9), 9), 4, true)}`)),
    Uint8Array.of(3, ...ascii(line(opened(OTHER ?? consoleUse, 1), 1))),
    Uint8Array.of(3, ...ascii(TEXT.replace(ORIGIN, 'another.example/log'))),
  ],
  async run(input) {
    const text = new TextDecoder().decode(input.subarray(1));
    try {
      const shown = await recordsIn(piecesOf(text, 1 + (input[0] ?? 0)), 'shown', ORIGIN);
      holds(
        alike([...shown.records], [...(await recordsIn(piecesOf(text, text.length + 1), 'whole', ORIGIN)).records]),
        'pieces change what is read',
      );
      const found = new Set(
        judgeRecords(shown.records, ENTRIES, bundles).findings.flatMap((one) =>
          one.kind === 'record' ? [one.entry] : [],
        ),
      );
      const audit = auditRecords({
        crypto: nodeCrypto,
        rates: DEFAULT_RATES,
        keys: new Map(),
        batches: [],
        entries: ENTRIES,
        ...shown,
      });
      for (const [at, opening] of shown.records) {
        if (!isLogged(opening, at)) holds(found.has(at), 'a record is passed that is not what its entry commits to');
        checkReceipt(opening);
      }
      const believed = [...shown.records].flatMap(([at, opening]) => (found.has(at) ? [] : [opening]));
      return `${shown.records.size} ${shown.leftOut.size} ${found.size} ${audit.findings.length} ${countedIn(believed).length}`;
    } catch (error) {
      return judged({ reasons: ['MALFORMED'] }, error);
    }
  },
});

/** Signed by nobody but the node: only what it did sign is believed. */
function checkReceipt({ record }: Opening): void {
  const body = bodyOf(record);
  if (body?.case !== 'enforcementReceipt') return;
  const belief = believe(body.value, bundles);
  if (belief.kind !== 'proven') return;
  const signed = [RECEIPT, OTHER].some(
    (one) => one?.case === 'enforcementReceipt' && alike(one.value.statement, body.value.statement),
  );
  holds(signed, 'a receipt is proven that nobody signed');
}

function bodyOf(record: Uint8Array) {
  try {
    return parseArtifact(record).body;
  } catch {
    return undefined;
  }
}

function isLogged({ salt, record }: Opening, at: number): boolean {
  const logged = LOGGED[at];
  return logged !== undefined && alike(logged.salt, salt) && alike(logged.record, record);
}

async function* piecesOf(text: string, length: number): AsyncGenerator<string> {
  for (let at = 0; at < text.length; at += length) yield text.slice(at, at + length);
}

function opened(body: Recording, number: number): Opening {
  const record = encodeArtifact({ atMs: BigInt(NOW), postureLevel: 3, postureEpoch: 1n, body });
  return { salt: fill(number, 16), record };
}

function line({ salt, record }: Opening, sequence: number, leftOut = false): string {
  const [shown, opener] = [Buffer.from(record).toString('base64'), Buffer.from(salt).toString('hex')];
  return `${JSON.stringify({ origin: ORIGIN, leftOut, sequence, record: shown, salt: opener })}\n`;
}
