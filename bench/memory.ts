import { readFileSync } from 'node:fs';
import { descendants } from './cpu.ts';

/** Resident memory of a process and of all it started that still lives, in bytes. */
export function residentBytes(pid: number): number {
  return descendants(pid).reduce((sum, each) => sum + residentOf(each), 0);
}

function residentOf(pid: number): number {
  const kibibytes = /^VmRSS:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1];
  return Number(kibibytes ?? 0) * 1024;
}
