import { describe, expect, it } from 'vitest';
import type { PostureLevel, Statement } from '../../protocol/posture/index.ts';
import type { JournalRecord } from './journal.ts';
import type { KeptPosture } from './kept.ts';
import { levelAtStart, lockdownsWithout, recover } from './recovery.ts';

const NOW = 1_000_000;
const NOTHING = { kept: undefined, cutOffAt: undefined, initial: 5, former: undefined } as const;

describe('the level of a start, before any source has spoken', () => {
  it('is the configured one where nothing is remembered', () => {
    expect(levelAtStart({ ...NOTHING, initial: 3 }, NOW)).toBe(3);
  });

  it('is never above the configured one, though the console said more in a former run', () => {
    expect(levelAtStart({ ...NOTHING, kept: said({ level: 5 }), initial: 1 }, NOW)).toBe(1);
  });

  it('is the strictest of what was said and counts still', () => {
    expect(levelAtStart({ ...NOTHING, kept: said({ level: 2 }) }, NOW)).toBe(2);
    expect(levelAtStart({ ...NOTHING, kept: said({ level: 2, expiresAt: NOW }) }, NOW)).toBe(5);
  });

  it('attack: a reboot in the middle of a loosening, or before one is confirmed, opens nothing', () => {
    expect(levelAtStart({ ...NOTHING, kept: said({ level: 5 }), cutOffAt: 1 }, NOW)).toBe(1);
    expect(levelAtStart({ ...NOTHING, kept: said({ level: 5 }), former: 1 }, NOW)).toBe(1);
  });
});

describe('the strictest level that the kernel may have been told by what disk knows', () => {
  const intent = (from: PostureLevel, to: PostureLevel, epoch: bigint): JournalRecord => {
    return { kind: 'intent', from, to, kept: said({ level: to }, epoch) };
  };
  const settled = (level: PostureLevel, failed = false): JournalRecord => ({
    kind: 'settled',
    epoch: 9n,
    level,
    failed,
  });
  const strictest = (record: KeptPosture, ...records: JournalRecord[]): PostureLevel | undefined =>
    recover(record, { records, isWhole: true, problem: undefined }, NOW).strictest;

  it('attack: is not that of a drill that was over: a lockdown that no disk took is taken up all the same', () => {
    const drill = [intent(5, 1, 2n), settled(1), intent(1, 5, 3n), settled(5)];
    expect(strictest(said({ level: 5 }, 3n), ...drill)).toBe(5);
  });

  it('is either end of a change that did not come to stand whole, and of those before it', () => {
    expect(strictest(said({ level: 5 }, 3n), intent(1, 5, 3n))).toBe(1);
    expect(strictest(said({ level: 5 }, 3n), intent(1, 5, 3n), settled(5, true))).toBe(1);
    expect(strictest(said({ level: 3 }, 4n), intent(1, 5, 3n), intent(5, 3, 4n))).toBe(1);
  });

  it('is that of a statement which is newer than the last change', () => {
    expect(strictest(said({ level: 2 }, 4n), intent(1, 5, 3n), settled(5))).toBe(2);
    expect(strictest(said({ level: 2 }, 4n))).toBe(2);
  });
});

describe('lockdowns whose step the journal does not show to be taken', () => {
  const intent = (from: 1 | 3 | 5, to: 1 | 3 | 5, epoch: bigint): JournalRecord => ({
    kind: 'intent',
    from,
    to,
    kept: { statements: new Map(), epoch },
  });
  const step = (epoch: bigint, outcome: 'taken' | 'failed', name = 'snapshot'): JournalRecord => ({
    kind: 'step',
    epoch,
    step: name,
    outcome,
  });
  const epochs = (...records: JournalRecord[]): readonly bigint[] =>
    lockdownsWithout('snapshot', { records, isWhole: true, problem: undefined });

  it('are those that a crash cut off, also several, also behind a later start at that level', () => {
    expect(epochs(intent(5, 1, 7n), step(7n, 'taken', 'posture map'))).toEqual([7n]);
    expect(epochs(intent(5, 1, 7n), step(7n, 'failed'), intent(1, 1, 8n), intent(3, 1, 9n))).toEqual([7n, 9n]);
  });

  it('are none that took it, or came to stand whole, and no other changes', () => {
    expect(epochs(intent(5, 1, 7n), step(7n, 'taken'))).toEqual([]);
    expect(epochs(intent(5, 1, 7n), { kind: 'settled', epoch: 7n, level: 1, failed: false })).toEqual([]);
    expect(epochs(intent(5, 1, 7n), { kind: 'settled', epoch: 7n, level: 1, failed: true })).toEqual([7n]);
    expect(epochs(intent(5, 3, 7n), intent(1, 1, 8n), intent(1, 5, 9n))).toEqual([]);
  });
});

function said(statement: Pick<Statement, 'level' | 'expiresAt'>, epoch = 1n): KeptPosture {
  return {
    statements: new Map([['console', { statement: { source: 'console', epoch, ...statement } }]]),
    epoch,
  };
}
