/** A UDP socket on loopback that talks to one port of this host alone. */
import { createSocket } from 'node:dgram';
import { once } from 'node:events';

export interface UdpRelay {
  readonly endpoint: { readonly address: string; readonly port: number };
  send(packet: Uint8Array): void;
  close(): void;
}

/** @param port whose packets are taken, on 127.0.0.1: the kernel drops all others */
export async function openUdpRelay(port: number, onPacket: (packet: Uint8Array) => void): Promise<UdpRelay> {
  const socket = createSocket('udp4');
  let isClosed = false;
  // Nobody listens there just now: the packet is lost, as packets are.
  socket.on('error', () => undefined);
  socket.on('message', (packet) => onPacket(packet));
  socket.bind(0, '127.0.0.1');
  await once(socket, 'listening');
  socket.connect(port, '127.0.0.1');
  await once(socket, 'connect');
  return {
    endpoint: { address: '127.0.0.1', port: socket.address().port },
    send: (packet) => {
      // It leaves after this turn, and the packet is another's then.
      if (!isClosed) socket.send(packet.slice());
    },
    close: () => {
      if (!isClosed) socket.close();
      isClosed = true;
    },
  };
}
