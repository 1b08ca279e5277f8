/** A peer: node:https with mutual TLS 1.3 and ws on it. Echoes one message of clients whose certificate names them. */
import { constants } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { createServer } from 'node:https';
import { join } from 'node:path';
import { TLSSocket } from 'node:tls';
import { WebSocketServer } from 'ws';

const [directory = '', clientId = ''] = process.argv.slice(2);
const read = (name: string): Buffer => readFileSync(join(directory, name));

const server = createServer({
  key: read('server.key'),
  cert: read('server.pem'),
  ca: read('ca.pem'),
  requestCert: true,
  rejectUnauthorized: true,
  minVersion: 'TLSv1.3',
  // Ours is X25519 alone; the hybrid that both libraries prefer today would cost the peers more.
  ecdhCurve: 'X25519',
  secureOptions: constants.SSL_OP_NO_TICKET,
});

new WebSocketServer({ server, perMessageDeflate: false }).on('connection', (socket, request) => {
  const tls = request.socket;
  const isClient =
    tls instanceof TLSSocket &&
    tls.authorized &&
    !tls.isSessionReused() &&
    tls.getPeerCertificate().subjectaltname === `URI:${clientId}`;
  if (!isClient) return socket.terminate();
  socket.on('message', (message) => socket.send(message));
});

server.listen(0, '127.0.0.1', () => {
  const address = server.address();
  if (typeof address === 'object') process.stdout.write(`listening ${address?.port}\n`);
});
