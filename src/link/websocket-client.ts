/** Dialling a gateway. */
import type { IncomingMessage } from 'node:http';
import { WebSocket } from 'ws';
import { ShellstreamError } from '../../protocol/errors.ts';
import { type Clock, systemClock } from '../base/clock.ts';
import type { Link } from './link.ts';
import { SUBPROTOCOL, WEBSOCKET_LIMITS, WebSocketLink } from './websocket-link.ts';

export interface WebSocketDialOptions {
  /** From the first packet to the answered upgrade, milliseconds. */
  readonly timeoutMs: number;
  readonly signal?: AbortSignal;
  readonly clock?: Clock;
}

/**
 * A link to `ws://…` or `wss://…`.
 * @throws ShellstreamError CONNECTION_LOST: refused, timed out, aborted, or what answers is no gateway
 */
export function dialWebSocket(url: string, options: WebSocketDialOptions): Promise<Link> {
  const { signal, timeoutMs, clock = systemClock } = options;
  return new Promise((resolve, reject) => {
    if (signal?.aborted) return reject(failure(url, 'aborted'));
    if (!/^wss?:\/\//.test(url)) return reject(failure(url, 'neither ws: nor wss:'));
    const webSocket = new WebSocket(url, [SUBPROTOCOL], {
      ...WEBSOCKET_LIMITS,
      // Whom we dial is configured; a redirect would let an unauthenticated answer choose another.
      followRedirects: false,
      maxHeaderSize: 8_192,
    });
    const timer = clock.after(timeoutMs, () => giveUp('timed out'));
    const aborted = (): void => giveUp('aborted');
    signal?.addEventListener('abort', aborted, { once: true });
    webSocket.once('error', (error) => giveUp(error.message, error));
    webSocket.once('upgrade', (response: IncomingMessage) => {
      webSocket.once('open', () => {
        settle();
        resolve(new WebSocketLink(webSocket, response.socket));
      });
    });

    function settle(): void {
      timer.cancel();
      signal?.removeEventListener('abort', aborted);
      webSocket.removeAllListeners();
    }

    function giveUp(why: string, cause?: Error): void {
      settle();
      // `terminate` of a socket that still connects tells its failure as an error.
      webSocket.on('error', () => {});
      webSocket.terminate();
      reject(failure(url, why, cause));
    }
  });
}

function failure(url: string, why: string, cause?: Error): ShellstreamError {
  return new ShellstreamError('CONNECTION_LOST', `cannot connect to ${url}: ${why}`, { cause });
}
