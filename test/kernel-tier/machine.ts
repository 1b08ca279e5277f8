/** A virtual machine without a network, emulated in software: no /dev/kvm is needed, and none is used. */
import { spawn } from 'node:child_process';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { createInterface } from 'node:readline';

export interface MachineOptions {
  readonly image: string;
  readonly initramfs: string;
  /** The one folder of the host that the machine may write to. */
  readonly disk: string;
  /** For the console's log. */
  readonly folder: string;
  readonly onLine: (line: string) => void;
}

export interface Machine extends AsyncDisposable {
  /** When it is off, with what the emulator had to say; `undefined` when it could be started and ended as it should. */
  readonly off: Promise<string | undefined>;
  /** What kernel and programs have printed. */
  console(): Promise<string>;
  kill(): void;
}

export const EMULATOR = 'qemu-system-x86_64';

// Both processors in one thread: with one for each, Node crashes once in some dozens of starts that compile on several
// threads (SIGSEGV, or a failed check of V8 about its code pages), with memory protection keys and without.
const HARDWARE = [
  ...['-accel', 'tcg,thread=single', '-smp', '2', '-m', '3072', '-cpu', 'max'],
  ...['-no-user-config', '-nodefaults', '-display', 'none', '-rtc', 'base=utc', '-device', 'virtio-rng-pci'],
];
const COMMAND_LINE = 'console=ttyS0 panic=-1 edd=off quiet';

export function startMachine({ image, initramfs, disk, folder, onLine }: MachineOptions): Machine {
  const log = join(folder, 'console.log');
  const ports = ['-chardev', `file,id=console,path=${log}`, '-serial', 'chardev:console'];
  const reports = ['-chardev', 'stdio,id=reports,signal=off', '-serial', 'chardev:reports'];
  const kernel = ['-kernel', image, '-initrd', initramfs, '-append', COMMAND_LINE];
  const shares = [...share('root', '/', 'readonly=on'), ...share('disk', disk)];
  // It goes with this process, however that ends, and gives way to everything else.
  const command = ['--pdeathsig', 'KILL', 'nice', '-n', '10', EMULATOR];
  const child = spawn('setpriv', [...command, ...HARDWARE, ...ports, ...reports, ...kernel, ...shares], {
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let complaints = '';
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    complaints = (complaints + text).slice(-4_000);
  });
  createInterface({ input: child.stdout }).on('line', (line) => onLine(line.trim()));
  const off = new Promise<string | undefined>((resolve) => {
    child.once('error', (error) => resolve(`does not start: ${error.message}`));
    child.once('close', (code, signal) => {
      resolve(code === 0 ? undefined : `${EMULATOR} ended with ${signal ?? `code ${code}`}: ${complaints.trim()}`);
    });
  });
  const kill = (): void => void child.kill('SIGKILL');
  return {
    off,
    kill,
    console: async () => await readFile(log, 'utf8').catch(() => ''),
    async [Symbol.asyncDispose]() {
      kill();
      await off;
    },
  };
}

function share(name: string, path: string, ...options: readonly string[]): readonly string[] {
  const fsdev = ['local', `id=${name}`, `path=${path}`, 'security_model=none', 'multidevs=remap', ...options].join(',');
  return ['-fsdev', fsdev, '-device', `virtio-9p-pci,fsdev=${name},mount_tag=${name}`];
}
