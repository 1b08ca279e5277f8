/** Takes the path of a unix socket to listen at: its folder, what lies there, and the socket's rights before anyone sees it. */
import { mkdirSync } from 'node:fs';
import { chmod, chown, lstat, mkdir, rename, rm } from 'node:fs/promises';
import { connect, type Server } from 'node:net';
import { basename, dirname, join } from 'node:path';
import { ShellstreamError } from '../../protocol/errors.ts';

export interface SocketPlace {
  /** Absolute; at most 98 bytes, for sun_path holds 107 and the name it is bound under is longer. */
  readonly path: string;
  /** A group that may connect; undefined: the daemon's own user only. */
  readonly group?: number | undefined;
}

/** Listens at the path. The returned disposer removes the socket again, if it still is ours. */
export async function listenAt(server: Server, place: SocketPlace): Promise<AsyncDisposable> {
  const { path, group } = place;
  if (Buffer.byteLength(path) > 98) throw unusable(path, 'the path is longer than 98 bytes');
  await prepareFolder(dirname(path), group);
  await refuseUnlessStale(path);

  // Bound under another name, given its rights, then renamed: no moment in which it has wider ones, and a stale socket
  // is replaced in one step. rename(2) does not follow a symbolic link at its target.
  const hidden = join(dirname(path), `.${basename(path)}.${process.pid}`);
  await rm(hidden, { force: true });
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen(hidden, () => {
      server.off('error', reject);
      resolve();
    });
  });
  await chmod(hidden, group === undefined ? 0o600 : 0o660);
  if (group !== undefined) await giveTo(hidden, group);
  const { ino } = await lstat(hidden);
  await rename(hidden, path);

  return {
    async [Symbol.asyncDispose]() {
      const now = await lstat(path).catch(() => undefined);
      if (now?.ino === ino) await rm(path, { force: true });
    },
  };
}

async function prepareFolder(folder: string, group: number | undefined): Promise<void> {
  await mkdir(dirname(folder), { recursive: true, mode: 0o755 });
  try {
    makeFolder(folder, group === undefined ? 0o700 : 0o750);
    if (group !== undefined) await giveTo(folder, group);
  } catch (error) {
    if (codeOf(error) !== 'EEXIST') throw unusable(folder, 'the folder cannot be made', error);
  }
  const found = await lstat(folder);
  if (!found.isDirectory()) throw unusable(folder, 'it is no folder');
  // Whoever can write there can put a socket of his own in our place and take the operator's orders.
  if (found.uid !== 0 && found.uid !== process.geteuid?.())
    throw unusable(folder, 'the folder belongs to another user');
  if ((found.mode & 0o022) !== 0) throw unusable(folder, 'others may write in the folder');
}

/** With exactly these rights, whatever the umask; by no chmod(2), which would take the set-group-ID bit away. */
function makeFolder(folder: string, mode: number): void {
  const mask = process.umask(0o777 & ~mode);
  try {
    mkdirSync(folder, { mode });
  } finally {
    process.umask(mask);
  }
}

/** In a folder with the set-group-ID bit it is that group's already, and chown(2) may be refused to us altogether. */
async function giveTo(path: string, group: number): Promise<void> {
  if ((await lstat(path)).gid !== group) await chown(path, -1, group);
}

async function refuseUnlessStale(path: string): Promise<void> {
  const found = await lstat(path).catch((error: unknown) => {
    if (codeOf(error) === 'ENOENT') return undefined;
    throw unusable(path, 'it cannot be looked at', error);
  });
  if (found === undefined) return;
  if (!found.isSocket()) throw unusable(path, 'something that is no socket lies there');
  if (await isAnswered(path)) throw unusable(path, 'another gateway answers there');
}

function isAnswered(path: string): Promise<boolean> {
  return new Promise((resolve, reject) => {
    const socket = connect(path);
    socket.once('connect', () => {
      socket.destroy();
      resolve(true);
    });
    socket.once('error', (error) => {
      if (codeOf(error) === 'ECONNREFUSED') resolve(false);
      else reject(unusable(path, 'it cannot be told whether a gateway answers there', error));
    });
  });
}

function codeOf(error: unknown): unknown {
  return error instanceof Error && 'code' in error ? error.code : undefined;
}

function unusable(path: string, why: string, cause?: unknown): ShellstreamError {
  return new ShellstreamError('INTERNAL', `the socket cannot be at ${path}: ${why}`, { cause });
}
