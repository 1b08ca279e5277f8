/** A file system on a disk of its own, that stops answering, or answers late, when it is told to. Needs root. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { attempt, type Running, run, start } from './processes.ts';

export interface OwnDisk extends AsyncDisposable {
  readonly path: string;
  /** Whoever writes waits until `thaw`. */
  freeze(): Promise<void>;
  thaw(): Promise<void>;
  /** Until it is disposed of, whoever writes may have to wait this long. */
  slow(seconds: number): Running;
}

export async function ownDisk(bytes: number): Promise<OwnDisk> {
  await using parts = new AsyncDisposableStack();
  const folder = await mkdtemp(join(tmpdir(), 'shs-disk-'));
  parts.defer(() => rm(folder, { recursive: true, force: true }));
  const image = join(folder, 'image');
  const path = join(folder, 'disk');
  await run('truncate', ['--size', String(bytes), image]);
  await run('mkfs.ext4', ['-q', image]);
  await run('mkdir', [path]);
  await run('mount', ['-o', 'loop', image, path]);
  parts.defer(async () => void (await attempt('umount', ['-l', path])));
  // Whoever hangs in it could not even be killed.
  parts.defer(async () => void (await attempt('fsfreeze', ['--unfreeze', path])));
  const owned = parts.move();
  return {
    path,
    freeze: async () => void (await run('fsfreeze', ['--freeze', path])),
    thaw: async () => void (await run('fsfreeze', ['--unfreeze', path])),
    slow: (seconds) => start('setpriv', ['--pdeathsig', 'TERM', 'sh', '-c', SLOW, 'sh', path, String(seconds)]),
    [Symbol.asyncDispose]: () => owned.disposeAsync(),
  };
}

/** From who uses it, who ends first: whoever still has it then writes into the folder beneath it, and is left there. */
export async function takeAway(disk: OwnDisk | undefined, user: AsyncDisposable): Promise<void> {
  // Whoever hangs in it could not be ended.
  await disk?.thaw().catch(() => undefined);
  await user[Symbol.asyncDispose]();
  await disk?.[Symbol.asyncDispose]();
}

/** The kernel has no disk that answers late; this one answers for a moment between two silences. */
const SLOW = `
trap 'fsfreeze --unfreeze "$1"; exit 0' TERM
while :; do fsfreeze --freeze "$1"; sleep "$2"; fsfreeze --unfreeze "$1"; sleep 0.02; done`;
