import { closeSync, openSync, writeSync } from 'node:fs';
import type { Report } from '../report.ts';

let port: number | undefined;

/** On the second serial port, which the host reads. */
export function send(report: Report): void {
  port ??= openSync('/dev/ttyS1', 'w');
  writeSync(port, `${JSON.stringify(report)}\n`);
}

/** Returns when the host has all of it: closing a serial port waits until its last byte is out. */
export function flush(): void {
  if (port !== undefined) closeSync(port);
  port = undefined;
}
