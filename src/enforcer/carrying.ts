/** Which tunnels go in their session, and where WireGuard has the peer then. */
import { ShellstreamError } from '../../protocol/errors.ts';
import type { MemberSpec } from './overlay.ts';
import type { SessionId } from './ports.ts';
import type { Relays } from './relay.ts';

/** Whether packets of a tunnel go in its session. `when-needed`: once either end finds that UDP does not get through. */
export type Carrying = 'always' | 'when-needed' | 'never';

export interface CarryingParts {
  /** Of a peer. Absent: never. */
  readonly carries?: (spiffeId: string) => Carrying;
  /** Of one terminator's sessions; absent where nothing is carried. */
  readonly relays?: Relays;
}

/**
 * WireGuard has our end of the session for its peer where UDP does not get through. Where it is for the peer to find that out,
 * its first packet in the session is what moves WireGuard: it answers where its keys were last used.
 */
export async function carried(
  {
    carries,
    relays,
    overlay,
  }: CarryingParts & { readonly overlay?: { readonly device: { readonly listenPort: number } } },
  session: SessionId,
  spec: MemberSpec | undefined,
): Promise<MemberSpec | undefined> {
  if (spec === undefined || overlay === undefined) return spec;
  const carrying = carries?.(spec.spiffeId) ?? 'never';
  if (carrying === 'never') return spec;
  if (relays === undefined) throw new ShellstreamError('TUNNEL_FAILED', 'nothing here carries packets');
  const { endpoint } = await relays.of(session, overlay.device.listenPort);
  return carrying === 'always' ? { ...spec, endpoint, isCarried: true } : spec;
}
