/**
 * The peers: node:tls with mutual TLS 1.3. `ends`: the connection's bytes end here. `forwards PORT`: they are piped to a
 * TCP target and back, which is what our gateway does with a stream.
 */
import { constants } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { connect } from 'node:net';
import { join } from 'node:path';
import { pipeline } from 'node:stream';
import { createServer } from 'node:tls';
import { serve } from './transfer.ts';

const [directory = '', kind = '', target = ''] = process.argv.slice(2);
const read = (name: string): Buffer => readFileSync(join(directory, name));

const server = createServer(
  {
    key: read('server.key'),
    cert: read('server.pem'),
    ca: read('ca.pem'),
    requestCert: true,
    rejectUnauthorized: true,
    minVersion: 'TLSv1.3',
    secureOptions: constants.SSL_OP_NO_TICKET,
    allowHalfOpen: true,
    noDelay: true,
  },
  (socket) => {
    if (kind === 'ends') return serve(socket);
    const upstream = connect({ host: '127.0.0.1', port: Number(target), allowHalfOpen: true, noDelay: true });
    pipeline(socket, upstream, () => undefined);
    pipeline(upstream, socket, () => undefined);
  },
);

server.listen(0, '127.0.0.1', () => {
  const address = server.address();
  if (address !== null && typeof address === 'object') process.stdout.write(`listening ${address.port}\n`);
});
