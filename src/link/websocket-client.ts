/** Dialling a gateway. */
import { randomBytes } from 'node:crypto';
import { type ClientRequest, request as httpRequest, type IncomingMessage } from 'node:http';
import { request as httpsRequest } from 'node:https';
import type { Socket } from 'node:net';
import { ShellstreamError } from '../../protocol/errors.ts';
import { type Clock, systemClock } from '../base/clock.ts';
import type { Link } from './link.ts';
import { WebSocketLink } from './websocket-link.ts';
import { MAX_HEADER_BYTES, refuseAnswer, SUBPROTOCOL, VERSION } from './websocket-upgrade.ts';

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
    const key = randomBytes(16).toString('base64');
    const request = upgradeRequest(url, key);
    const timer = clock.after(timeoutMs, () => giveUp('timed out'));
    const aborted = (): void => giveUp('aborted');
    signal?.addEventListener('abort', aborted, { once: true });
    request.on('error', (error) => giveUp(error.message, error));
    // Whom we dial is configured; a redirect would let an unauthenticated answer choose another.
    request.once('response', ({ statusCode }) => giveUp(`status ${statusCode}`));
    request.once('upgrade', ({ headers }: IncomingMessage, socket: Socket, head: Buffer) => {
      const refusal = refuseAnswer(headers, key);
      if (refusal !== undefined) return giveUp(refusal);
      settle();
      socket.setNoDelay(true);
      resolve(new WebSocketLink(socket, head, 'client', clock));
    });
    request.end();

    function settle(): void {
      timer.cancel();
      signal?.removeEventListener('abort', aborted);
    }

    function giveUp(why: string, cause?: Error): void {
      settle();
      request.destroy();
      reject(failure(url, why, cause));
    }
  });
}

function upgradeRequest(url: string, key: string): ClientRequest {
  const target = new URL(url);
  const secure = target.protocol === 'wss:';
  target.protocol = secure ? 'https:' : 'http:';
  return (secure ? httpsRequest : httpRequest)(target, {
    agent: false,
    maxHeaderSize: MAX_HEADER_BYTES,
    headers: {
      Connection: 'Upgrade',
      Upgrade: 'websocket',
      'Sec-WebSocket-Version': VERSION,
      'Sec-WebSocket-Key': key,
      'Sec-WebSocket-Protocol': SUBPROTOCOL,
    },
  });
}

function failure(url: string, why: string, cause?: Error): ShellstreamError {
  return new ShellstreamError('CONNECTION_LOST', `cannot connect to ${url}: ${why}`, { cause });
}
