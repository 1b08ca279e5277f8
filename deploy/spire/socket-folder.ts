/**
 * A folder of our own for the socket, since whoever can connect can configure the composer: 0700, and its name is not
 * foreseeable. SPIRE may kill its plugins, so each start takes away what killed ones left.
 */
import { lstatSync, mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { connect } from 'node:net';
import { join } from 'node:path';
import { ShellstreamError } from '../../protocol/errors.ts';

const PREFIX = 'shellstream-composer-';
const SOCKET = 'socket';
/** Two bytes less than sun_path: one for its end. */
const MAX_PATH = 107;
/** A folder younger than that may be one whose plugin is about to listen. */
const YOUNG_MS = 60_000;
/** Work at one start; the next one goes on. */
const MAX_SWEPT = 256;

export class SocketFolder implements Disposable {
  readonly socketPath: string;
  readonly #path: string;

  /** @param parent a folder that exists. Throws INTERNAL when the path would be too long for a socket. */
  constructor(parent: string) {
    if (Buffer.byteLength(join(parent, `${PREFIX}XXXXXX`, SOCKET)) > MAX_PATH)
      throw new ShellstreamError(
        'INTERNAL',
        `${parent}: too long for the path of a socket; set TMPDIR to a shorter one`,
      );
    this.#path = mkdtempSync(join(parent, PREFIX));
    this.socketPath = join(this.#path, SOCKET);
  }

  /** Idempotent. */
  [Symbol.dispose](): void {
    rmSync(this.#path, { recursive: true, force: true });
  }
}

/** Removes folders in `parent` of plugins of this user that are gone: nobody listens on their sockets. */
export async function sweep(parent: string, now: number): Promise<void> {
  const names = readdirSync(parent).filter((name) => name.startsWith(PREFIX));
  for (const name of names.slice(0, MAX_SWEPT)) {
    const folder = join(parent, name);
    // Others' plugins start and end meanwhile: what is no longer there needs no removing.
    if (isOwnAndOld(folder, now) && (await isDeaf(join(folder, SOCKET))))
      rmSync(folder, { recursive: true, force: true });
  }
}

function isOwnAndOld(folder: string, now: number): boolean {
  const stat = lstatSync(folder, { throwIfNoEntry: false });
  return stat?.isDirectory() === true && stat.uid === process.geteuid?.() && now - stat.mtimeMs > YOUNG_MS;
}

/** Whether there is a socket that nobody listens on. */
function isDeaf(socketPath: string): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(socketPath);
    socket.once('connect', () => {
      socket.destroy();
      resolve(false);
    });
    socket.once('error', (error: NodeJS.ErrnoException) => resolve(error.code === 'ECONNREFUSED'));
  });
}
