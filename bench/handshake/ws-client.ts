import { WebSocket } from 'ws';
import type { Identities } from './identities.ts';

const MESSAGE = Buffer.alloc(64, 7);

/** Upgrade, one echo, close: the session of a peer that has no attestation. */
export async function echoOnce(url: string, identities?: Identities, withCertificate = true): Promise<void> {
  const tls =
    identities === undefined
      ? {}
      : {
          ca: identities.ca,
          // A SPIFFE ID is no host name; the chain is verified all the same.
          checkServerIdentity: () => undefined,
          ...(withCertificate ? { cert: identities.client.cert, key: identities.client.key } : {}),
        };
  const socket = new WebSocket(url, { perMessageDeflate: false, agent: false, ...tls });
  let echoed = false;
  socket.on('open', () => socket.send(MESSAGE));
  socket.on('message', (message) => {
    echoed = message instanceof Buffer && message.equals(MESSAGE);
    socket.close();
  });
  await new Promise<void>((resolve, reject) => {
    socket.on('error', reject);
    socket.on('close', () => (echoed ? resolve() : reject(new Error('closed without its echo'))));
  });
}

/** Rejects when a client without a certificate gets its echo. */
export async function provesMutualTls(url: string, identities: Identities): Promise<void> {
  const admitted = await echoOnce(url, identities, false).then(
    () => true,
    () => false,
  );
  if (admitted) throw new Error('the peer admits clients without a certificate: no comparison');
}
