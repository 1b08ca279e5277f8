/**
 * Where UDP is blocked between two sites, the packets of a tunnel go in the mesh session: WireGuard on this host has a
 * relay of ours for its peer. They stay WireGuard's own, sealed by its keys; who carries them can drop them, no more.
 */
import type { SessionId } from './ports.ts';

export interface Relay {
  /** What WireGuard takes for the peer: on loopback. */
  readonly endpoint: { readonly address: string; readonly port: number };
  /** To WireGuard. */
  send(packet: Uint8Array): void;
  close(): void;
}

/** @param listenPort WireGuard's own port on this host: nobody else's packets are taken */
export type OpenRelay = (listenPort: number, onPacket: (packet: Uint8Array) => void) => Promise<Relay>;

/** The relays of one terminator's sessions: what another one holds it cannot name. */
export class Relays {
  readonly #open: OpenRelay;
  readonly #onPacket: (session: SessionId, packet: Uint8Array) => void;
  readonly #relays = new Map<SessionId, Relay>();

  constructor(open: OpenRelay, onPacket: (session: SessionId, packet: Uint8Array) => void) {
    this.#open = open;
    this.#onPacket = onPacket;
  }

  /** The session's own, or a new one; close it if the session does not come to stand. */
  async of(session: SessionId, listenPort: number): Promise<Relay> {
    const standing = this.#relays.get(session);
    if (standing !== undefined) return standing;
    const relay = await this.#open(listenPort, (packet) => this.#onPacket(session, packet));
    this.#relays.get(session)?.close();
    this.#relays.set(session, relay);
    return relay;
  }

  /** Whether the session may carry packets. */
  has(session: SessionId): boolean {
    return this.#relays.has(session);
  }

  send(session: SessionId, packet: Uint8Array): void {
    this.#relays.get(session)?.send(packet);
  }

  close(session: SessionId): void {
    this.#relays.get(session)?.close();
    this.#relays.delete(session);
  }
}
