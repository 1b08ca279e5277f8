/** A gateway's terminators as the kernel has them: which processes listen, and which of them holds which connection. */
import { readdir, readFile, readlink } from 'node:fs/promises';
import type { Site } from '../lab/site.ts';

const PORT = 7843;

/** Of the processes that listen on the gateway's port, the lowest first. */
export async function terminatorsOf(site: Site): Promise<readonly number[]> {
  const { stdout } = await site.run('ss', '-Hltnp', `sport = :${PORT}`);
  return [...new Set(pidsIn(stdout))].sort((a, b) => a - b);
}

/** The process behind each connection that came to the gateway, by the other end's `address:port`. */
export async function holdersOf(site: Site): Promise<ReadonlyMap<string, number>> {
  const { stdout } = await site.run('ss', '-Htnp', 'state', 'established', `sport = :${PORT}`);
  return new Map(
    stdout
      .split('\n')
      .filter((line) => line !== '')
      .map((line) => [plain(line.trim().split(/\s+/)[3]), pidsIn(line)[0] ?? 0]),
  );
}

/** Where the connections of these processes to a gateway begin: `address:port`, as the gateway sees it. */
export async function originsOf(site: Site, pids: readonly number[]): Promise<readonly string[]> {
  const { stdout } = await site.run('ss', '-Htnp', 'state', 'established', `dport = :${PORT}`);
  return stdout
    .split('\n')
    .filter((line) => pidsIn(line).some((pid) => pids.includes(pid)))
    .map((line) => plain(line.trim().split(/\s+/)[2]));
}

export interface Footprint {
  readonly descriptors: number;
  readonly rssKb: number;
  /** Children that ended and that nobody asked for. */
  readonly zombies: number;
}

export async function footprintOf(pid: number): Promise<Footprint> {
  const descriptors = (await readdir(`/proc/${pid}/fd`)).length;
  const rssKb = Number(/VmRSS:\s+(\d+)/.exec(await readFile(`/proc/${pid}/status`, 'utf8'))?.[1]);
  const children = (await readFile(`/proc/${pid}/task/${pid}/children`, 'utf8')).trim().split(' ').filter(Boolean);
  const states = await Promise.all(children.map((child) => stateOf(Number(child))));
  return { descriptors, rssKb, zombies: states.filter((state) => state === 'Z').length };
}

/** As in /proc/PID/status; undefined when there is no such process. */
export async function stateOf(pid: number): Promise<string | undefined> {
  const status = await readFile(`/proc/${pid}/status`, 'utf8').catch(() => '');
  return /^State:\s+(\S)/m.exec(status)?.[1];
}

/** Whether it runs, or could when it is let. */
export async function isAlive(pid: number): Promise<boolean> {
  const state = await stateOf(pid);
  return state !== undefined && state !== 'Z' && state !== 'X';
}

/** What the process has open: `3 socket:[123]`. */
export async function descriptorsOf(pid: number): Promise<readonly string[]> {
  const names = await readdir(`/proc/${pid}/fd`);
  const each = await Promise.all(
    names.map(async (fd) => {
      const target = await readlink(`/proc/${pid}/fd/${fd}`).catch((error: NodeJS.ErrnoException) => error.code);
      // What was closed since they were listed is not open.
      return target === 'ENOENT' ? [] : [`${fd} ${target}`];
    }),
  );
  return each.flat();
}

/** A listener of both families names IPv4 peers `[::ffff:192.0.2.1]:1`. */
function plain(place = ''): string {
  return place.replace(/^\[(?:::ffff:)?(.*)\]:/, '$1:');
}

function pidsIn(text: string): readonly number[] {
  return [...text.matchAll(/pid=(\d+)/g)].map(([, pid]) => Number(pid));
}
