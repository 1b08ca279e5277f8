/**
 * How many connections this process may have open at once. The kernel's limit is no help there: when it is reached, a
 * listener cannot even accept a connection to cut it, and the event loop turns around it without rest.
 */
import { readFileSync } from 'node:fs';

/** For what a process opens besides: its files, its enforcer, a connection that comes only to be cut. */
const KEPT = 64;
/** Where the kernel does not say: what it gives a process that nobody gave more. */
const USUAL = 1024;

export class Descriptors {
  readonly total: number;
  #free: number;

  constructor(total: number) {
    this.total = total;
    this.#free = total;
  }

  /** By this process's limit as it is now. Node raises the soft limit to the hard one when it starts. */
  static ofProcess(): Descriptors {
    const limit = /^Max open files\s+(\d+|unlimited)/m.exec(limitsOfProcess())?.[1] ?? USUAL;
    return new Descriptors(Math.max(1, (limit === 'unlimited' ? Number.MAX_SAFE_INTEGER : Number(limit)) - KEPT));
  }

  /** One until disposed of; undefined when fewer than `leaving` would be left for others. */
  take(leaving = 0): Disposable | undefined {
    if (this.#free <= leaving) return undefined;
    this.#free -= 1;
    let isTaken = true;
    return {
      [Symbol.dispose]: () => {
        if (isTaken) this.#free += 1;
        isTaken = false;
      },
    };
  }
}

/** As Linux tells them; empty where no one does. */
function limitsOfProcess(): string {
  try {
    return readFileSync('/proc/self/limits', 'utf8');
  } catch {
    return '';
  }
}
