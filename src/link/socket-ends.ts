import type { Socket } from 'node:net';
import { type Ends, plainAddress } from './base-link.ts';

/** The two ends of a connected socket; a socket file has a name for neither. */
export function socketEnds(socket: Socket): Ends {
  if (socket.remoteAddress === undefined) {
    return { remoteAddress: 'unix', remotePort: 0, localAddress: 'unix', localPort: 0 };
  }
  return {
    remoteAddress: plainAddress(socket.remoteAddress),
    remotePort: socket.remotePort ?? 0,
    localAddress: plainAddress(socket.localAddress),
    localPort: socket.localPort ?? 0,
  };
}
