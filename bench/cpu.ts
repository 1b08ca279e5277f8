import { readdirSync, readFileSync } from 'node:fs';

/**
 * CPU time of a process and of all it started that still lives, in microseconds: user and system, every thread, as the
 * kernel's scheduler counts it (nanoseconds in /proc/PID/task/TID/schedstat; the ticks of /proc/PID/stat are too coarse).
 */
export function cpuMicroseconds(pid: number): number {
  let total = 0;
  for (const thread of readdirSync(`/proc/${pid}/task`)) {
    const folder = `/proc/${pid}/task/${thread}`;
    total += Number(readFileSync(`${folder}/schedstat`, 'utf8').split(' ')[0]) / 1000;
    for (const child of readFileSync(`${folder}/children`, 'utf8').split(' ')) {
      if (child.trim() !== '') total += cpuMicroseconds(Number(child));
    }
  }
  return total;
}
