import type { Prefix } from '../../../protocol/capability/model.ts';

/**
 * The UDP network that memory tunnels share: which socket is at which address, and WireGuard's handshake as far as
 * keys, pre-shared keys and endpoints decide it. Loss, time-outs and rekeying are not played.
 */
export class MemoryWire {
  readonly #sockets = new Map<string, WireEnd>();

  /** Takes a port of a host; 0 takes a free one. Undefined when it is taken. */
  bind(host: string, port: number, end: WireEnd): number | undefined {
    let chosen = port;
    if (chosen === 0) for (chosen = FIRST_FREE_PORT; this.#sockets.has(`${host} ${chosen}`); ) chosen += 1;
    if (this.#sockets.has(`${host} ${chosen}`)) return undefined;
    this.#sockets.set(`${host} ${chosen}`, end);
    return chosen;
  }

  unbind(host: string, port: number): void {
    this.#sockets.delete(`${host} ${port}`);
  }

  /** Lets every device that sends keepalives try the handshakes it lacks. Called after every change. */
  settle(): void {
    for (const end of this.#sockets.values()) {
      for (const neighbour of end.neighbours()) if (neighbour.keepalive > 0) this.shakeHands(end, neighbour);
    }
  }

  /**
   * Whether the two ends share a session afterwards. An end that was removed and added again does not: its key pairs are
   * gone, and a new handshake needs the same pre-shared key on both sides.
   */
  shakeHands(from: WireEnd, to: Neighbour): boolean {
    if (to.endpoint === undefined || !from.isUp()) return false;
    const there = this.#sockets.get(`${to.endpoint.address} ${to.endpoint.port}`);
    if (there === undefined || !there.isUp() || there.publicKey !== to.key) return false;
    if (to.session?.isLive === true) return true;
    const back = there.neighbour(from.publicKey);
    if (back === undefined || Buffer.compare(to.presharedKey, back.presharedKey) !== 0) return false;
    back.session?.end();
    new Session(to, back, from.monotonic(), there.monotonic());
    to.receivedBytes += RESPONSE_BYTES;
    to.sentBytes += INITIATION_BYTES;
    back.receivedBytes += INITIATION_BYTES;
    back.sentBytes += RESPONSE_BYTES;
    back.endpoint = { address: from.host, port: from.listenPort };
    return true;
  }
}

/** A device, as far as the wire must know it. */
export interface WireEnd {
  /** As `keyText`. */
  readonly publicKey: string;
  readonly host: string;
  readonly listenPort: number;
  isUp(): boolean;
  monotonic(): number;
  neighbour(key: string): Neighbour | undefined;
  neighbours(): Iterable<Neighbour>;
}

/** A peer as a device knows it. */
export interface Neighbour {
  /** As `keyText`. */
  readonly key: string;
  readonly publicKey: Uint8Array;
  readonly presharedKey: Uint8Array;
  readonly allowedIps: readonly Prefix[];
  keepalive: number;
  endpoint: { readonly address: string; readonly port: number } | undefined;
  session: Session | undefined;
  handshakeAt: number | undefined;
  receivedBytes: bigint;
  sentBytes: bigint;
}

/** The key pairs of one handshake; lost when either end forgets the other. */
export class Session {
  isLive = true;
  readonly initiator: Neighbour;
  readonly responder: Neighbour;

  constructor(initiator: Neighbour, responder: Neighbour, initiatorAt: number, responderAt: number) {
    this.initiator = initiator;
    this.responder = responder;
    initiator.session = this;
    initiator.handshakeAt = initiatorAt;
    responder.session = this;
    responder.handshakeAt = responderAt;
  }

  /** The other end's record of this one. */
  otherEnd(end: Neighbour): Neighbour {
    return end === this.initiator ? this.responder : this.initiator;
  }

  end(): void {
    this.isLive = false;
  }
}

const FIRST_FREE_PORT = 49_152;
const INITIATION_BYTES = 148n;
const RESPONSE_BYTES = 92n;
