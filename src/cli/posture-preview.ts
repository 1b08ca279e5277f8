/** The report of `posture set --dry-run`. */
import { LOCKDOWN } from '../../protocol/posture/level.ts';
import type { PosturePreview, PreviewedRoutes } from '../control/ports.ts';
import { duration, table } from './output.ts';
import type { RemoteShell } from './remote-shell.ts';

/** Whether whoever asks came by what would be cut off. By an interface that nobody knows: he did. */
export function cutsOff(shell: RemoteShell | undefined, { isolates }: Pick<PosturePreview, 'isolates'>): boolean {
  if (shell === undefined || isolates.length === 0) return false;
  return shell.interface === undefined || isolates.includes(shell.interface);
}

export function previewReport(preview: PosturePreview, cutsOwnSession: boolean): string {
  const { from, to, counts, sessions, isolates, withdrawn, restored } = preview;
  const { keep, reattest, narrow, drain, end } = counts;
  const lines = [
    `posture level ${from} would become ${to}; nothing was done`,
    `sessions: ${end} end, ${drain} drain, ${narrow} keep less, ${reattest} attest again, ${keep} stay as they are`,
    `governed routes: ${withdrawn.count} withdrawn, ${restored.count} restored`,
  ];
  if (isolates.length > 0) {
    lines.push(`cut off: ${isolates.join(', ')}; only the physical console stays`);
    if (cutsOwnSession) lines.push('this cuts off your own session: you came over the network');
  }
  const anchors = sessions.filter(({ type, fate }) => to === LOCKDOWN && type === 'mesh' && fate === 'end').length;
  if (anchors > 0) {
    lines.push(
      `mesh peers: ${anchors}; those that have this site as a peer of theirs hold it until \`anchor release\` there`,
    );
  }
  const rows = sessions.map(({ id, peer, type, fate, deadlineMs }) => [
    id,
    type,
    peer,
    fate === 'drain' ? `drain, within ${duration(deadlineMs)}` : fate,
  ]);
  const told = rows.length === 0 ? '' : table(['SESSION', 'TYPE', 'PEER', 'FATE'], rows);
  const routes = [...routeRows(withdrawn, 'withdrawn'), ...routeRows(restored, 'restored')];
  const toldRoutes = routes.length === 0 ? '' : table(['ROUTE', 'FATE'], routes);
  return `${lines.join('\n')}\n${told}${toldRoutes}`;
}

function routeRows({ count, first }: PreviewedRoutes, fate: string): readonly (readonly string[])[] {
  const more = count - first.length;
  return [...first.map((route) => [route, fate]), ...(more > 0 ? [[`and ${more} more`, fate]] : [])];
}
