/** Holds as the console sees and changes them. */
import type { Finding, GatewayEvent, GatewayView, HoldView } from '../control/ports.ts';
import type { HoldEvent } from '../mesh/holds.ts';
import type { EnforcerNode } from './enforcer.ts';

export function holdVerbs({
  holds,
  world,
}: EnforcerNode): Pick<GatewayView, 'holdPeer' | 'releasePeer' | 'deliverRelease'> {
  const { log } = world;
  return {
    holdPeer: async (peer, why, by) => {
      log.warn('hold by the console', { peer, why, by });
      await holds.hold(peer, why);
    },
    releasePeer: async (peer, why, by) => {
      log.warn('release by the console', { peer, why, by });
      return await holds.release(peer);
    },
    deliverRelease: async (document, by) => {
      const { peer, id } = await holds.deliver(document);
      log.warn('signed release taken from the console', { peer, hold: id, by });
    },
  };
}

export function holdView(
  { holds }: EnforcerNode,
  peer: Parameters<EnforcerNode['holds']['of']>[0],
): HoldView | undefined {
  const hold = holds.of(peer);
  if (hold === undefined) return undefined;
  const { id, sinceMs, epoch, cause, reason } = hold;
  return { id, sinceMs, epoch, cause, reason };
}

export function holdEvent(event: HoldEvent, atMs: number): GatewayEvent {
  const { id, peer, cause, reason } = event.hold;
  return event.kind === 'held'
    ? { kind: 'held', atMs, id, peer, cause, reason }
    : { kind: 'released', atMs, id, peer, by: event.by };
}

/** Nothing where all is well. */
export function holdFindings({ holds }: EnforcerNode): readonly Finding[] {
  const lost = holds.all.filter(({ cause }) => cause === 'record').length;
  return [
    ...(holds.problem === undefined
      ? []
      : [
          { name: 'holds', state: 'missing', detail: holds.problem, mend: 'make room in the state directory' } as const,
        ]),
    ...(lost === 0
      ? []
      : [
          {
            name: 'holds',
            state: 'warning',
            detail: `who was held before could not be read: ${lost} peers are held`,
            mend: 'shellstream anchor release PEER, for each that is known not to be at level 1',
          } as const,
        ]),
  ];
}
