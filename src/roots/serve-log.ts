/** The published log over HTTP, for anyone who is let to the address. */
import { createServer } from 'node:http';
import { ShellstreamError } from '../../protocol/errors.ts';
import type { Endpoint } from '../base/config-schema.ts';
import { serveLog } from '../evidence/tile-server.ts';

export async function serveLogAt({ host, port }: Endpoint, path: string): Promise<AsyncDisposable> {
  const handler = serveLog('', path);
  const server = createServer(
    { maxHeaderSize: 8 * 1024, headersTimeout: 5_000, requestTimeout: 5_000, keepAliveTimeout: 5_000 },
    (request, response) => void handler(request, response),
  );
  server.maxConnections = 64;
  await new Promise<void>((resolve, reject) => {
    server.once('error', (cause) => {
      reject(new ShellstreamError('INTERNAL', `the evidence log cannot be served on ${host} port ${port}`, { cause }));
    });
    server.listen({ host, port }, resolve);
  });
  return {
    async [Symbol.asyncDispose]() {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}
