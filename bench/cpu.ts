import { readdirSync, readFileSync } from 'node:fs';

/**
 * CPU time of a process and of all it started that still lives, in microseconds: user and system, every thread, as the
 * kernel's scheduler counts it (nanoseconds in /proc/PID/task/TID/schedstat; the ticks of /proc/PID/stat are too coarse).
 */
export function cpuMicroseconds(pid: number): number {
  return descendants(pid).reduce(
    (sum, each) => sum + threadsOf(each).reduce((total, thread) => total + cpuOf(each, thread), 0),
    0,
  );
}

/** The process itself first. */
export function descendants(pid: number): readonly number[] {
  const children = threadsOf(pid).flatMap((thread) =>
    readFileSync(`/proc/${pid}/task/${thread}/children`, 'utf8')
      .split(' ')
      .filter((child) => child.trim() !== ''),
  );
  return [pid, ...children.flatMap((child) => descendants(Number(child)))];
}

function threadsOf(pid: number): readonly string[] {
  return readdirSync(`/proc/${pid}/task`);
}

function cpuOf(pid: number, thread: string): number {
  return Number(readFileSync(`/proc/${pid}/task/${thread}/schedstat`, 'utf8').split(' ')[0]) / 1000;
}
