/** WireGuard on Linux: the kernel's where it has one, else the one embedded in the addon. Both behave as the port says. */
import type * as Addon from '../../../native/kernel/kernel.d.ts';
import { assertNever, ShellstreamError } from '../../../protocol/errors.ts';
import type { AdoptedTunnel, TunnelDevice, TunnelDriver, TunnelPeer, TunnelPeerState, TunnelSpec } from '../ports.ts';
import {
  checkKeepalive,
  checkLeftoverPrefix,
  checkPublicKeys,
  checkTunnelSpec,
  TunnelPeers,
  tunnelFailed,
} from '../tunnel-rules.ts';
import { kernelAddon } from './native.ts';

export type LinuxTunnelKind = 'kernel' | 'embedded';

export interface LinuxTunnelOptions {
  /** Default: as `probeTunnelDriver` says. */
  readonly kind?: LinuxTunnelKind;
  /** Path of the network namespace for devices and their UDP sockets; default: this process's own. */
  readonly namespace?: string;
}

/** Which WireGuard this host gets, and why in one line for `doctor`. */
export function probeTunnelDriver(): { readonly kind: LinuxTunnelKind; readonly why: string } {
  const { present, why } = kernelAddon().probeKernelWireguard();
  return { kind: present ? 'kernel' : 'embedded', why };
}

export function createLinuxTunnels(options: LinuxTunnelOptions = {}): TunnelDriver {
  return new LinuxTunnels(options.kind ?? probeTunnelDriver().kind, options.namespace);
}

class LinuxTunnels implements TunnelDriver {
  readonly kind: LinuxTunnelKind;
  readonly #namespace: string | undefined;
  readonly #live = new Map<string, LinuxTunnel>();

  constructor(kind: LinuxTunnelKind, namespace: string | undefined) {
    this.kind = kind;
    this.#namespace = namespace;
  }

  async create(spec: TunnelSpec): Promise<TunnelDevice> {
    checkTunnelSpec(spec);
    const device = attempt(`device ${spec.name}`, () => this.#open(spec));
    const tunnel = new LinuxTunnel(device, new TunnelPeers(spec.privateKey), () => this.#live.delete(spec.name));
    this.#live.set(spec.name, tunnel);
    return tunnel;
  }

  get survives(): boolean {
    return this.kind === 'kernel';
  }

  async adopt(name: string): Promise<AdoptedTunnel | undefined> {
    if (!this.survives) return undefined;
    const native = attempt(`device ${name}`, () => kernelAddon().KernelTunnel.adopt(name, this.#namespace));
    if (native === null) return undefined;
    const privateKey = attempt(`device ${name}`, () => native.privateKey());
    const peers = new TunnelPeers(privateKey);
    const device = new LinuxTunnel(native, peers, () => this.#live.delete(name));
    for (const { publicKey, allowedIps } of await device.peers()) peers.admit({ ...NO_SECRETS, publicKey, allowedIps });
    this.#live.set(name, device);
    return { device, privateKey };
  }

  async removeLeftovers(prefix: string): Promise<readonly string[]> {
    checkLeftoverPrefix(prefix);
    const { RouteNetlink, removeDeadControlSockets } = kernelAddon();
    const removed = new Set<string>();
    try {
      const netlink = new RouteNetlink(this.#namespace);
      for (const link of await netlink.links()) {
        const isTunnel = link.kind === 'tun' || link.kind === 'wireguard';
        if (!isTunnel || !link.name.startsWith(prefix) || this.#live.has(link.name)) continue;
        if (await netlink.deleteLink(link.ifindex)) removed.add(link.name);
      }
      // A killed process takes its TUN device with it, but not the control socket's file.
      for (const name of await removeDeadControlSockets(prefix)) removed.add(name);
    } catch (cause) {
      throw failed(`leftovers of ${prefix}`, cause);
    }
    return [...removed].sort();
  }

  #open(spec: TunnelSpec): NativeTunnel {
    const { EmbeddedTunnel, KernelTunnel } = kernelAddon();
    const { name, privateKey, listenPort, mtu } = spec;
    switch (this.kind) {
      case 'kernel':
        return KernelTunnel.open(name, privateKey, listenPort, mtu, this.#namespace);
      case 'embedded':
        return EmbeddedTunnel.open(name, privateKey, listenPort, mtu, this.#namespace);
    }
    return assertNever(this.kind);
  }
}

/** Of a peer that the kernel has: what is asked here is only whose the addresses are. */
const NO_SECRETS = { presharedKey: new Uint8Array(32), keepalive: 0 };

type NativeTunnel = Addon.EmbeddedTunnel | Addon.KernelTunnel;

class LinuxTunnel implements TunnelDevice {
  readonly name: string;
  readonly ifindex: number;
  readonly listenPort: number;
  readonly #native: NativeTunnel;
  readonly #peers: TunnelPeers;
  readonly #closed: () => void;
  /** The last call: changes of one device happen in the order they were asked for. */
  #last: Promise<unknown> = Promise.resolve();

  constructor(native: NativeTunnel, peers: TunnelPeers, closed: () => void) {
    this.#native = native;
    this.#peers = peers;
    this.#closed = closed;
    this.name = native.name;
    this.ifindex = native.ifindex;
    this.listenPort = native.listenPort;
  }

  addPeer(peer: TunnelPeer): Promise<void> {
    return this.#inTurn('add a peer to', async () => {
      this.#peers.admit(peer);
      try {
        await this.#native.addPeer(toRow(peer));
      } catch (cause) {
        this.#peers.release(peer.publicKey);
        throw cause;
      }
    });
  }

  async removePeer(publicKey: Uint8Array): Promise<boolean> {
    return (await this.removePeers([publicKey])) === 1;
  }

  removePeers(publicKeys: readonly Uint8Array[]): Promise<number> {
    return this.#inTurn('remove peers from', async () => {
      checkPublicKeys(publicKeys);
      const removed = await this.#native.removePeers(Buffer.concat(publicKeys));
      for (const publicKey of publicKeys) this.#peers.release(publicKey);
      return removed;
    });
  }

  removeAllPeers(): Promise<void> {
    return this.#inTurn('remove all peers from', async () => {
      await this.#native.removeAllPeers();
      this.#peers.clear();
    });
  }

  setKeepalive(publicKeys: readonly Uint8Array[], seconds: number): Promise<number> {
    return this.#inTurn('set keepalives of', async () => {
      checkPublicKeys(publicKeys);
      checkKeepalive(seconds);
      return await this.#native.setKeepalive(Buffer.concat(publicKeys), seconds);
    });
  }

  peers(): Promise<readonly TunnelPeerState[]> {
    return this.#inTurn('read the peers of', async () => (await this.#native.peers()).map(fromRow));
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.#inTurn('close', async () => {
      await this.#native.close();
      this.#closed();
    });
  }

  #inTurn<T>(what: string, work: () => Promise<T>): Promise<T> {
    const turn = this.#last.then(async () => {
      try {
        return await work();
      } catch (cause) {
        throw failed(`${what} ${this.name}`, cause);
      }
    });
    this.#last = turn.catch(() => undefined);
    return turn;
  }
}

function toRow(peer: TunnelPeer): Addon.PeerRow {
  const row: Addon.PeerRow = {
    publicKey: peer.publicKey,
    presharedKey: peer.presharedKey,
    allowedIps: peer.allowedIps.map(({ address, length }) => ({ address, length })),
    keepalive: peer.keepalive,
  };
  if (peer.endpoint !== undefined) row.endpoint = peer.endpoint;
  return row;
}

function fromRow(row: Addon.PeerStateRow): TunnelPeerState {
  const { publicKey, endpoint, allowedIps, handshakeAgeMs, receivedBytes, sentBytes, keepalive } = row;
  return {
    publicKey,
    allowedIps,
    receivedBytes,
    sentBytes,
    keepalive,
    ...(endpoint === undefined ? {} : { endpoint }),
    ...(handshakeAgeMs === undefined ? {} : { handshakeAgeMs }),
  };
}

function attempt<T>(what: string, call: () => T): T {
  try {
    return call();
  } catch (cause) {
    throw failed(what, cause);
  }
}

/** A refusal of our own says all there is; the kernel's words get what was tried. */
function failed(what: string, cause: unknown): ShellstreamError {
  if (cause instanceof ShellstreamError) return cause;
  return tunnelFailed(`${what}: ${cause instanceof Error ? cause.message : String(cause)}`, cause);
}
