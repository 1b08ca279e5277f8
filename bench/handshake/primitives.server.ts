/**
 * The floor: a plain WebSocket upgrade and echo, and beside it only the primitives that a responder cannot do without.
 * One Noise XX, one P-256 signature for its own evidence, three P-256 verifications (chain, evidence, token).
 */
import { generateKeyPairSync, sign, verify } from 'node:crypto';
import { createServer } from 'node:http';
import { WebSocketServer } from 'ws';
import { noiseXX } from '../../protocol/noise/index.ts';
import { loadCryptoProvider } from '../../src/base/crypto.ts';

const crypto = loadCryptoProvider();
const prologue = Buffer.from('shellstream/1');
const p256 = generateKeyPairSync('ec', { namedCurve: 'P-256' });
const message = crypto.randomBytes(200);
const signature = sign('sha256', message, p256.privateKey);
const [staticKey, fixedEphemeral] = [crypto.x25519Generate(), crypto.x25519Generate()];
const recorded = record();

new WebSocketServer({ server: createServer().listen(0, '127.0.0.1', tellPort), perMessageDeflate: false }).on(
  'connection',
  (socket) => {
    primitives();
    socket.on('message', (data) => socket.send(data));
  },
);

function tellPort(this: import('node:http').Server): void {
  const address = this.address();
  if (typeof address === 'object') process.stdout.write(`listening ${address?.port} ${crypto.name}\n`);
}

/** The ephemeral key is fixed so that the recorded initiator fits, and one more is made so that its cost counts. */
function primitives(): void {
  crypto.x25519Generate();
  const one = noiseXX
    .responder({ crypto, prologue, staticKey, ephemeralKey: fixedEphemeral })
    .readMessage(recorded.one);
  const two = one?.next.writeMessage(message);
  sign('sha256', message, p256.privateKey);
  const ends = two?.next.readMessage(recorded.three)?.next.split();
  for (let count = 0; count < 3; count += 1) {
    if (!verify('sha256', message, p256.publicKey, signature)) throw new Error('a signature does not verify');
  }
  if (ends === undefined) throw new Error('the recorded handshake does not fit');
}

function record(): { readonly one: Uint8Array; readonly three: Uint8Array } {
  const one = noiseXX.initiator({ crypto, prologue, staticKey: crypto.x25519Generate() }).writeMessage(message);
  const two = noiseXX
    .responder({ crypto, prologue, staticKey, ephemeralKey: fixedEphemeral })
    .readMessage(one.message)
    ?.next.writeMessage(message);
  const three = two && one.next.readMessage(two.message)?.next.writeMessage(message);
  if (three === undefined) throw new Error('the handshake was refused');
  return { one: one.message, three: three.message };
}
