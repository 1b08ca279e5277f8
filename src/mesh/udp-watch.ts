/**
 * Finds out that UDP does not get through to a peer that we dial: its session stands, and WireGuard's handshake does not
 * come about. Where the configuration allows it (`carry: auto`) the session is ended, and the next one carries the tunnel.
 * That lasts as long as this session: whoever dropped UDP for a while does not make the tunnel slow for good.
 */
import type { SpiffeId } from '../../protocol/identity/spiffe-id.ts';
import type { Clock, Timer } from '../base/clock.ts';
import type { Logger } from '../base/logger.ts';
import type { TunnelPeerState } from '../dataplane/ports.ts';
import type { SessionDirectory, Standing } from '../enforcer/directory.ts';

export interface UdpWatchParts {
  readonly clock: Clock;
  readonly log: Logger;
  readonly directory: Pick<SessionDirectory, 'tunnelOf' | 'onEvent' | 'revoke'>;
  /** Those that are dialled, send keepalives, and may be carried when it is needed. */
  readonly peers: readonly SpiffeId[];
  /** What the tunnel's device tells. */
  readonly tunnel: () => Promise<readonly TunnelPeerState[]>;
  /** How long a handshake may be missing. */
  readonly afterMs: number;
}

/** WireGuard does not use keys that are older, and with keepalives makes new ones before. */
const KEYS_LIVE_MS = 180_000;
const LOOKS_IN_THAT_TIME = 4;

export class UdpWatch implements Disposable {
  readonly #parts: UdpWatchParts;
  readonly #blocked = new Set<SpiffeId>();
  /** Since when a tunnel is in place, monotonic. */
  readonly #since = new Map<SpiffeId, { readonly of: string; readonly atMs: number }>();
  readonly #subscription: Disposable;
  #timer: Timer | undefined;
  #isOver = false;

  constructor(parts: UdpWatchParts) {
    this.#parts = parts;
    this.#subscription = parts.directory.onEvent((event) => {
      if (event.kind !== 'ended' || event.standing.member?.spec.isCarried !== true) return;
      this.#blocked.delete(event.standing.admission.peer.spiffeId);
    });
    if (parts.peers.length > 0) this.#lookLater();
  }

  /** Whether the next tunnel with the peer is to be carried, or the one that stands is. */
  isBlocked(peer: SpiffeId): boolean {
    return this.#blocked.has(peer);
  }

  [Symbol.dispose](): void {
    this.#isOver = true;
    this.#timer?.cancel();
    this.#subscription[Symbol.dispose]();
  }

  #lookLater(): void {
    const { clock, afterMs, log } = this.#parts;
    this.#timer = clock.after(afterMs / LOOKS_IN_THAT_TIME, () => {
      this.#look()
        .catch((error: unknown) => log.error('the tunnel does not tell of its peers', { error }))
        .finally(() => {
          if (!this.#isOver) this.#lookLater();
        });
    });
  }

  async #look(): Promise<void> {
    const { peers, directory, tunnel, afterMs } = this.#parts;
    const watched = peers.flatMap((peer) => {
      const standing = directory.tunnelOf(peer);
      const spec = standing?.role === 'initiator' ? standing.member?.spec : undefined;
      return spec === undefined || spec.isCarried === true ? [] : [{ peer, standing, spec }];
    });
    if (watched.length === 0) return;
    const states = await tunnel();
    for (const { peer, standing, spec } of watched) {
      const state = states.find(({ publicKey }) => Buffer.compare(publicKey, spec.publicKey) === 0);
      if (standing === undefined || state === undefined) continue;
      if (this.#missingMs(peer, standing, state) >= afterMs) await this.#fallBack(peer, standing);
    }
  }

  #missingMs(peer: SpiffeId, { admission }: Standing, { handshakeAgeMs }: TunnelPeerState): number {
    const now = this.#parts.clock.monotonic();
    const of = `${admission.id} ${admission.tunnelGeneration}`;
    const known = this.#since.get(peer);
    const since = known?.of === of ? known : { of, atMs: now };
    this.#since.set(peer, since);
    return handshakeAgeMs === undefined ? now - since.atMs : handshakeAgeMs - KEYS_LIVE_MS;
  }

  async #fallBack(peer: SpiffeId, { admission }: Standing): Promise<void> {
    const { log, directory } = this.#parts;
    this.#blocked.add(peer);
    log.warn('no WireGuard handshake though the session stands: the tunnel goes in the session', {
      peer,
      session: admission.id,
    });
    await directory.revoke(admission.id, 'TUNNEL_FAILED');
  }
}
