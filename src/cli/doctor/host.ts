/** What a diagnosis looks at on this host. `real-host.ts` is the real one; tests bring hosts that lack things. */
import type { LoadedAccord } from '../../base/accord-file.ts';
import type { Config } from '../../base/config.ts';
import type { TunnelView } from '../../control/ports.ts';

export interface Host {
  /** As `uname -r`. */
  readonly kernelRelease: string;
  readonly nodeVersion: string;
  /** Undefined: not there or not readable. */
  readText(path: string): Promise<string | undefined>;
  /** Opens for reading and writing and closes again. Undefined: it opens; else why not. */
  whyNotOpen(path: string): Promise<string | undefined>;
  /** Listens and closes again. Undefined: the port is free; else why not. */
  whyNotBound(kind: 'tcp' | 'udp', address: string, port: number): Promise<string | undefined>;
  loadConfig(path: string): Promise<Config>;
  loadAccord(path: string): Promise<LoadedAccord>;
  /** One answer of the Workload API; rejects with its words, also after a few seconds of silence. */
  workloadIdentity(socket: string): Promise<WorkloadIdentity>;
  /** Loads each part that is built. Undefined: it loads; else why not. */
  whyNotLoaded(part: NativePart): Promise<string | undefined>;
  /** Makes one as for a terminator, and ends it again. Undefined: it can be had; else why not. */
  whyNotJailed(): Promise<string | undefined>;
  /** What the gateway would choose for `wireguard.driver: auto`; `none` with why. */
  probeTunnel(): Promise<TunnelProbe>;
}

export type TunnelProbe = Pick<TunnelView, 'driver' | 'why'>;
export type NativePart = 'crypto' | 'kernel' | 'bpf' | 'sandbox';

export interface WorkloadIdentity {
  readonly spiffeIds: readonly string[];
  /** Of the first, milliseconds since the epoch. */
  readonly expiresAtMs: number | undefined;
  readonly trustDomains: readonly string[];
}
