/** Before other processes at the host's cores, for a while: what must be through soon does not wait for what can wait. */
import { getPriority, setPriority } from 'node:os';

export interface Precedence {
  /** Until disposed. Not nested: whoever takes it first gives it back for all. */
  take(): Disposable;
  /** Runs at the ordinary priority whatever was taken: what is started in it does not inherit the other. */
  without<T>(action: () => T): T;
}

/** A nice value; nine times the share of a process that has the ordinary one. */
const RAISED = -10;

/** Of the kernel, for the thread that asks. */
export interface Priorities {
  get(): number;
  /** Throws where it may not. */
  set(nice: number): void;
}

/**
 * Of this thread: the event loop, and nothing that it leaves to others. It takes CAP_SYS_NICE, or a limit on nice values that
 * allows it. Undefined where it may not.
 */
export function openPrecedence(priorities: Priorities = KERNEL): Precedence | undefined {
  const ordinary = attempt(() => priorities.get());
  if (ordinary === undefined) return undefined;
  const raised = Math.min(RAISED, ordinary);
  const set = (nice: number): boolean =>
    attempt(() => {
      priorities.set(nice);
      return true;
    }) === true;
  if (!set(raised)) return undefined;
  set(ordinary);
  let isTaken = false;
  return {
    take() {
      isTaken = set(raised);
      return {
        [Symbol.dispose]() {
          isTaken = false;
          set(ordinary);
        },
      };
    },
    without(action) {
      if (!isTaken) return action();
      set(ordinary);
      try {
        return action();
      } finally {
        set(raised);
      }
    },
  };
}

function attempt<T>(call: () => T): T | undefined {
  try {
    return call();
  } catch {
    return undefined;
  }
}

const KERNEL: Priorities = { get: () => getPriority(), set: (nice) => setPriority(nice) };
