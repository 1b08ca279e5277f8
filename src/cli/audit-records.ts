/**
 * All records of a log, left-out ones too, against its sampling: a choice that was not the key's, a record that no entry and
 * no batch commits to, and a number that is missing between others.
 */
import {
  auditRecords,
  DEFAULT_RATES,
  type Finding,
  type LogEntry,
  type LogReport,
  MS_A_DAY,
  type SamplingRates,
  type SessionVerdict,
  type Sha256,
  sessionIdBytes,
} from '../../protocol/evidence/index.ts';
import { loadAccord } from '../base/accord-file.ts';
import { loadCryptoProvider } from '../base/crypto.ts';
import type { ShownRecords } from './shown-records.ts';

export interface Audited {
  readonly findings: readonly Finding[];
  /** Of the sessions that were asked for; undefined: there was no audit. */
  readonly sessions: Readonly<Record<string, SessionVerdict>> | undefined;
  /** Days of which the choice cannot be repeated yet, as YYYY-MM-DD. */
  readonly unrevealed: readonly string[];
  /** Records younger than the checkpoint, and left-out ones that wait for a batch root. */
  readonly uncommitted: number;
}

export const NOT_AUDITED: Audited = { findings: [], sessions: undefined, unrevealed: [], uncommitted: 0 };

export interface ShownAudit {
  readonly report: LogReport;
  /** All entries that were read. */
  readonly entries: ReadonlyMap<number, LogEntry>;
  readonly shown: ShownRecords;
  /** 32 hex digits each. */
  readonly sessions: readonly string[];
  /** File of the accord whose rates count; undefined: the default ones. */
  readonly accord: string | undefined;
}

export async function auditShown({ report, entries, shown, sessions, accord }: ShownAudit): Promise<Audited> {
  const { size, keys, batches } = report;
  const crypto = loadCryptoProvider();
  const rates = accord === undefined ? DEFAULT_RATES : await ratesOf(accord, crypto.sha256);
  const audit = auditRecords({ crypto, rates, size, keys, batches, entries, ...shown });
  const verdicts = sessions.map((id) => [id, audit.verdict(sessionIdBytes(id))] as const);
  const deleted = verdicts.flatMap(([id, verdict]): Finding[] =>
    verdict === 'deleted' ? [{ kind: 'session', id }] : [],
  );
  const days = new Set(batches.map(({ day }) => day).filter((day) => !keys.has(day)));
  return {
    findings: [...audit.findings, ...deleted],
    sessions: Object.fromEntries(verdicts),
    unrevealed: [...days].map((day) => new Date(day * MS_A_DAY).toISOString().slice(0, 10)),
    uncommitted: audit.uncommitted,
  };
}

async function ratesOf(path: string, sha256: Sha256): Promise<SamplingRates> {
  const { levels } = (await loadAccord(path, sha256)).accord;
  const rate = (level: keyof SamplingRates): number => levels[level].notarisation.transitPercent;
  return { 5: rate(5), 4: rate(4), 3: rate(3), 2: rate(2), 1: rate(1) };
}
