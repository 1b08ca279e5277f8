/** Evidence as the console sees it. */
import { assertNever, ShellstreamError } from '../../protocol/errors.ts';
import {
  EVIDENCE_OFF,
  type EvidenceDesk,
  type EvidenceView,
  type LogAct,
  NO_EVIDENCE,
  type TendedLog,
} from '../control/evidence-desk.ts';
import type { Finding } from '../control/ports.ts';
import { LogDirectory } from '../evidence/log-directory.ts';
import { Records } from '../evidence/records.ts';
import type { EnforcerWorld } from './enforcer-world.ts';
import type { NodeEvidence } from './evidence.ts';
import type { AttachedQuartermaster } from './quartermaster.ts';
import { quartermasterView } from './quartermaster-view.ts';

export function evidenceDesk({ crypto }: EnforcerWorld, evidence: NodeEvidence | undefined): EvidenceDesk {
  if (evidence === undefined) return NO_EVIDENCE;
  const { store } = evidence;
  const records = (): Records => {
    const { reader } = store;
    if (reader === undefined) throw new ShellstreamError('EVIDENCE_FAILED', store.state.problem);
    return new Records(crypto.sha256, reader, new LogDirectory(store.logPath));
  };
  return {
    list: async ({ kind, level, after }, tier) => records().list({ tier }, kind, level, after),
    show: async (index, tier) => {
      const found = await records().read({ tier }, index, store.published);
      if (found === undefined) return undefined;
      const { kind, opening, proof, size } = found;
      return { index, kind, record: opening.record, salt: opening.salt, proof, size };
    },
    tend: (act) => tend(evidence, act),
  };
}

async function tend({ store }: NodeEvidence, act: LogAct): Promise<TendedLog> {
  switch (act) {
    case 'begin-rotation':
      return { verifierKeys: await store.rotateKey('begin'), path: '', size: store.published };
    case 'finish-rotation':
      return { verifierKeys: await store.rotateKey('finish'), path: '', size: store.published };
    case 'back-up': {
      const copy = await store.backUp();
      return { verifierKeys: store.state.verifierKeys, ...copy };
    }
    case 'trust-clock':
      await store.trustClock();
      return { verifierKeys: store.state.verifierKeys, path: '', size: store.published };
    default:
      return assertNever(act);
  }
}

/** @param quartermaster where all of it goes; absent: it was not asked for */
export function evidenceView(
  evidence: NodeEvidence | undefined,
  quartermaster?: Pick<AttachedQuartermaster, 'place' | 'status'>,
): EvidenceView {
  if (evidence === undefined) return EVIDENCE_OFF;
  const {
    origin,
    verifierKeys,
    problem,
    publishProblem,
    entries,
    published,
    leftOut,
    openIntents,
    room,
    quorum,
    witnesses,
    firstEntry,
    slowestCommitMs,
    retentionHeld,
  } = evidence.store.state;
  const { usedBytes, budgetBytes, isFull, isReserveHeld } = room;
  return {
    state: problem !== undefined ? 'failed' : isFull ? 'full' : 'recording',
    detail: problem ?? publishProblem ?? '',
    origin,
    verifierKeys,
    entries,
    published,
    leftOut,
    openIntents,
    usedBytes,
    budgetBytes,
    isReserveHeld,
    quorum,
    witnesses,
    firstEntry,
    quartermaster: quartermaster && quartermasterView(quartermaster, { usedBytes, entries, leftOut }),
    slowestCommitMs,
    retentionHeld,
  };
}

/** For the doctor. */
export function evidenceFindings(evidence: NodeEvidence | undefined): readonly Finding[] {
  const { state, detail, origin, entries, usedBytes, budgetBytes, retentionHeld } = evidenceView(evidence);
  const name = 'evidence';
  switch (state) {
    case 'off':
      return [{ name, state: 'warning', detail: 'off', mend: 'take `evidence: off` out of the configuration' }];
    case 'failed': {
      // The disk is well then, and waiting mends nothing.
      const mend = detail.includes('EVIDENCE_ROLLED_BACK')
        ? 'put back all that others saw of this log, or put it aside and begin another one under another evidence.origin'
        : 'mend the disk or what is named; it is opened again by itself';
      return [{ name, state: 'missing', detail, mend }];
    }
    case 'full':
      return [
        {
          name,
          state: 'missing',
          detail: `its ${budgetBytes} bytes are used up`,
          mend: 'raise evidence.budgetMegabytes or lower evidence.retentionDays',
        },
      ];
    case 'recording': {
      if (detail !== '') return [{ name, state: 'warning', detail, mend: 'mend the disk of the published log' }];
      if (retentionHeld !== '') {
        return [
          {
            name,
            state: 'warning',
            detail: retentionHeld,
            mend: 'set the clock; or if it is right: shellstream evidence trust-clock',
          },
        ];
      }
      const used = Math.round((100 * usedBytes) / budgetBytes);
      return [{ name, state: 'ok', detail: `${origin}: ${entries} entries, ${used} % of its room used` }];
    }
  }
}
