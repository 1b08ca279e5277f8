/** How far Quartermaster is with this node's evidence, for the console. */
import type { EvidenceView, QuartermasterView } from '../control/evidence-desk.ts';
import type { Finding } from '../control/ports.ts';
import type { AttachedQuartermaster } from './quartermaster.ts';

type Attached = Pick<AttachedQuartermaster, 'place' | 'status'>;

/** @param spool by whose average the bytes are told */
export function quartermasterView(
  { place, status }: Attached,
  spool: Pick<EvidenceView, 'usedBytes' | 'entries' | 'leftOut'>,
): QuartermasterView {
  const { state, acknowledged, behind, forgotten, problem = '', awaySinceMs } = status;
  const each = spool.usedBytes / Math.max(1, spool.entries + spool.leftOut);
  const behindBytes = Math.round(behind * each);
  return { place, state, acknowledged, behind, behindBytes, forgotten, problem, awaySinceMs };
}

/** For the doctor. */
export function quartermasterFindings(view: QuartermasterView | undefined): readonly Finding[] {
  if (view === undefined) return [];
  const { place, problem, behind, acknowledged, forgotten } = view;
  const name = 'quartermaster';
  if (problem !== '') {
    const mend =
      place === 'remote' ? 'look after evidence.quartermaster and the way to it' : 'mend the disk of stateDirectory';
    return [{ name, state: 'warning', detail: `${place}, ${behind} entries behind: ${problem}`, mend }];
  }
  const lost = forgotten === 0 ? '' : `; ${forgotten} times it lost what it had acknowledged`;
  return [{ name, state: 'ok', detail: `${place}, ${acknowledged} entries acknowledged, ${behind} to go${lost}` }];
}
