/** README.md of this folder is what others verify by: its tables, labels and example are held to the code. */
import { readFileSync } from 'node:fs';
import { hmac } from '@noble/hashes/hmac.js';
import { sha256 as noble } from '@noble/hashes/sha2.js';
import { describe, expect, it } from 'vitest';
import { TIERS } from '../capability/model.ts';
import { POSTURE_LEVELS } from '../posture/level.ts';
import { ARTIFACT_KINDS } from '../quartermaster/index.ts';
import { concatBytes, toHex, utf8 } from './bytes.ts';
import { mayRead } from './disclosure.ts';
import { encodeEntry, type LogEntry, recordEntry } from './entry.ts';
import { sha256 } from './fixtures.ts';
import { leafHash, rootOf } from './merkle.ts';
import { signedReceipt } from './receipt.ts';
import { commitToKey, DEFAULT_RATES, isSampled } from './sampling.ts';

const text = readFileSync(new URL('README.md', import.meta.url), 'utf8');
const DAY = 20_000;
const KEY = new Uint8Array(32).fill(7);
const SESSION = new Uint8Array(16).fill(1);
const RECORD = recordEntry(
  sha256,
  Uint8Array.from({ length: 16 }, (_, i) => i),
  utf8('record'),
);

describe('protocol/evidence/README.md', () => {
  it('gives each kind of entry its length, and no other', () => {
    const entries = [RECORD, ...[committed, revealed, leftOut].map(encodeEntry)];
    const said = rows('| kind | content |').map(([kind, , bytes]) => [Number(kind), Number(bytes)]);
    expect(said).toEqual(entries.map((entry) => [entry[0], entry.length]));
  });

  it('gives the rates of sampling', () => {
    const [percent = []] = rows('| level | 5 |');
    expect(percent.slice(1).map(Number)).toEqual(POSTURE_LEVELS.map((level) => DEFAULT_RATES[level]));
  });

  it('says who is shown what', () => {
    const said = rows('| least tier |').flatMap(([tier = '', kinds = '']) =>
      kinds.split(', ').map((kind) => [kind, tier] as const),
    );
    const least = [...ARTIFACT_KINDS.keys()].map((kind) => [kind, TIERS.find((tier) => mayRead(tier, kind))] as const);
    expect(new Map<string, string | undefined>(said)).toEqual(new Map<string, string | undefined>(least));
  });

  it('has an example that comes out', () => {
    expect(rows('| what | hex |').map(([, hex]) => hex?.replaceAll('`', ''))).toEqual([
      toHex(RECORD),
      toHex(leafHash(sha256, RECORD)),
      ...[committed, revealed, leftOut].map((entry) => toHex(encodeEntry(entry))),
      toHex(drawn().subarray(0, 4)),
    ]);
  });

  it('draws as sampling does', () => {
    const percent = (new DataView(drawn().buffer).getUint32(0) * 100) / 2 ** 32;
    expect(isSampled(hmacSha256, KEY, SESSION, percent + 1e-6)).toBe(true);
    expect(isSampled(hmacSha256, KEY, SESSION, percent)).toBe(false);
  });

  it('has the label of receipts', () => {
    expect(text).toContain('"shellstream/1 enforcement receipt" ‖ 0x00 ‖ statement');
    expect(signedReceipt(Uint8Array.of(1))).toEqual(utf8('shellstream/1 enforcement receipt\0\x01'));
  });
});

const committed: LogEntry = { kind: 'key-committed', day: DAY, commitment: commitToKey(sha256, DAY, KEY) };
const revealed: LogEntry = { kind: 'key-revealed', day: DAY, key: KEY };
const root = rootOf(sha256, [leafHash(sha256, RECORD)]);
const leftOut: LogEntry = { kind: 'left-out', day: DAY, first: 5, count: 1, root };

function hmacSha256(key: Uint8Array, message: Uint8Array): Uint8Array {
  return hmac(noble, key, message);
}

/** As the page says, not as the code does. */
function drawn(): Uint8Array {
  return hmacSha256(KEY, concatBytes([utf8('shellstream/1 sampling choice\0'), SESSION]));
}

/** The rows of the table whose heading begins so. */
function rows(heading: string): string[][] {
  const lines = text.split('\n');
  const at = lines.findIndex((line) => line.startsWith(heading));
  expect(at, heading).toBeGreaterThan(-1);
  const end = lines.findIndex((line, i) => i > at && !line.startsWith('|'));
  return lines.slice(at + 2, end).map((line) =>
    line
      .split('|')
      .slice(1, -1)
      .map((cell) => cell.trim()),
  );
}
