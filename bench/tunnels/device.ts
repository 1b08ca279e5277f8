import type { Namespace } from '../../test/support/namespaces.ts';

/** One end of a tunnel, of some make of WireGuard. */
export interface End extends AsyncDisposable {
  readonly name: string;
  /** Of the process that moves the packets. */
  readonly pid: number;
  addPeers(peers: readonly Peer[]): Promise<void>;
}

export interface Device extends End {
  removeAllPeers(): Promise<void>;
  peerCount(): Promise<number>;
}

export interface Peer {
  /** 32 bytes each. */
  readonly publicKey: Uint8Array;
  readonly presharedKey: Uint8Array;
  /** IPv4. */
  readonly allowedIp: { readonly address: Uint8Array; readonly length: number };
  readonly endpoint?: { readonly address: string; readonly port: number };
}

export interface DeviceSpec {
  readonly namespace: Namespace;
  /** Unique on the host: control sockets of WireGuard in user space have one directory for all namespaces. */
  readonly name: string;
  readonly privateKey: Uint8Array;
  readonly listenPort: number;
}

export interface Make<D extends End = Device> {
  readonly name: string;
  /** Creates the device and brings it up; it goes when it is disposed. */
  open(spec: DeviceSpec): Promise<D>;
}

export const MTU = 1420;

let opened = 0;

/** At most 15 characters. */
export function deviceName(): string {
  opened += 1;
  return `shb${process.pid}x${opened}`;
}
