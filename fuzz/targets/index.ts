/** Every target by its name; loaded when it is run, so that a search counts the coverage of one alone. */
import type { OpenTarget } from '../target.ts';

export const TARGETS: ReadonlyMap<string, () => Promise<{ readonly open: OpenTarget }>> = new Map<
  string,
  () => Promise<{ readonly open: OpenTarget }>
>([
  ['accord', () => import('./accord.ts')],
  ['address', () => import('./address.ts')],
  ['artifact', () => import('./artifact.ts')],
  ['bascule', () => import('./bascule.ts')],
  ['bodies', () => import('./bodies.ts')],
  ['bundles', () => import('./bundles.ts')],
  ['certificate', () => import('./certificate.ts')],
  ['chain', () => import('./chain.ts')],
  ['channel', () => import('./channel.ts')],
  ['config', () => import('./config.ts')],
  ['control', () => import('./control.ts')],
  ['enforcer', () => import('./enforcer.ts')],
  ['evidence-signature', () => import('./evidence-signature.ts')],
  ['framed-link', () => import('./framed-link.ts')],
  ['frames', () => import('./frames.ts')],
  ['log-files', () => import('./log-files.ts')],
  ['logger', () => import('./logger.ts')],
  ['offers', () => import('./offers.ts')],
  ['packets', () => import('./packets.ts')],
  ['quartermaster', () => import('./quartermaster.ts')],
  ['records', () => import('./records.ts')],
  ['release', () => import('./release.ts')],
  ['revocations', () => import('./revocations.ts')],
  ['sat', () => import('./sat.ts')],
  ['shown-records', () => import('./shown-records.ts')],
  ['spiffe-id', () => import('./spiffe-id.ts')],
  ['terminator-orders', () => import('./terminator-orders.ts')],
]);
