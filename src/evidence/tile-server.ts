/** The log over HTTP, c2sp.org/tlog-tiles: the files of a folder and nothing else. For any server to mount; reads only. */
import type { IncomingMessage, ServerResponse } from 'node:http';
import { parseTilePath } from '../../protocol/evidence/index.ts';
import { LogDirectory } from './log-directory.ts';

export type LogHandler = (request: IncomingMessage, response: ServerResponse) => Promise<void>;

/**
 * @param prefix of the log's URL, without a slash at its end; empty: none. @param path of its folder.
 * Anyone may ask: what is served are commitments. Names are parsed, never joined to a path as they come.
 */
export function serveLog(prefix: string, path: string): LogHandler {
  const log = new LogDirectory(path);
  return async (request, response) => {
    if (request.method !== 'GET' && request.method !== 'HEAD') return answer(response, 405, { Allow: 'GET, HEAD' });
    const url = request.url ?? '';
    const name = url.startsWith(`${prefix}/`) ? url.slice(prefix.length + 1) : '';
    const headers =
      name === 'checkpoint' ? CHECKPOINT_HEADERS : parseTilePath(name) === undefined ? undefined : TILE_HEADERS;
    if (headers === undefined) return answer(response, 404);
    let bytes: Uint8Array | undefined;
    try {
      bytes = await log.file(name);
    } catch {
      return answer(response, 503);
    }
    if (bytes === undefined) return answer(response, 404);
    response.writeHead(200, { ...headers, 'Content-Length': bytes.length });
    response.end(request.method === 'HEAD' ? undefined : bytes);
  };
}

/** A page of any other site may verify it in its reader's browser: it asks without credentials, and there are none. */
const FOR_ANYONE = { 'Access-Control-Allow-Origin': '*' };
const CHECKPOINT_HEADERS = {
  ...FOR_ANYONE,
  'Content-Type': 'text/plain; charset=utf-8',
  'Cache-Control': 'no-cache',
};
const TILE_HEADERS = {
  ...FOR_ANYONE,
  'Content-Type': 'application/octet-stream',
  'Cache-Control': 'public, max-age=31536000, immutable',
  'X-Content-Type-Options': 'nosniff',
};

function answer(response: ServerResponse, status: number, headers: Record<string, string> = {}): void {
  // A tile that is not there yet must not stay away in somebody's cache.
  response.writeHead(status, { ...FOR_ANYONE, 'Cache-Control': 'no-store', ...headers, 'Content-Length': 0 });
  response.end();
}
