import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { POSTURE_LEVELS, type PostureLevel } from './level.ts';
import { effectiveLevel, NO_STATEMENTS, type Statement, type Statements, setAside, state } from './statements.ts';

const NOW = 1_000_000;

describe('of several sources', () => {
  test('the most restrictive holds the level, and is named', () => {
    const statements = all(said('map', 4, 1n), said('console', 2, 1n), said('bascule', 2, 9n));
    expect(effectiveLevel(statements, NOW)).toEqual({
      level: 2,
      heldBy: ['console', 'bascule'],
      nextExpiry: undefined,
    });
  });

  test('none that says anything means normal', () => {
    expect(effectiveLevel(NO_STATEMENTS, NOW)).toEqual({ level: 5, heldBy: [], nextExpiry: undefined });
  });

  test('one withdraws by saying 5', () => {
    const statements = all(said('map', 4, 1n), said('console', 2, 1n), said('console', 5, 2n));
    expect(effectiveLevel(statements, NOW).level).toBe(4);
  });
});

describe('a stale epoch', () => {
  test('is refused, also when it would tighten, and says which one is held', () => {
    const statements = all(said('bascule', 3, 7n));
    for (const epoch of [6n, 7n]) {
      expect(state(statements, said('bascule', 1, epoch))).toEqual({ kind: 'stale', heldEpoch: 7n });
    }
  });

  test('stays stale after its statement expired: a replay opens nothing', () => {
    const statements = all({ ...said('bascule', 1, 7n), expiresAt: NOW });
    expect(effectiveLevel(statements, NOW).level).toBe(5);
    expect(state(statements, said('bascule', 5, 7n)).kind).toBe('stale');
  });

  test('is each source’s own', () => {
    expect(effectiveLevel(all(said('map', 4, 100n), said('console', 3, 1n)), NOW).level).toBe(3);
  });
});

describe('an expiry', () => {
  test('ends the statement at its very millisecond, and is announced before', () => {
    const statements = all(
      { ...said('console', 2, 1n), expiresAt: NOW + 5 },
      { ...said('timer', 3, 1n), expiresAt: NOW + 9 },
    );
    expect(effectiveLevel(statements, NOW)).toEqual({ level: 2, heldBy: ['console'], nextExpiry: NOW + 5 });
    expect(effectiveLevel(statements, NOW + 5)).toEqual({ level: 3, heldBy: ['timer'], nextExpiry: NOW + 9 });
    expect(effectiveLevel(statements, NOW + 9)).toEqual({ level: 5, heldBy: [], nextExpiry: undefined });
  });
});

describe('set aside', () => {
  test('a statement does not count; the source’s next one does', () => {
    const aside = setAside(all(said('bascule', 1, 7n)), 'bascule', 7n);
    if (aside.kind !== 'set-aside') throw new Error(aside.kind);
    expect(effectiveLevel(aside.statements, NOW).level).toBe(5);
    const again = state(aside.statements, said('bascule', 2, 8n));
    if (again.kind !== 'accepted') throw new Error(again.kind);
    expect(effectiveLevel(again.statements, NOW).level).toBe(2);
  });

  test('nothing silences a source for what it has not said yet', () => {
    expect(setAside(all(said('bascule', 1, 7n)), 'bascule', 8n)).toEqual({ kind: 'not-said-yet', heldEpoch: 7n });
  });

  test('an unknown source is said to be unknown', () => {
    expect(setAside(NO_STATEMENTS, 'bascule', 1n)).toEqual({ kind: 'unknown-source' });
  });

  test('an earlier set-aside takes no later one back', () => {
    const first = setAside(all(said('bascule', 1, 7n)), 'bascule', 7n);
    const second = setAside(first.kind === 'set-aside' ? first.statements : NO_STATEMENTS, 'bascule', 3n);
    expect(second.kind === 'set-aside' && effectiveLevel(second.statements, NOW).level).toBe(5);
  });
});

test('in any order of arrival, each source’s highest epoch is what counts', () => {
  const statement = fc.record({
    source: fc.constantFrom('map', 'console', 'bascule'),
    level: fc.constantFrom(...POSTURE_LEVELS),
    epoch: fc.bigInt(1n, 9n),
  });
  fc.assert(
    fc.property(fc.array(statement, { maxLength: 12 }), (arrivals) => {
      let statements: Statements = NO_STATEMENTS;
      const reference = new Map<string, Statement>();
      for (const one of arrivals) {
        const stated = state(statements, one);
        if (stated.kind === 'accepted') statements = stated.statements;
        const former = reference.get(one.source);
        if (former === undefined || one.epoch > former.epoch) reference.set(one.source, one);
      }
      const levels = [...reference.values()].map((one) => one.level);
      expect(effectiveLevel(statements, NOW).level).toBe(Math.min(5, ...levels));
    }),
  );
});

function said(source: string, level: PostureLevel, epoch: bigint): Statement {
  return { source, level, epoch };
}

function all(...statements: readonly Statement[]): Statements {
  return statements.reduce<Statements>((held, statement) => {
    const stated = state(held, statement);
    if (stated.kind !== 'accepted') throw new Error(stated.kind);
    return stated.statements;
  }, NO_STATEMENTS);
}
