import { describe, expect, it } from 'vitest';
import type { Statement } from '../../protocol/posture/index.ts';
import type { KeptPosture } from './kept.ts';
import { levelAtStart } from './recovery.ts';

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

function said(statement: Pick<Statement, 'level' | 'expiresAt'>): KeptPosture {
  return {
    statements: new Map([['console', { statement: { source: 'console', epoch: 1n, ...statement } }]]),
    epoch: 1n,
  };
}
