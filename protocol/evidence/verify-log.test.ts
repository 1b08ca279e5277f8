import { describe, expect, it } from 'vitest';
import { utf8 } from './bytes.ts';
import { formatCheckpoint } from './checkpoint.ts';
import { nobleEd25519 } from './ed25519.ts';
import { encodeEntry, type LogEntry } from './entry.ts';
import { describeFinding } from './finding.ts';
import {
  checkpointOver,
  LOG_KEY,
  memoryLog,
  numberedEntries,
  numberedEntry,
  ORIGIN,
  sha256,
  signer,
  WITNESS,
  withWrongSignature,
} from './fixtures.ts';
import { equivocation, openCheckpoint, type TrustedCheckpoint } from './held.ts';
import type { LogSource } from './log-source.ts';
import { MemoryLog } from './memory-log.ts';
import { formatNote, signNote } from './note.ts';
import { isConsistent } from './proof.ts';
import { commitToKey } from './sampling.ts';
import { type LogReport, type VerifyLog, verifyLog } from './verify-log.ts';

const TRUST = { origin: ORIGIN, keys: [LOG_KEY], witnesses: [WITNESS] };
const ENTRIES = numberedEntries(66_000);

describe('an honest log', () => {
  it.each([0, 1, 2, 255, 256, 257, 512, 66_000])('of %i entries is found right, each entry read once', async (size) => {
    const entries = ENTRIES.slice(0, size);
    const seen: number[] = [];
    const report = await verify(memoryLog(entries), { onEntry: (index) => seen.push(index) });
    expect(report.findings).toEqual([]);
    expect(report).toMatchObject({ size, entries: size, signedBy: [ORIGIN] });
    expect(seen).toEqual(entries.map((_, i) => i));
  });

  it('is consistent with every checkpoint kept of it', async () => {
    const held = [0, 1, 255, 256, 257, 511, 600].map((size) => checkpointOver(ENTRIES.slice(0, size)));
    expect((await verify(memoryLog(ENTRIES.slice(0, 600)), { held })).findings).toEqual([]);
  });

  it('is known by the old key, by the new one and by both while its key is changed', async () => {
    const next = signer('log', ORIGIN, 7);
    const log = memoryLog(ENTRIES.slice(0, 3), { signers: [LOG_KEY, next] });
    for (const keys of [[LOG_KEY], [next], [LOG_KEY, next]]) {
      const report = await verify(log, {
        trust: { ...TRUST, keys },
        held: [checkpointOver(ENTRIES.slice(0, 2), { signers: keys })],
      });
      expect(report.findings).toEqual([]);
    }
  });

  it('bears the cosignatures that are asked of it', async () => {
    const other = signer('cosigner', 'witness.example/v', 4);
    const trust = { ...TRUST, witnesses: [WITNESS, other] };
    const log = memoryLog(ENTRIES.slice(0, 9), { witnesses: [WITNESS, other] });
    expect((await verify(log, { trust, quorum: 2 })).findings).toEqual([]);
  });
});

describe('a log that grew since its checkpoint was asked for', () => {
  it('has full tiles in the place of the partial ones, which begin with them', async () => {
    const then = checkpointOver(ENTRIES.slice(0, 700));
    const log = memoryLog(ENTRIES.slice(0, 66_000));
    log.files.set('checkpoint', then);
    const held = [checkpointOver(ENTRIES.slice(0, 513))];
    expect(await verify(log, { held })).toMatchObject({ size: 700, entries: 700, findings: [] });
  });

  it('attack: a full tile that does not begin with what was signed', async () => {
    const log = memoryLog(ENTRIES.slice(0, 1_024));
    log.files.set('checkpoint', checkpointOver(ENTRIES.slice(0, 700)));
    const path = 'tile/entries/002';
    log.files.set(path, flipped(log.files.get(path) ?? new Uint8Array(), 40));
    expect((await verify(log)).findings).toMatchObject([{ kind: 'file', entry: 513 }]);
  });
});

describe('what its files show by themselves', () => {
  const size = 600;
  const honest = (): MemoryLog => memoryLog(ENTRIES.slice(0, size));

  it('each missing file is named', async () => {
    for (const path of honest().files.keys()) {
      const log = honest();
      log.files.delete(path);
      const report = await verify(log);
      const named = path === 'checkpoint' ? 'checkpoint: missing' : `${path}: entry`;
      expect(report.findings.map(describeFinding).join(), path).toContain(named);
    }
  });

  it('a flipped bit is named by file and entry, wherever it is', async () => {
    for (const path of honest().files.keys()) {
      if (path === 'checkpoint') continue;
      const log = honest();
      const bytes = log.files.get(path) ?? new Uint8Array();
      const at = Math.floor(bytes.length * 0.7);
      log.files.set(path, flipped(bytes, at));
      const [first, ...others] = (await verify(log)).findings;
      expect(others, path).toEqual([]);
      expect(first?.kind).toBe('file');
      if (first?.kind !== 'file') continue;
      const isBundle = path.startsWith('tile/entries/');
      const { level, index } = place(path);
      const width = isBundle ? 35 : 32;
      const expected = (index * 256 + Math.floor(at / width)) * 256 ** level;
      expect(first.entry, path).toBe(expected);
      if (!isBundle) expect(first.offset, path).toBe(at);
    }
  });

  it('torn files are named, to the byte from which something is missing or too much', async () => {
    for (const [path, bytes] of honest().files) {
      if (path === 'checkpoint') continue;
      for (const torn of [bytes.subarray(0, bytes.length - 7), Uint8Array.of(...bytes, 0)]) {
        const log = honest();
        log.files.set(path, torn);
        const findings = (await verify(log)).findings;
        expect(findings, path).toHaveLength(1);
        expect(findings[0]).toMatchObject({ kind: 'file', path });
      }
    }
  });

  it('a checkpoint that is torn, of another log, or signed by nobody known is not believed', async () => {
    const whole = honest().files.get('checkpoint') ?? new Uint8Array();
    for (const [bytes, why] of [
      [whole.subarray(0, 40), 'note: no signature'],
      [withWrongSignature(whole), 'is wrong'],
      [checkpointOver(ENTRIES.slice(0, size), { signers: [signer('log', ORIGIN, 5)] }), 'no known key signed it'],
      [checkpointOver(ENTRIES.slice(0, size), { origin: 'beta.example/evidence' }), 'of another log'],
      [utf8(''), 'note'],
    ] as const) {
      const log = honest();
      log.files.set('checkpoint', bytes);
      const report = await verify(log);
      expect(report.findings.map(describeFinding).join()).toContain(why);
      expect(report.root).toBeUndefined();
    }
  });
});

describe('the log’s owner is caught by what an outsider holds', () => {
  const held = [checkpointOver(ENTRIES.slice(0, 500))];

  it('rewriting an entry and everything over it, with a new signature', async () => {
    const rewritten = ENTRIES.slice(0, 600).with(123, numberedEntry(70_000));
    expect((await verify(memoryLog(rewritten))).findings).toEqual([]);
    expect((await verify(memoryLog(rewritten), { held })).findings).toEqual([
      { kind: 'held', size: 500, what: 'rewritten', signedBoth: [] },
    ]);
  });

  it('taking one entry out', async () => {
    const shortened = ENTRIES.slice(0, 600).toSpliced(123, 1);
    expect((await verify(memoryLog(shortened), { held })).findings).toMatchObject([
      { kind: 'held', what: 'rewritten' },
    ]);
  });

  it('truncating', async () => {
    expect((await verify(memoryLog(ENTRIES.slice(0, 400)), { held })).findings).toMatchObject([
      { kind: 'held', size: 500, what: 'truncated' },
    ]);
  });

  it('forking: two trees of one size, and both signatures are proof of it', async () => {
    const other = memoryLog(ENTRIES.slice(0, 500).with(499, numberedEntry(70_000)));
    expect((await verify(other, { held })).findings).toEqual([
      { kind: 'held', size: 500, what: 'forked', signedBoth: [ORIGIN] },
    ]);
  });

  it('forking under the next key while the key is changed', async () => {
    const next = signer('log', ORIGIN, 6);
    const forked = memoryLog(ENTRIES.slice(0, 600).with(3, numberedEntry(70_000)), { signers: [next] });
    const trust = { origin: ORIGIN, keys: [LOG_KEY, next], witnesses: [] };
    expect((await verify(forked, { held, trust })).findings).toMatchObject([{ kind: 'held', what: 'rewritten' }]);
    // Who was told the next key alone hears that what he kept proves nothing to him.
    expect((await verify(forked, { held, trust: { ...trust, keys: [next] } })).findings).toMatchObject([
      { kind: 'held', what: 'unreadable' },
    ]);
  });

  it('showing a fork to whoever the witnesses do not see', async () => {
    const witnessed = memoryLog(ENTRIES.slice(0, 500), { witnesses: [WITNESS] });
    expect((await verify(witnessed, { quorum: 1 })).findings).toEqual([]);
    const hidden = memoryLog(ENTRIES.slice(0, 500).with(3, numberedEntry(70_000)));
    expect((await verify(hidden, { quorum: 1 })).findings).toEqual([
      { kind: 'witnesses', have: 0, need: 1, wrong: [] },
    ]);
  });

  it('signing a root that its own files do not have', async () => {
    const log = memoryLog(ENTRIES.slice(0, 500));
    log.files.set('checkpoint', checkpointOver(ENTRIES.slice(0, 500).with(0, numberedEntry(70_000))));
    expect((await verify(log)).findings).toEqual([{ kind: 'root', size: 500 }]);
  });

  it('forging a consistency proof between two trees that are not one', () => {
    const [one, other] = [opened(held[0]), opened(checkpointOver(ENTRIES.slice(1, 601)))];
    expect(isConsistent(sha256, [], one.size, one.root, other.size, other.root)).toBe(false);
    expect(isConsistent(sha256, [one.root, other.root], one.size, one.root, other.size, other.root)).toBe(false);
  });

  it('a kept note that is none of this log says nothing, and that is said', async () => {
    const stranger = checkpointOver(ENTRIES.slice(0, 500), { signers: [signer('log', ORIGIN, 6)] });
    expect((await verify(memoryLog(ENTRIES.slice(0, 600)), { held: [stranger] })).findings).toMatchObject([
      { kind: 'held', what: 'unreadable' },
    ]);
  });
});

describe('witnesses', () => {
  it('that are missing, or whose signature is wrong, are told', async () => {
    const log = memoryLog(ENTRIES.slice(0, 5), { witnesses: [WITNESS] });
    expect((await verify(log, { quorum: 2 })).findings).toEqual([{ kind: 'witnesses', have: 1, need: 2, wrong: [] }]);
    log.files.set('checkpoint', withWrongSignature(log.files.get('checkpoint') ?? new Uint8Array()));
    expect((await verify(log, { quorum: 1 })).findings).toEqual([
      { kind: 'witnesses', have: 0, need: 1, wrong: [WITNESS.name] },
    ]);
  });

  it('that sign both sides of a fork are named with the log itself', async () => {
    const entries = ENTRIES.slice(0, 5);
    const options = { witnesses: [WITNESS] };
    const [one, other] = [checkpointOver(entries, options), checkpointOver(entries.with(0, numberedEntry(9)), options)];
    expect(equivocation(opened(one), opened(other))).toEqual([ORIGIN, WITNESS.name]);
    expect(equivocation(opened(one), opened(one))).toBeUndefined();
    expect((await verify(memoryLog(entries, options), { held: [other] })).findings).toMatchObject([
      { kind: 'held', what: 'forked', signedBoth: [ORIGIN, WITNESS.name] },
    ]);
  });

  it('that signed one side only are not', () => {
    const entries = ENTRIES.slice(0, 5);
    const other = opened(checkpointOver(entries.with(0, numberedEntry(9))));
    expect(equivocation(opened(checkpointOver(entries, { witnesses: [WITNESS] })), other)).toEqual([ORIGIN]);
  });
});

describe('a pruned log', () => {
  const size = 66_000;
  const minimumIndex = 65_600;

  it('is checked from its minimum index on, to the same root', async () => {
    const log = pruned(memoryLog(ENTRIES.slice(0, size)), minimumIndex);
    const held = [65_600, 65_999, 66_000].map((at) => checkpointOver(ENTRIES.slice(0, at)));
    const report = await verify(log, { minimumIndex, held });
    expect(report.findings).toEqual([]);
    expect(report.entries).toBe(size - 65_536);
  });

  it('says nothing of checkpoints from before, and says that it does not', async () => {
    const log = pruned(memoryLog(ENTRIES.slice(0, size)), minimumIndex);
    const report = await verify(log, { minimumIndex, held: [checkpointOver(ENTRIES.slice(0, 100))] });
    expect(report.unprovable).toEqual([100]);
  });

  it('that was pruned further than the verifier allows is not whole', async () => {
    const log = pruned(memoryLog(ENTRIES.slice(0, size)), minimumIndex);
    expect((await verify(log, { minimumIndex: 65_000 })).findings).toMatchObject([
      { kind: 'file', entry: 64_768, why: 'missing' },
    ]);
  });
});

describe('an owner who signs a size that no log has', () => {
  it('does not keep the verifier looking for what may all be gone', async () => {
    const size = 2 ** 45;
    const text = formatCheckpoint({ origin: ORIGIN, size, root: new Uint8Array(32), extensions: [] });
    const log = new MemoryLog([['checkpoint', formatNote(signNote(text, [LOG_KEY]))]]);
    let left = 1_000;
    const look = (): void => {
      left -= 1;
      if (left < 0) throw new Error('it goes on looking');
    };
    const source: LogSource = {
      checkpoint: () => log.checkpoint(),
      tile: async (tile) => {
        look();
        return await log.tile(tile);
      },
      entries: async (bundle) => {
        look();
        return await log.entries(bundle);
      },
    };
    const { findings } = await verifyLog({ sha256, ed25519: nobleEd25519, source, trust: TRUST, minimumIndex: size });
    expect(findings).not.toEqual([]);
  });
});

describe('sampling, as anyone can check it', () => {
  const key = new Uint8Array(32).fill(5);
  const committed: LogEntry = { kind: 'key-committed', day: 20, commitment: commitToKey(sha256, 20, key) };
  const revealed: LogEntry = { kind: 'key-revealed', day: 20, key };
  const batch = (first: number, count = 3, day = 20): LogEntry => {
    return { kind: 'left-out', day, first, count, root: new Uint8Array(32) };
  };

  it('accepts key, batches, reveal', async () => {
    const report = await verifyEntries([committed, batch(0), batch(3, 1), revealed]);
    expect(report.findings).toEqual([]);
    expect(report.keys).toEqual(new Map([[20, key]]));
    expect(report.batches.map(({ first, count }) => [first, count])).toEqual([
      [0, 3],
      [3, 1],
    ]);
  });

  it.each([
    [
      'a key chosen afterwards',
      [committed, { ...revealed, key: new Uint8Array(32).fill(6) }],
      1,
      'not the one committed',
    ],
    ['a key for a day already committed', [committed, committed], 1, 'a second key'],
    ['a key never committed to', [revealed], 0, 'never committed'],
    ['records left out without a key', [batch(0)], 0, 'never committed'],
    ['records left out once the key was known', [committed, revealed, batch(0)], 2, 'after its key was known'],
    ['a batch taken out', [committed, batch(0), batch(5)], 2, 'records 3 to 4 are in no batch'],
    ['a batch twice', [committed, batch(0), batch(0)], 2, 'in two batches'],
    ['the first batch taken out', [committed, batch(3)], 1, 'records 0 to 2 are in no batch'],
  ] as const)('names %s', async (_, entries, at, why) => {
    const { findings } = await verifyEntries(entries);
    expect(findings).toHaveLength(1);
    expect(findings[0]).toMatchObject({ kind: 'sampling', entry: at, why: expect.stringContaining(why) });
  });

  it('names an entry that is of no kind', async () => {
    const report = await verify(memoryLog([Uint8Array.of(9, 9), numberedEntry(1)]));
    expect(report.findings).toMatchObject([{ kind: 'record', entry: 0 }]);
  });
});

function verify(source: MemoryLog, options: Partial<VerifyLog> = {}): Promise<LogReport> {
  return verifyLog({ sha256, ed25519: nobleEd25519, source, trust: TRUST, ...options });
}

function verifyEntries(entries: readonly LogEntry[]): Promise<LogReport> {
  return verify(memoryLog(entries.map(encodeEntry)));
}

function opened(bytes: Uint8Array | undefined): TrustedCheckpoint {
  const checkpoint = openCheckpoint(nobleEd25519, bytes ?? new Uint8Array(), TRUST);
  if ('refused' in checkpoint) throw new Error(checkpoint.refused);
  return checkpoint;
}

function pruned(log: MemoryLog, minimumIndex: number): MemoryLog {
  for (const path of [...log.files.keys()]) {
    if (path === 'checkpoint' || path.includes('.p/')) continue;
    const { level, index } = place(path);
    if ((index + 1) * 256 ** (level + 1) <= minimumIndex) log.files.delete(path);
  }
  return log;
}

function place(path: string): { readonly level: number; readonly index: number } {
  const [, level = '', ...digits] = path.replace(/\.p\/.*/, '').split('/');
  return { level: level === 'entries' ? 0 : Number(level), index: Number(digits.join('').replaceAll('x', '')) };
}

function flipped(bytes: Uint8Array, at: number): Uint8Array {
  return bytes.with(at, (bytes[at] ?? 0) ^ 1);
}
