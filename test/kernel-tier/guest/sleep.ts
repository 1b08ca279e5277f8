/** Suspends the machine to memory, as closing a lid does. */
import { readFileSync, writeFileSync } from 'node:fs';

/**
 * The disk does not answer any more after a suspend (virtio-9p of Linux 6.1 keeps nothing over it), and programs and
 * libraries are read page by page when they are first run: so all that these processes may need is read before.
 */
export function readAhead(pids: readonly number[]): void {
  const files = new Set(pids.flatMap((pid) => readFileSync(`/proc/${pid}/maps`, 'utf8').match(/\/.*$/gm) ?? []));
  for (const file of files) {
    if (!file.endsWith('(deleted)')) readFileSync(file);
  }
}

/** Sleeps until the alarm of the real-time clock; returns awake. */
export function sleepFor(seconds: number): void {
  writeFileSync('/sys/class/rtc/rtc0/wakealarm', `+${seconds}`);
  writeFileSync('/sys/power/state', 'mem');
}
