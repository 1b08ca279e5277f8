/** What a gateway costs: it is several processes, so memory, descriptors and processor time are asked of a whole tree. */
import { readdir, readFile } from 'node:fs/promises';
import { run } from './processes.ts';

/** The process and all below it. */
export async function treeOf(pid: number): Promise<readonly number[]> {
  const parents = new Map<number, number>();
  for (const name of await readdir('/proc')) {
    if (!/^\d+$/.test(name)) continue;
    const fields = await statOf(Number(name));
    if (fields !== undefined) parents.set(Number(name), Number(fields[PARENT]));
  }
  const isBelow = (one: number | undefined): boolean => one !== undefined && (one === pid || isBelow(parents.get(one)));
  return [...parents.keys()].filter(isBelow);
}

/** Bytes of memory that the tree has in place. */
export async function residentBytes(pid: number): Promise<number> {
  const each = await Promise.all(
    (await treeOf(pid)).map(async (one) => {
      const status = await readFile(`/proc/${one}/status`, 'utf8').catch(() => '');
      return Number(/^VmRSS:\s+(\d+) kB$/m.exec(status)?.[1] ?? 0) * 1024;
    }),
  );
  return each.reduce((sum, bytes) => sum + bytes, 0);
}

/** Processor time of the tree since it began, milliseconds. */
export async function processorMs(pid: number): Promise<number> {
  const each = await Promise.all((await treeOf(pid)).map(statOf));
  return each.reduce((sum, fields) => sum + (Number(fields?.[USER]) + Number(fields?.[SYSTEM]) || 0) * 10, 0);
}

export async function openFiles(pid: number): Promise<number> {
  return (await readdir(`/proc/${pid}/fd`)).length;
}

/** The soft limit of descriptors, set as the process's own user: to lower it for others takes a capability. */
export async function limitFiles(pid: number, most: number): Promise<void> {
  const status = await readFile(`/proc/${pid}/status`, 'utf8');
  const idOf = (what: 'Uid' | 'Gid'): string => new RegExp(`^${what}:\\s+(\\d+)`, 'm').exec(status)?.[1] ?? '';
  const user = ['--reuid', idOf('Uid'), '--regid', idOf('Gid'), '--clear-groups'];
  await run('setpriv', [...user, 'prlimit', '--pid', String(pid), `--nofile=${most}:`]);
}

/** What the process is called: of a terminator in a jail, its jailer's is `bwrap`. */
export async function nameOf(pid: number): Promise<string> {
  return (await readFile(`/proc/${pid}/comm`, 'utf8')).trim();
}

// Fields of /proc/PID/stat behind the name, which may hold spaces; proc_pid_stat(5) counts them from 3.
const PARENT = 4 - 3;
const USER = 14 - 3;
const SYSTEM = 15 - 3;

async function statOf(pid: number): Promise<readonly string[] | undefined> {
  const stat = await readFile(`/proc/${pid}/stat`, 'utf8').catch(() => undefined);
  return stat?.slice(stat.lastIndexOf(')') + 2).split(' ');
}
