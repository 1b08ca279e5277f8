/** Who is at the other end of a unix socket: the ids its process had when it connected, told by the kernel. */
import type { Socket } from 'node:net';
import { ShellstreamError } from '../../../protocol/errors.ts';
import { kernelAddon } from './native.ts';

export interface PeerCredentials {
  /** A number for logs: the process may have ended, and the number may be another's by now. */
  readonly pid: number;
  readonly uid: number;
  readonly gid: number;
}

/** Of an accepted or connected unix socket that is still open. Throws NOT_AUTHENTICATED for anything else. */
export function peerCredentialsOf(socket: Socket): PeerCredentials {
  const fd = descriptorOf(socket);
  if (fd === undefined) throw new ShellstreamError('NOT_AUTHENTICATED', 'the socket has no descriptor (any more)');
  try {
    return kernelAddon().peerCredentials(fd);
  } catch (cause) {
    throw new ShellstreamError('NOT_AUTHENTICATED', 'the kernel does not say who the peer is', { cause });
  }
}

/** Node keeps it on its internal handle, and has no public name for it. */
function descriptorOf(socket: Socket): number | undefined {
  const handle: unknown = Reflect.get(socket, '_handle');
  if (typeof handle !== 'object' || handle === null) return undefined;
  const fd: unknown = Reflect.get(handle, 'fd');
  return typeof fd === 'number' && fd >= 0 ? fd : undefined;
}
