import { prefixContainsAddress } from '../../../protocol/net/prefix.ts';
import type { Clock } from '../../base/clock.ts';
import type { TunnelDevice, TunnelPeer, TunnelPeerState } from '../ports.ts';
import { checkKeepalive, checkPublicKeys, keyText, publicKeyOf, TunnelPeers, tunnelFailed } from '../tunnel-rules.ts';
import type { MemoryNetwork } from './network.ts';
import type { MemoryWire, Neighbour, WireEnd } from './wire.ts';

export interface MemoryTunnelParts {
  readonly name: string;
  readonly privateKey: Uint8Array;
  readonly listenPort: number;
  readonly network: MemoryNetwork;
  readonly wire: MemoryWire;
  readonly host: string;
  readonly clock: Clock;
  readonly closed: () => void;
}

/** A WireGuard device in memory, and the means for a test to send a packet through it. */
export class MemoryTunnel implements TunnelDevice, WireEnd {
  readonly name: string;
  readonly ifindex: number;
  readonly listenPort: number;
  readonly host: string;
  /** As `keyText`. */
  readonly publicKey: string;
  readonly #parts: MemoryTunnelParts;
  readonly #peers: TunnelPeers;
  readonly #neighbours = new Map<string, Neighbour>();
  #isOpen = true;

  constructor(parts: MemoryTunnelParts) {
    this.#parts = parts;
    this.name = parts.name;
    this.host = parts.host;
    this.publicKey = keyText(publicKeyOf(parts.privateKey));
    this.#peers = new TunnelPeers(parts.privateKey);
    this.ifindex = parts.network.plug(parts.name);
    const port = parts.wire.bind(parts.host, parts.listenPort, this);
    if (port === undefined) {
      parts.network.unplug(this.ifindex);
      throw tunnelFailed(`device ${parts.name}: UDP port ${parts.listenPort} is taken`);
    }
    this.listenPort = port;
  }

  async addPeer(peer: TunnelPeer): Promise<void> {
    this.#mustBeOpen();
    this.#peers.admit(peer);
    const { publicKey, presharedKey, allowedIps, keepalive, endpoint } = structuredClone(peer);
    const key = keyText(publicKey);
    const nothing = { session: undefined, handshakeAt: undefined, receivedBytes: 0n, sentBytes: 0n };
    this.#neighbours.set(key, { key, publicKey, presharedKey, allowedIps, keepalive, endpoint, ...nothing });
    this.#parts.wire.settle();
  }

  async removePeer(publicKey: Uint8Array): Promise<boolean> {
    return (await this.removePeers([publicKey])) === 1;
  }

  async removePeers(publicKeys: readonly Uint8Array[]): Promise<number> {
    this.#mustBeOpen();
    checkPublicKeys(publicKeys);
    const removed = publicKeys.filter((publicKey) => this.#forget(keyText(publicKey)));
    for (const publicKey of publicKeys) this.#peers.release(publicKey);
    return removed.length;
  }

  async removeAllPeers(): Promise<void> {
    this.#mustBeOpen();
    for (const key of [...this.#neighbours.keys()]) this.#forget(key);
    this.#peers.clear();
  }

  async setKeepalive(publicKeys: readonly Uint8Array[], seconds: number): Promise<number> {
    this.#mustBeOpen();
    checkPublicKeys(publicKeys);
    checkKeepalive(seconds);
    const found = publicKeys.flatMap((publicKey) => this.#neighbours.get(keyText(publicKey)) ?? []);
    for (const neighbour of found) neighbour.keepalive = seconds;
    this.#parts.wire.settle();
    return found.length;
  }

  async peers(): Promise<readonly TunnelPeerState[]> {
    this.#mustBeOpen();
    return [...this.#neighbours.values()].map((neighbour) => this.#stateOf(neighbour));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (!this.#isOpen) return;
    await this.removeAllPeers();
    this.#isOpen = false;
    this.#parts.wire.unbind(this.host, this.listenPort);
    this.#parts.network.unplug(this.ifindex);
    this.#parts.closed();
  }

  /** Sends an IP packet into the device; whether it comes out at the other end. Shakes hands first where it must. */
  transmit(source: Uint8Array, destination: Uint8Array, bytes = 84): boolean {
    const to = this.neighbour(this.#peers.ownerOf(destination) ?? '');
    if (to === undefined || !this.isUp() || !this.#parts.wire.shakeHands(this, to)) return false;
    const back = to.session?.otherEnd(to);
    to.sentBytes += BigInt(bytes);
    if (back === undefined || !back.allowedIps.some((prefix) => prefixContainsAddress(prefix, source))) return false;
    back.receivedBytes += BigInt(bytes);
    return true;
  }

  isUp(): boolean {
    return this.#parts.network.isUp(this.ifindex);
  }

  monotonic(): number {
    return this.#parts.clock.monotonic();
  }

  neighbour(key: string): Neighbour | undefined {
    return this.#neighbours.get(key);
  }

  neighbours(): Iterable<Neighbour> {
    return this.#neighbours.values();
  }

  #stateOf(neighbour: Neighbour): TunnelPeerState {
    const { publicKey, endpoint, allowedIps, handshakeAt, receivedBytes, sentBytes, keepalive } = neighbour;
    return {
      publicKey,
      allowedIps,
      receivedBytes,
      sentBytes,
      keepalive,
      ...(endpoint === undefined ? {} : { endpoint }),
      ...(handshakeAt === undefined ? {} : { handshakeAgeMs: this.monotonic() - handshakeAt }),
    };
  }

  #forget(key: string): boolean {
    this.#neighbours.get(key)?.session?.end();
    return this.#neighbours.delete(key);
  }

  #mustBeOpen(): void {
    if (!this.#isOpen) throw tunnelFailed(`${this.name} is closed`);
  }
}
