import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { reasonOf, ShellstreamError } from '../../protocol/errors.ts';
import type { ArtifactKind, Opening } from '../../protocol/evidence/index.ts';
import { ARTIFACT_KINDS, Lane, type Question, type Wanted } from '../../protocol/quartermaster/index.ts';
import { ORIGIN } from '../evidence/fixtures.ts';
import { Depot, mutationEntry, spiffeId, submission, transitEntry } from './fixtures.ts';
import { dayOf, type Store } from './store.ts';

const NOW = 1_800_000_000_000;
const LOG = { origin: ORIGIN, lane: Lane.LOG } as const;
let depot: Depot;
let store: Store;

beforeEach(() => {
  depot = new Depot();
  store = depot.store();
});
afterEach(() => depot[Symbol.asyncDispose]());

describe('a store whose records are kept elsewhere', () => {
  const kept = new Map<number, Opening>();
  let isAway = false;
  const records = {
    opening: (_: Lane, sequence: number) => {
      if (isAway) throw new ShellstreamError('EVIDENCE_FAILED', 'the spool is not open');
      return kept.get(sequence);
    },
  };

  beforeEach(() => {
    isAway = false;
    kept.clear();
    store[Symbol.dispose]();
    store = depot.store({ records });
    for (const [sequence, number] of [1, 2, 3].entries()) {
      const { artifact, salt } = transitEntry(number).what.value;
      kept.set(sequence, { record: artifact, salt });
    }
    put(submission(0, [transitEntry(1), transitEntry(2), transitEntry(3)]));
  });

  test('finds them there, and passes over what was given up there', () => {
    expect(store.reader.stored(store.reader.log(LOG)?.id ?? 0, 0)).toMatchObject({ salt: null });
    const { found } = store.reader.query({ wanted: wanted({}), newestFirst: false, limit: 100, after: undefined });
    expect(found.map(({ opening }) => opening)).toEqual([...kept.values()]);
    kept.delete(1);
    expect(sequences({})).toEqual([0, 2]);
  });

  test('still holds enough of each to know a history that was written anew', () => {
    expect(put(submission(1, [transitEntry(2), transitEntry(3)]))).toBe(3);
    expect(refusal(() => put(submission(2, [transitEntry(9)])))).toMatchObject({ reason: 'EVIDENCE_FORK' });
  });

  test('says so while they cannot be had', () => {
    isAway = true;
    expect(refusal(() => sequences({}))).toMatchObject({ reason: 'EVIDENCE_FAILED' });
  });
});

describe('entries stand by {origin, lane, sequence}', () => {
  test('what is put is there after the store was opened again', () => {
    put(submission(0, [transitEntry(1), { what: { case: 'gone', value: {} } }, mutationEntry(2)]));
    store[Symbol.dispose]();
    store = depot.store();
    expect(store.reader.log(LOG)?.next).toBe(3);
    expect(sequences({})).toEqual([0, 2]);
  });

  test('a duplicate is taken and nothing is put twice; what is new of it is put', () => {
    put(submission(0, [transitEntry(1), transitEntry(2)]));
    expect(put(submission(0, [transitEntry(1), transitEntry(2)]))).toBe(2);
    expect(put(submission(1, [transitEntry(2), transitEntry(3)]))).toBe(3);
    expect(sequences({})).toEqual([0, 1, 2]);
  });

  test('attack: a gap is refused with the number that is expected', () => {
    put(submission(0, [transitEntry(1)]));
    expect(refusal(() => put(submission(2, [transitEntry(3)])))).toMatchObject({
      reason: 'EVIDENCE_GAP',
      fields: { expected: 1 },
    });
    expect(sequences({})).toEqual([0]);
  });

  test('attack: history written anew under a number that is held is a fork', () => {
    put(submission(0, [transitEntry(1), transitEntry(2)]));
    expect(refusal(() => put(submission(0, [transitEntry(1), transitEntry(7), transitEntry(8)])))).toMatchObject({
      reason: 'EVIDENCE_FORK',
      fields: { sequence: 1 },
    });
    expect(sequences({})).toEqual([0, 1]);
  });

  test('logs do not know of each other, nor do the lanes of one', () => {
    put(submission(0, [transitEntry(1)]));
    put(submission(0, [transitEntry(2)], { origin: 'beta.example/evidence' }));
    put(submission(0, [transitEntry(3)], { lane: Lane.LEFT_OUT }));
    expect(store.reader.log(LOG)?.next).toBe(1);
    expect(sequences({})).toEqual([0, 0, 0]);
    expect(sequences({ origin: 'beta.example/evidence' })).toEqual([0]);
  });

  test('what an action throws takes back all of its transaction', () => {
    const thrown = refusal(() =>
      store.transact(() => {
        store.put(submission(0, [transitEntry(1)]), NOW);
        throw new Error('not to be');
      }),
    );
    expect(thrown).toMatchObject({ reason: 'EVIDENCE_FAILED' });
    expect(store.reader.log(LOG)).toBeUndefined();
  });

  test('a store whose budget is used up takes no more, and still says what it holds', () => {
    put(submission(0, [transitEntry(1)]));
    store[Symbol.dispose]();
    store = depot.store({ budgetBytes: 4_096 });
    expect(reasonOf(refusal(() => put(submission(1, [transitEntry(2)]))))).toBe('EVIDENCE_FULL');
    expect(put(submission(0, [transitEntry(1)]))).toBe(1);
  });
});

describe('questions', () => {
  beforeEach(() => {
    const levels = [5, 3, 3, 1, 3, 2, 3];
    put(
      submission(0, [...levels.map((level, at) => transitEntry(at % 3, level, NOW + at)), mutationEntry(9, NOW + 9)]),
    );
  });

  test('all transits while at level 3, in pages, in either direction', () => {
    expect(sequences({ level: 3 })).toEqual([1, 2, 4, 6]);
    expect(sequences({ level: 3 }, { limit: 1 })).toEqual([1, 2, 4, 6]);
    expect(sequences({ level: 3 }, { limit: 3, newestFirst: true })).toEqual([6, 4, 2, 1]);
  });

  test('by session, identity and time, and by all of them', () => {
    const session = `${'0'.repeat(31)}1`;
    expect(sequences({ session })).toEqual([1, 4]);
    const identity = spiffeId('spiffe://beta.example/shell/operator');
    expect(sequences({ identity })).toEqual([0, 1, 2, 3, 4, 5, 6]);
    expect(sequences({ identity }, { limit: 2, newestFirst: true })).toEqual([6, 5, 4, 3, 2, 1, 0]);
    expect(sequences({ identity: spiffeId('spiffe://beta.example/nobody') })).toEqual([]);
    expect(sequences({ fromMs: NOW + 2, toMs: NOW + 5 })).toEqual([2, 3, 4]);
    expect(sequences({ session, identity, level: 3, fromMs: NOW + 2 })).toEqual([4]);
  });

  test('by kind', () => {
    expect(sequences({ kinds: new Set<ArtifactKind>(['networkMutation']) })).toEqual([7]);
  });

  test('records of one moment are neither lost nor seen twice between pages', () => {
    put(
      submission(
        8,
        Array.from({ length: 20 }, (_, at) => transitEntry(at, 4, NOW + 50)),
      ),
    );
    const all = Array.from({ length: 20 }, (_, at) => 8 + at);
    expect(sequences({ level: 4 }, { limit: 3 })).toEqual(all);
    expect(sequences({ level: 4 }, { limit: 3, newestFirst: true })).toEqual(all.toReversed());
    expect(sequences({ fromMs: NOW + 50 }, { limit: 7 })).toEqual(all);
  });

  test('what arrived since, in the order of arrival', () => {
    const first = store.reader.since(wanted({ level: 3 }), 0, 2);
    expect(first.found.map(({ sequence }) => sequence)).toEqual([1, 2]);
    const rest = store.reader.since(wanted({ level: 3 }), first.last, 100);
    expect(rest.found.map(({ sequence }) => sequence)).toEqual([4, 6]);
    expect(store.reader.since(wanted({}), rest.last, 100).found).toEqual([]);
  });
});

describe('retention', () => {
  test('follows the day of arrival, not the times that a sender writes; numbers are not used again', () => {
    put(submission(0, [transitEntry(1, 3, 9_999_999_999_999)]));
    put(submission(1, [transitEntry(2, 3, 0)]), NOW + 2 * 86_400_000);
    expect(store.forgetBefore(dayOf(NOW) + 1, 100)).toBe(1);
    expect(sequences({})).toEqual([1]);
    expect(store.forgetBefore(dayOf(NOW) + 9, 100)).toBe(1);
    put(submission(2, [transitEntry(3)]), NOW + 3 * 86_400_000);
    expect(store.reader.lastNumber()).toBe(3);
    expect(put(submission(0, [transitEntry(5)]))).toBe(3);
  });
});

describe('tokens', () => {
  const proposal = (id: string, expiresAtMs = NOW + 1_000) => ({
    proposer: 'spiffe://alpha.example/operator/one',
    receivedMs: NOW,
    content: new Uint8Array(3),
    token: { id: id.repeat(16), expiresAtMs },
  });

  test('attack: a token is used twice, also after the store was opened again', () => {
    store.transact(() => store.spend(proposal('aa')));
    expect(reasonOf(refusal(() => store.transact(() => store.spend(proposal('aa')))))).toBe('REQUEST_TOKEN_SPENT');
    store[Symbol.dispose]();
    store = depot.store();
    expect(reasonOf(refusal(() => store.transact(() => store.spend(proposal('aa')))))).toBe('REQUEST_TOKEN_SPENT');
    expect(store.reader.proposals(0, 10)).toHaveLength(1);
  });

  test('attack: the clock is put back after spent tokens were forgotten', () => {
    store.transact(() => store.spend(proposal('aa')));
    store.forgetTokens(NOW + 1_000);
    expect(reasonOf(refusal(() => store.transact(() => store.spend(proposal('aa')))))).toBe('REQUEST_TOKEN_SPENT');
    expect(store.transact(() => store.spend(proposal('bb', NOW + 1_001)))).toBe(2);
  });
});

function put(what: ReturnType<typeof submission>, now = NOW): number {
  return store.transact(() => {
    const unheld = store.judge(what);
    if (unheld !== undefined) store.put(unheld, now);
    return store.next(what.log);
  });
}

function wanted(some: Partial<Wanted>): Wanted {
  const all = { level: undefined, identity: undefined, session: undefined, origin: undefined };
  return { ...all, fromMs: 0, toMs: Number.MAX_SAFE_INTEGER, kinds: new Set(ARTIFACT_KINDS.keys()), ...some };
}

/** Of all pages, one after another. */
function sequences(some: Partial<Wanted>, options: Partial<Question> = {}): number[] {
  const found: number[] = [];
  let after: Question['after'];
  do {
    const page = store.reader.query({ wanted: wanted(some), newestFirst: false, limit: 100, ...options, after });
    found.push(...page.found.map(({ sequence }) => sequence));
    after = page.next;
  } while (after !== undefined);
  return found;
}

function refusal(action: () => unknown): unknown {
  try {
    action();
  } catch (error) {
    return error;
  }
  throw new Error('it was not refused');
}
