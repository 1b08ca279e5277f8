/** Before other processes at the host's cores, for a while: what must be through soon does not wait for what can wait. */
import { readdirSync } from 'node:fs';
import { getPriority, setPriority } from 'node:os';

export interface Precedence {
  /** For all threads of this process, until disposed. Not nested: whoever gives it back gives it back for all. */
  take(): Disposable;
  /** Runs at the ordinary priority whatever was taken: a process that is started in it does not inherit the other. */
  without<T>(action: () => T): T;
}

/** A nice value; nine times the share of a process that has the ordinary one. */
const RAISED = -10;

/** The kernel's, which has one for each thread. */
export interface Priorities {
  /** Of this process as they are now; the first is the one that asks. */
  threads(): readonly number[];
  /** Of the thread that asks. */
  get(): number;
  /** Throws where it may not, or the thread is gone. */
  set(thread: number, nice: number): void;
}

/** It takes CAP_SYS_NICE, or a limit on nice values that allows it. Undefined where it may not. */
export function openPrecedence(priorities: Priorities = KERNEL): Precedence | undefined {
  const threads = (): readonly number[] => attempt(() => priorities.threads()) ?? [];
  const ordinary = attempt(() => priorities.get());
  const [own] = threads();
  if (ordinary === undefined || own === undefined) return undefined;
  const raised = Math.min(RAISED, ordinary);
  const set = (thread: number, nice: number): boolean =>
    attempt(() => {
      priorities.set(thread, nice);
      return true;
    }) === true;
  if (!set(own, raised)) return undefined;
  set(own, ordinary);
  let isTaken = false;
  /** Those that were raised: they are lowered also where nobody lists them any more. */
  const held = new Set<number>();

  /** A thread that was not come to yet may start another, which inherits what it has. */
  const giveBack = (): void => {
    const lowered = new Set<number>();
    let found: readonly number[] = [own, ...held];
    for (let looks = 0; found.length > 0 && looks < MOST_LOOKS; looks += 1) {
      for (const thread of found) {
        set(thread, ordinary);
        lowered.add(thread);
      }
      found = threads().filter((thread) => !lowered.has(thread));
    }
    held.clear();
  };

  return {
    take() {
      isTaken = true;
      for (const thread of threads()) if (set(thread, raised)) held.add(thread);
      return {
        [Symbol.dispose]() {
          isTaken = false;
          giveBack();
        },
      };
    },
    without(action) {
      // Who forks is this thread.
      set(own, ordinary);
      try {
        return action();
      } finally {
        if (isTaken) set(own, raised);
      }
    },
  };
}

const MOST_LOOKS = 16;

function attempt<T>(call: () => T): T | undefined {
  try {
    return call();
  } catch {
    return undefined;
  }
}

const KERNEL: Priorities = {
  threads: () => [process.pid, ...readdirSync('/proc/self/task').map(Number)],
  get: () => getPriority(),
  set: (thread, nice) => setPriority(thread, nice),
};
