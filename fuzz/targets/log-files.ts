/**
 * The files of a log as somebody else serves them: notes, checkpoints, keys, entries, bundles, paths. The first byte chooses
 * which. What is taken has one spelling, or two verifiers would take one file for two.
 */
import { encodeBundle, parseBundle } from '../../protocol/evidence/bundle.ts';
import { formatCheckpoint, parseCheckpoint } from '../../protocol/evidence/checkpoint.ts';
import { verifyCosignatures } from '../../protocol/evidence/cosignature.ts';
import { encodeEntry, parseEntry } from '../../protocol/evidence/entry.ts';
import { checkpointOver, memoryLog, numberedEntries, WITNESS } from '../../protocol/evidence/fixtures.ts';
import { formatNote, formatSignature, parseNote, verifyNote } from '../../protocol/evidence/note.ts';
import { formatVerifierKey, parseSecret, parseVerifierKey } from '../../protocol/evidence/note-key.ts';
import { bundlePath, parseTilePath, tilePath } from '../../protocol/evidence/tile.ts';
import { parseWitnessAnswer, WITNESS_SIZE_TYPE } from '../../protocol/evidence/witness.ts';
import { nodeEd25519 } from '../../src/evidence/ed25519.ts';
import { LOG_KEY, sha256 } from '../../src/evidence/fixtures.ts';
import { attempt, holds, type OpenTarget } from '../target.ts';
import { ascii, fill } from './examples.ts';

const MALFORMED = { reasons: ['MALFORMED'] } as const;
const text = (bytes: Uint8Array): string => new TextDecoder().decode(bytes);
const same = (one: Uint8Array, other: Uint8Array): boolean => Buffer.compare(one, other) === 0;
const ENTRIES = numberedEntries(3);
const HONEST = checkpointOver(ENTRIES, { witnesses: [WITNESS] });
const SECRET = 'PRIVATE+KEY+a.example+00000000+AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEB';

/** Each reads the bytes, checks what it took, and says what that was. */
const KINDS: readonly ((bytes: Uint8Array) => string)[] = [
  (bytes) => {
    const note = parseNote(bytes);
    holds(same(formatNote(note), bytes), 'a note with a second spelling');
    holds(note.signatures.length <= 64, 'more signatures than the limit');
    const isHonest = same(ascii(note.text), ascii(parseNote(HONEST).text));
    holds(isHonest || 'refused' in verifyNote(nodeEd25519, note, [LOG_KEY]), 'a forged note is believed');
    const { good } = verifyCosignatures(nodeEd25519, note, [WITNESS]);
    holds(isHonest || good.length === 0, 'a forged cosignature is believed');
    return `${note.signatures.length} signatures`;
  },
  (bytes) => {
    const checkpoint = parseCheckpoint(text(bytes));
    holds(formatCheckpoint(checkpoint) === text(bytes), 'a checkpoint with a second spelling');
    return `checkpoint ${checkpoint.extensions.length}`;
  },
  (bytes) => {
    const key = parseVerifierKey(sha256, text(bytes));
    holds(formatVerifierKey(key) === text(bytes), 'a key with a second spelling');
    return key.type;
  },
  (bytes) => `secret of ${parseSecret(text(bytes)).seed.length}`,
  (bytes) => {
    const entry = parseEntry(bytes);
    holds(same(encodeEntry(entry), bytes), 'an entry with a second spelling');
    return entry.kind;
  },
  (bytes) => {
    const width = 1 + ((bytes[0] ?? 0) % 256);
    const entries = parseBundle(bytes.subarray(1), width);
    holds(
      entries.length === width && same(encodeBundle(entries), bytes.subarray(1)),
      'a bundle with a second spelling',
    );
    return 'bundle';
  },
  (bytes) => {
    const path = parseTilePath(text(bytes));
    if (path === undefined) return 'no path';
    const again = path.kind === 'tile' ? tilePath(path) : bundlePath(path);
    holds(again === text(bytes) && !again.includes('..'), 'a path with a second spelling');
    return path.kind;
  },
  (bytes) => {
    const status = STATUSES[(bytes[0] ?? 0) % STATUSES.length] ?? 200;
    const answer = parseWitnessAnswer(status, WITNESS_SIZE_TYPE, bytes.subarray(1));
    if (answer.kind === 'conflict') {
      holds(same(ascii(`${answer.size}\n`), bytes.subarray(1)), 'a size with a second spelling');
    }
    if (answer.kind !== 'cosigned') return answer.kind;
    const spelled = ascii(answer.signatures.map(formatSignature).join(''));
    holds(same(spelled, bytes.subarray(1)), 'a cosignature with a second spelling');
    return `cosigned ${answer.signatures.length}`;
  },
];
const STATUSES = [200, 409, 422, 403, 404, 500] as const;

export const open: OpenTarget = async () => ({
  about:
    'notes, checkpoints, keys, entries, bundles and paths of an evidence log, answers of witnesses: one spelling each, none forged',
  covers: [
    'protocol/evidence/note.ts',
    'protocol/evidence/note-key.ts',
    'protocol/evidence/checkpoint.ts',
    'protocol/evidence/cosignature.ts',
    'protocol/evidence/entry.ts',
    'protocol/evidence/bundle.ts',
    'protocol/evidence/tile.ts',
    'protocol/evidence/witness.ts',
  ],
  maxBytes: 8_192,
  dictionary: [
    '\n\n— ',
    '— a ',
    '+',
    'AAAAAAA=',
    'x001/',
    'tile/entries/',
    '.p/255',
    Uint8Array.of(0xff, 0xff),
    Uint8Array.of(0, 33),
  ],
  seeds: [
    Uint8Array.of(0, ...HONEST),
    Uint8Array.of(1, ...ascii(parseNote(HONEST).text)),
    Uint8Array.of(2, ...ascii(formatVerifierKey(LOG_KEY))),
    Uint8Array.of(2, ...ascii(formatVerifierKey(WITNESS))),
    Uint8Array.of(3, ...ascii(SECRET)),
    ...ENTRIES.slice(0, 1).map((entry) => Uint8Array.of(4, ...entry)),
    Uint8Array.of(4, ...encodeEntry({ kind: 'key-revealed', day: 1, key: fill(1) })),
    Uint8Array.of(4, ...encodeEntry({ kind: 'left-out', day: 1, first: 2, count: 3, root: fill(1) })),
    Uint8Array.of(5, 2, ...(memoryLog(ENTRIES).files.get('tile/entries/000.p/3') ?? [])),
    Uint8Array.of(6, ...ascii('tile/0/x001/234/067.p/12')),
    Uint8Array.of(6, ...ascii('tile/entries/000')),
    Uint8Array.of(7, 0, ...ascii(parseNote(HONEST).signatures.map(formatSignature).join(''))),
    Uint8Array.of(7, 1, ...ascii('1234\n')),
  ],
  run(input) {
    const at = (input[0] ?? 0) % KINDS.length;
    const kind = KINDS[at];
    if (kind === undefined) return 'none';
    const read = attempt(MALFORMED, () => kind(input.subarray(1)));
    return `${at} ${'refusal' in read ? read.refusal : read.value}`;
  },
});
