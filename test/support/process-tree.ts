/** What a gateway costs: it is several processes, so memory, descriptors and processor time are asked of a whole tree. */
import { readdir, readFile } from 'node:fs/promises';

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

// Fields of /proc/PID/stat behind the name, which may hold spaces; proc_pid_stat(5) counts them from 3.
const PARENT = 4 - 3;
const USER = 14 - 3;
const SYSTEM = 15 - 3;

async function statOf(pid: number): Promise<readonly string[] | undefined> {
  const stat = await readFile(`/proc/${pid}/stat`, 'utf8').catch(() => undefined);
  return stat?.slice(stat.lastIndexOf(')') + 2).split(' ');
}
