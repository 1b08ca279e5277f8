/** What labs of killed processes left behind: BPF pins, control sockets and directories outlive everybody. */
import { readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

const PINS = '/sys/fs/bpf/shellstream';
const CONTROL_SOCKETS = '/var/run/wireguard';
/** How the name of a lab's directory begins; the process id follows. */
export const DIRECTORY = 'shs-lab-';
const PID_DIGITS = 5;

/** An instance name that says whose it is: a letter for what it is, five digits of the process id in base 36, the lab's number. */
export function instanceName(kind: 'a' | 'b' | 'c' | 'h', lab: number): string {
  return `${kind}${process.pid.toString(36).padStart(PID_DIGITS, '0')}${lab.toString(36)}`;
}

/** Pins, and the control sockets of WireGuard devices whose process was killed. */
export async function removeTraces(instance: string): Promise<void> {
  await rm(join(PINS, instance), { recursive: true, force: true });
  for (const name of await readdir(CONTROL_SOCKETS).catch(() => [])) {
    if (name.startsWith(`shs${instance}-`)) await rm(join(CONTROL_SOCKETS, name), { force: true });
  }
}

/** Those of processes that are gone. */
export async function removeLeftovers(): Promise<void> {
  const pinned = await readdir(PINS).catch(() => []);
  const sockets = await readdir(CONTROL_SOCKETS).catch(() => []);
  const instances = [...pinned, ...sockets.map((name) => /^shs([0-9a-z]+)-/.exec(name)?.[1] ?? '')];
  for (const instance of new Set(instances)) {
    const digits = /^[abch]([0-9a-z]{5})[0-9a-z]{1,2}$/.exec(instance)?.[1];
    if (digits !== undefined && !isProcess(Number.parseInt(digits, 36))) await removeTraces(instance);
  }
  for (const name of await readdir(tmpdir())) {
    const pid = new RegExp(`^${DIRECTORY}(\\d+)-`).exec(name)?.[1];
    if (pid !== undefined && !isProcess(Number(pid))) await rm(join(tmpdir(), name), { recursive: true, force: true });
  }
}

function isProcess(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}
