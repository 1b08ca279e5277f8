/** What answers gRPC calls on the HTTP/2 sessions of a server, whatever a client says in their heads. */
import { constants, type Http2ServerRequest, type Http2ServerResponse } from 'node:http2';
import { type ConnectNodeAdapterOptions, connectNodeAdapter } from '@connectrpc/connect-node';

export type GrpcListener = (request: Http2ServerRequest, response: Http2ServerResponse) => void;

export function grpcListener(options: ConnectNodeAdapterOptions): GrpcListener {
  const handle = connectNodeAdapter({ ...options, connect: false, grpcWeb: false });
  return (request, response) => {
    // The adapter makes a URL of the authority, and what is none would end this process: nobody catches there. Who calls
    // is known by the connection, so nothing reads it; gRPC's own clients send the path of a unix socket in it.
    request.headers[':authority'] = 'localhost';
    try {
      handle(request, response);
    } catch {
      response.stream.close(constants.NGHTTP2_PROTOCOL_ERROR);
    }
  };
}
