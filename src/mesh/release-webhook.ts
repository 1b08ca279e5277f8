/**
 * Where signed releases come by HTTP, on a loopback address: POST / with the document. Whoever may reach it is told no more
 * than that nobody known signed what he sent; the signature alone is what lets a site in again.
 */
import { createServer, type IncomingMessage } from 'node:http';
import { reasonOf, ShellstreamError } from '../../protocol/errors.ts';
import { MAX_RELEASE_BYTES } from '../../protocol/hold/index.ts';
import type { Reason } from '../../protocol/reasons.ts';
import type { Clock } from '../base/clock.ts';
import type { Logger } from '../base/logger.ts';
import { TokenBuckets } from '../gateway/token-buckets.ts';
import type { Holds } from './holds.ts';

export interface ReleaseWebhookOptions {
  readonly host: string;
  /** 0: the kernel chooses. */
  readonly port: number;
  readonly holds: Pick<Holds, 'deliver'>;
  readonly clock: Clock;
  readonly log: Logger;
}

export interface ReleaseWebhook extends AsyncDisposable {
  readonly port: number;
}

export async function serveReleases(options: ReleaseWebhookOptions): Promise<ReleaseWebhook> {
  const { host, port, clock } = options;
  // Releases are rare: more than these are somebody who guesses.
  const rate = new TokenBuckets(clock, { perSecond: 1, burst: 10 });
  const limits = { maxHeaderSize: 8 * 1024, headersTimeout: 5_000, requestTimeout: 5_000, keepAliveTimeout: 1_000 };
  const server = createServer(limits, (request, response) => {
    void answer(request, rate, options).then(({ status, text }) => {
      response.writeHead(status, { 'content-type': 'text/plain; charset=utf-8', connection: 'close' });
      response.end(`${text}\n`);
    });
  });
  server.maxConnections = 8;
  await new Promise<void>((resolve, reject) => {
    server.once('error', (cause) => {
      reject(new ShellstreamError('INTERNAL', `releases cannot be taken on ${host} port ${port}`, { cause }));
    });
    server.listen({ host, port }, resolve);
  });
  const address = server.address();
  return {
    port: typeof address === 'object' && address !== null ? address.port : port,
    async [Symbol.asyncDispose]() {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

interface Answer {
  readonly status: number;
  readonly text: string;
}

async function answer(
  request: IncomingMessage,
  rate: TokenBuckets,
  { holds, log }: ReleaseWebhookOptions,
): Promise<Answer> {
  if (request.url !== '/') return { status: 404, text: 'POST / takes a signed release' };
  if (request.method !== 'POST') return { status: 405, text: 'POST only' };
  if (!rate.take('127.0.0.1')) return { status: 429, text: 'RATE_LIMITED' };
  try {
    const { id, peer } = await holds.deliver(await bodyOf(request));
    log.warn('signed release taken by HTTP', { peer, hold: id });
    return { status: 200, text: `released ${id}` };
  } catch (error) {
    const reason = reasonOf(error);
    log.warn('a release was refused', { reason, error });
    return { status: STATUS[reason] ?? 500, text: reason };
  }
}

async function bodyOf(request: IncomingMessage): Promise<Uint8Array> {
  const parts: Buffer[] = [];
  let length = 0;
  for await (const part of request) {
    length += part.length;
    if (length > MAX_RELEASE_BYTES) throw new ShellstreamError('MALFORMED', 'longer than a release can be');
    parts.push(part);
  }
  return Buffer.concat(parts);
}

const STATUS: Partial<Record<Reason, number>> = {
  MALFORMED: 400,
  RELEASE_UNTRUSTED: 403,
  RELEASE_EXPIRED: 403,
  RELEASE_LEVEL: 403,
  RELEASE_SPENT: 409,
  RELEASE_MISMATCH: 404,
  OVERLOADED: 503,
};
