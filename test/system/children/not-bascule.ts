/**
 * Somebody who is not Bascule: `not-bascule.ts silence|garbage STREAM PUSH`. Listens where Bascule's stream was, connects to
 * where it pushes, and says nothing or what is no TLS, on both. Tells when it was dialled, and when its own connection was cut.
 */
import { randomBytes } from 'node:crypto';
import { connect, createServer, type Socket } from 'node:net';

const [what = '', stream = '', push = ''] = process.argv.slice(2);
const HOST = '127.0.0.1';

createServer((socket) => {
  console.log('dialled by the gateway');
  speak(socket);
}).listen(Number(stream), HOST);

const own = connect(Number(push), HOST, () => speak(own));
own.on('close', () => console.log('cut off by the gateway'));

function speak(socket: Socket): void {
  socket.on('error', () => undefined);
  // An alert that nobody reads would keep back the end behind it.
  socket.resume();
  if (what === 'garbage') socket.write(randomBytes(65_536));
}
