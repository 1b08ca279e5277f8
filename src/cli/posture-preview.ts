/** The report of `posture set --dry-run`. */
import type { PosturePreview } from '../control/ports.ts';
import { duration, table } from './output.ts';

/** @param isRemote who asks came over the network, as far as his environment tells */
export function previewReport({ from, to, counts, sessions, isolates }: PosturePreview, isRemote: boolean): string {
  const { keep, reattest, narrow, drain, end } = counts;
  const lines = [
    `posture level ${from} would become ${to}; nothing was done`,
    `sessions: ${end} end, ${drain} drain, ${narrow} keep less, ${reattest} attest again, ${keep} stay as they are`,
  ];
  if (isolates.length > 0) {
    lines.push(`cut off: ${isolates.join(', ')}; only the physical console stays`);
    if (isRemote) lines.push('this cuts off your own session: you came over the network (SSH_CONNECTION is set)');
  }
  const rows = sessions.map(({ id, peer, type, fate, deadlineMs }) => [
    id,
    type,
    peer,
    fate === 'drain' ? `drain, within ${duration(deadlineMs)}` : fate,
  ]);
  const told = rows.length === 0 ? '' : table(['SESSION', 'TYPE', 'PEER', 'FATE'], rows);
  return `${lines.join('\n')}\n${told}`;
}
