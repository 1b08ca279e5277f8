/** What programs of the lab print as JSON, as far as anybody here reads it. */

/** A line of `shellstream events --json`. */
export interface EventLine {
  readonly kind: string;
  readonly atMs: number;
  readonly reason?: string;
  readonly level?: number;
  readonly byPeer?: boolean;
  readonly denial?: {
    readonly cause: string;
    readonly direction: string;
    readonly destination: string;
    readonly destinationPort: number;
    readonly ifindex: number;
  };
}

/** Of `shellstream connect --json`. */
export interface GrantLine {
  readonly session: string;
  readonly capabilities: readonly string[];
  readonly effectiveLevel: number;
}

export function grantOf(line: string | undefined): GrantLine {
  const { grant }: { readonly grant: GrantLine } = JSON.parse(line ?? '');
  return grant;
}

/** The port of the line that says where a forward listens. */
export function listeningPort(line: string): number {
  const { listening }: { readonly listening: string } = JSON.parse(line);
  return Number(listening.split(':').at(-1));
}

export interface PostureAnswer {
  readonly effective: number;
  readonly sources: readonly { readonly source: string; readonly level: number }[];
  readonly problems: readonly string[];
}

export interface StatusAnswer {
  readonly tunnel: { readonly device: string };
  readonly interfaces: readonly { readonly name: string; readonly ifindex: number }[];
  readonly counts: { readonly tunnelPeers: number };
}
