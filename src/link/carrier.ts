/** How links come to be, both ways: what a gateway must be given to reach others and be reached. */
import type { Link, Visit } from './link.ts';
import { dialWebSocket } from './websocket-client.ts';
import { listenWebSocket } from './websocket-server.ts';

export interface Endpoint {
  readonly host: string;
  readonly port: number;
}

export interface ListenOptions {
  readonly address: string;
  /** 0: one that is free. */
  readonly port: number;
  /** Whether other processes of this user share the port; the kernel spreads connections over them. */
  readonly reusePort?: boolean;
  /** Asked when a connection comes, before a byte of it is read; undefined: it is cut. Disposed of when it is gone. */
  readonly meet?: (remoteAddress: string) => Visit | undefined;
  /** Asked before anything is answered; false: the connection is cut without a word. */
  readonly admit: (remoteAddress: string) => boolean;
  readonly accept: (link: Link) => void;
}

export interface Carrier {
  /** @throws ShellstreamError CONNECTION_LOST */
  dial(to: Endpoint, options: { readonly timeoutMs: number; readonly signal: AbortSignal }): Promise<Link>;
  /** Disposing stops listening and ends every connection that came in. */
  listen(options: ListenOptions): Promise<AsyncDisposable & { readonly port: number }>;
}

export const webSocketCarrier: Carrier = {
  dial: ({ host, port }, options) => dialWebSocket(`ws://${host.includes(':') ? `[${host}]` : host}:${port}/`, options),
  listen: listenWebSocket,
};
