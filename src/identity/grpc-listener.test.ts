/** Heads of requests that HTTP/2 lets through, to a service that takes whole gateways with it if it falls. */
import { once } from 'node:events';
import { connect, createServer, type Http2Server, type OutgoingHttpHeaders } from 'node:http2';
import { gzipSync } from 'node:zlib';
import { Code, createClient } from '@connectrpc/connect';
import { createGrpcTransport } from '@connectrpc/connect-node';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { Quartermaster } from '../../protocol/gen/shellstream/quartermaster/v1/quartermaster_pb.ts';
import { grpcListener } from './grpc-listener.ts';

let server: Http2Server;
let origin: string;

beforeEach(async () => {
  const routes = grpcListener({
    readMaxBytes: 1 << 20,
    routes: (router) => void router.service(Quartermaster, { getPosition: async () => ({ next: 7n }) }),
  });
  server = createServer(routes);
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const address = server.address();
  origin = `http://127.0.0.1:${typeof address === 'object' ? address?.port : 0}`;
});
afterEach(() => new Promise((resolve) => server.close(resolve)));

test('as gRPC clients of a unix socket say it: the authority is a path', async () => {
  expect(await statusOf({ ':authority': 'run%2Fshellstream%2Fmain%2Fquartermaster.sock' })).toBe('0');
});

test.each<[string, OutgoingHttpHeaders]>([
  ['an authority that is none', { ':authority': 'a b' }],
  ['an authority of brackets', { ':authority': '[' }],
  ['a port that is none', { ':authority': 'x:99999' }],
  ['an empty authority', { ':authority': '' }],
  ['a scheme that is none', { ':scheme': '%', ':authority': '%' }],
  ['a path with an authority of its own', { ':path': '//[/x' }],
  ['a query', { ':path': `/${Quartermaster.typeName}/GetPosition?://[` }],
  ['a timeout that is none', { 'grpc-timeout': '-1Z' }],
  ['an encoding that is none', { 'grpc-encoding': '../x' }],
  ['a type that is none', { 'content-type': '\u00ff' }],
  ['another method', { ':method': 'PATCH' }],
])('attack: %s ends nothing but its call', async (_, heads) => {
  await statusOf(heads);
  const client = createClient(Quartermaster, createGrpcTransport({ baseUrl: origin }));
  expect((await client.getPosition({})).next).toBe(7n);
});

test('attack: a message that swells when it is unpacked', async () => {
  const bomb = gzipSync(Buffer.alloc(16 << 20));
  const length = Buffer.alloc(4);
  length.writeUInt32BE(bomb.length);
  const message = Buffer.concat([Buffer.of(1), length, bomb]);
  expect(await statusOf({ 'grpc-encoding': 'gzip' }, message)).toBe(String(Code.ResourceExhausted));
});

/** Of one call with these heads; what comes back, if anything does. */
async function statusOf(heads: OutgoingHttpHeaders, message = Buffer.alloc(5)): Promise<unknown> {
  const session = connect(origin);
  session.on('error', () => undefined);
  try {
    const call = session.request({
      ':method': 'POST',
      ':path': `/${Quartermaster.typeName}/GetPosition`,
      'content-type': 'application/grpc',
      te: 'trailers',
      ...heads,
    });
    let status: unknown;
    call.on('response', (got) => {
      status = got['grpc-status'];
    });
    call.on('trailers', (got) => {
      status = got['grpc-status'];
    });
    call.on('error', () => undefined);
    call.end(message);
    call.resume();
    await new Promise((resolve) => call.once('close', resolve));
    return status;
  } finally {
    session.destroy();
  }
}
