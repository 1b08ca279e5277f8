/**
 * What a former run of this node leaves to the next one. A crash in the middle of a change forgets nothing that was said,
 * and what cannot be read may have been a lockdown: level 2 until somebody sets it aside.
 */
import {
  effectiveLevel,
  LOCKDOWN,
  mostRestrictive,
  NORMAL,
  type PostureLevel,
  type Statement,
} from '../../protocol/posture/index.ts';
import type { Intent, ReadJournal } from './journal.ts';
import { type KeptPosture, merged, TIMER } from './kept.ts';

export interface Recovered {
  /** Undefined: nothing was ever said. */
  readonly kept: KeptPosture | undefined;
  /** The stricter end of a change that was cut off: the next run begins there, and goes on from it in the order of a change. */
  readonly cutOffAt: PostureLevel | undefined;
  /** To which the last change went, as far as there was one. */
  readonly lastLevel: PostureLevel | undefined;
  /** The strictest level that the kernel may have been told by what disk knows. Below it, it was told what could not be written. */
  readonly strictest: PostureLevel | undefined;
}

/** What the start of a run goes by before any source has spoken in it. */
export interface Remembered {
  readonly kept: KeptPosture | undefined;
  readonly cutOffAt?: PostureLevel | undefined;
  /** As configured. */
  readonly initial: PostureLevel;
  /** What the console goes back to when nobody confirmed what it says: a reboot confirms nothing. */
  readonly former: PostureLevel | undefined;
}

/** @param now wall time, milliseconds */
export function levelAtStart({ kept, cutOffAt, initial, former }: Remembered, now: number): PostureLevel {
  const said = kept === undefined ? NORMAL : effectiveLevel(kept.statements, now).level;
  return mostRestrictive(initial, said, cutOffAt ?? NORMAL, former ?? NORMAL);
}

/** The source that speaks for what cannot be read. */
const LOST_RECORD = 'record';

/**
 * @param record what was kept of the statements, as far as it can be read
 * @param now wall time, milliseconds
 */
export function recover(record: KeptPosture | 'none' | 'unreadable', journal: ReadJournal, now: number): Recovered {
  const intent = lastIntent(journal);
  const lost = record === 'unreadable' || !journal.isWhole ? unreadable(now) : undefined;
  const known = typeof record === 'string' ? undefined : record;
  // A statement is acted upon before it is kept: the intent may be newer, settled or not.
  const all = [known, intent?.kept, lost].filter((one) => one !== undefined);
  return {
    lastLevel: intent?.to,
    strictest: all.length === 0 ? undefined : explained(all, journal),
    kept: all.length === 0 ? undefined : withoutPast(all.reduce(merged), now),
    cutOffAt: intent === undefined || isSettled(journal) ? undefined : mostRestrictive(intent.from, intent.to),
  };
}

/**
 * Each change of the kernel has its intent before it. One that came to stand whole leaves nothing of what was before it: a
 * lockdown of last year does not explain the one that the kernel is in.
 */
function explained(all: readonly KeptPosture[], journal: ReadJournal): PostureLevel {
  const intent = lastIntent(journal);
  const statements = all.flatMap((one) => [...one.statements.values()].map(({ statement }) => statement));
  if (intent === undefined) return mostRestrictive(NORMAL, ...statements.map(({ level }) => level));
  const isNewer = ({ source, epoch }: Statement): boolean => {
    const known = intent.kept.statements.get(source)?.statement.epoch;
    return known === undefined || epoch > known;
  };
  const newer = statements.filter(isNewer).map(({ level }) => level);
  return mostRestrictive(intent.to, ...unsettled(journal).flatMap(({ from, to }) => [from, to]), ...newer);
}

/** Changes behind the last one that came to stand whole: of each the kernel may have either end. */
function unsettled({ records }: ReadJournal): readonly Intent[] {
  const whole = records.findLastIndex((record) => record.kind === 'settled' && !record.failed);
  return records.slice(whole + 1).filter((record) => record.kind === 'intent');
}

/**
 * Epochs of changes to lockdown that began, and of which the journal does not say that this step of theirs was taken. What came
 * before the last intent goes when the journal grows: a step that could not be taken for so long is not asked for again.
 */
export function lockdownsWithout(step: string, { records }: ReadJournal): readonly bigint[] {
  const taken = new Set<bigint>();
  for (const record of records) {
    if (record.kind === 'step' && record.step === step && record.outcome === 'taken') taken.add(record.epoch);
    if (record.kind === 'settled' && !record.failed) taken.add(record.epoch);
  }
  const begun = records.flatMap((record) =>
    record.kind === 'intent' && record.to === LOCKDOWN && record.from > LOCKDOWN ? [record.kept.epoch] : [],
  );
  return [...new Set(begun)].filter((epoch) => !taken.has(epoch));
}

/** Accords come and go, and their timers' names with them; a window that is over is no older than another one. */
function withoutPast({ statements, epoch }: KeptPosture, now: number): KeptPosture {
  const isPast = ({ source, expiresAt = Infinity }: Statement): boolean => source.startsWith(TIMER) && expiresAt <= now;
  return { statements: new Map([...statements].filter(([, { statement }]) => !isPast(statement))), epoch };
}

function lastIntent({ records }: ReadJournal): Intent | undefined {
  return records.findLast((record) => record.kind === 'intent');
}

function isSettled({ records }: ReadJournal): boolean {
  return records.findLast(({ kind }) => kind !== 'step')?.kind !== 'intent';
}

function unreadable(now: number): KeptPosture {
  const statement: Statement = {
    source: LOST_RECORD,
    level: 2,
    epoch: BigInt(now),
    reason: 'what was said before cannot be read',
  };
  return { statements: new Map([[LOST_RECORD, { statement }]]), epoch: BigInt(now) };
}
