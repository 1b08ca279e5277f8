/** Whether whoever runs the command sits at this host, or came to it over the network by SSH, and by which interface. */
import { readFileSync } from 'node:fs';
import { networkInterfaces } from 'node:os';

export interface RemoteShell {
  /** Undefined: none has that address any more. */
  readonly interface: string | undefined;
}

export interface ShellWorld {
  readonly environment: Readonly<Record<string, string | undefined>>;
  readonly pid: number;
  /** A file of /proc/PID; undefined: it may not be read. */
  readonly read: (pid: number, file: 'status' | 'environ') => string | undefined;
  /** Name of the interface that has the address. */
  readonly interfaceOf: (address: string) => string | undefined;
}

/** Undefined: at this host, as far as can be told. sudo and su drop the variable; the shell that called them has it. */
export function remoteShell({ environment, pid, read, interfaceOf }: ShellWorld): RemoteShell | undefined {
  let connection = environment.SSH_CONNECTION;
  let ancestor = pid;
  for (let depth = 0; connection === undefined && ancestor > 1 && depth < MAX_DEPTH; depth += 1) {
    connection = /(?:^|\0)SSH_CONNECTION=([^\0]*)/.exec(read(ancestor, 'environ') ?? '')?.[1];
    ancestor = Number(/^PPid:\s*(\d+)$/m.exec(read(ancestor, 'status') ?? '')?.[1] ?? 0);
  }
  if (connection === undefined) return undefined;
  // Client address and port, and those of this host.
  const [, , here = ''] = connection.split(' ');
  return { interface: interfaceOf(here) };
}

const MAX_DEPTH = 64;

/** Of this process. */
export function shellOfThisProcess(): RemoteShell | undefined {
  return remoteShell({
    environment: process.env,
    pid: process.pid,
    read: (pid, file) => {
      try {
        return readFileSync(`/proc/${pid}/${file}`, 'utf8');
      } catch {
        return undefined;
      }
    },
    interfaceOf: (address) => {
      const all = Object.entries(networkInterfaces());
      const [bare] = address.split('%');
      return all.find(([, entries = []]) => entries.some((entry) => entry.address === bare))?.[0];
    },
  });
}
