/** /metrics, /healthz and /readyz over HTTP, on a loopback address only. */
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import { type AddressInfo, BlockList, isIP } from 'node:net';
import { ShellstreamError } from '../../protocol/errors.ts';
import { healthOf } from './health.ts';
import type { Registry } from './metrics.ts';
import type { GatewayView } from './ports.ts';

export interface HttpOptions {
  /** An IP address, not a name: 127.0.0.0/8 or ::1. */
  readonly host: string;
  /** 0: the kernel chooses. */
  readonly port: number;
  readonly registry: Registry;
  readonly view: GatewayView;
}

export interface HttpServer extends AsyncDisposable {
  readonly port: number;
}

export async function startHttp({ host, port, registry, view }: HttpOptions): Promise<HttpServer> {
  if (!isLoopback(host)) {
    throw new ShellstreamError('INTERNAL', `metrics are served on a loopback address only, and ${host} is none`);
  }
  const server = createServer(
    { maxHeaderSize: 8 * 1024, headersTimeout: 5_000, requestTimeout: 5_000, keepAliveTimeout: 5_000 },
    (request, response) => void respond(request, response),
  );
  server.maxConnections = 32;
  await new Promise<void>((resolve, reject) => {
    server.once('error', (cause) => {
      reject(new ShellstreamError('INTERNAL', `metrics cannot listen on ${host} port ${port}`, { cause }));
    });
    server.listen({ host, port }, resolve);
  });
  return {
    port: portOf(server.address()),
    async [Symbol.asyncDispose]() {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };

  async function respond(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const page = await pageFor(request).catch((): Page => ({ status: 500, text: 'the gateway does not answer\n' }));
    response.writeHead(page.status, {
      'content-type': page.type ?? 'text/plain; charset=utf-8',
      'content-length': Buffer.byteLength(page.text),
      'cache-control': 'no-store',
    });
    response.end(request.method === 'HEAD' ? undefined : page.text);
  }

  async function pageFor({ method, url, headers }: IncomingMessage): Promise<Page> {
    // DNS rebinding: a web page in a browser on this host reaches loopback under its own name.
    if (!isLoopbackName(headers.host)) return { status: 421, text: 'this is served to loopback names only\n' };
    if (method !== 'GET' && method !== 'HEAD') return { status: 405, text: 'GET only\n' };
    switch (url) {
      case '/metrics':
        return { status: 200, type: 'text/plain; version=0.0.4; charset=utf-8', text: await registry.expose() };
      case '/healthz': {
        const { isLive, problems } = healthOf(await view.status());
        return verdict(isLive, problems);
      }
      case '/readyz': {
        const { isReady, problems } = healthOf(await view.status());
        return verdict(isReady, problems);
      }
      default:
        return { status: 404, text: '/metrics, /healthz, /readyz\n' };
    }
  }
}

export function isLoopback(host: string): boolean {
  const version = isIP(host);
  return version !== 0 && LOOPBACK.check(host, version === 4 ? 'ipv4' : 'ipv6');
}

interface Page {
  readonly status: number;
  readonly text: string;
  readonly type?: string;
}

function verdict(isGood: boolean, problems: readonly string[]): Page {
  return {
    status: isGood ? 200 : 503,
    text: [isGood ? 'ok' : 'failing', ...problems].map((line) => `${line}\n`).join(''),
  };
}

function isLoopbackName(host: string | undefined): boolean {
  const name = host?.replace(/:\d+$/, '').replace(/^\[(.*)\]$/, '$1') ?? '';
  return name === 'localhost' || isLoopback(name);
}

function portOf(address: AddressInfo | string | null): number {
  return typeof address === 'object' && address !== null ? address.port : 0;
}

const LOOPBACK = new BlockList();
LOOPBACK.addSubnet('127.0.0.0', 8, 'ipv4');
LOOPBACK.addAddress('::1', 'ipv6');
