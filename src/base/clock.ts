/** Time as the daemon sees it. The only file that may call `setTimeout`. */
export interface Clock {
  /** Wall time, milliseconds since the epoch; jumps when the host's clock is set. */
  now(): number;
  /** Milliseconds that never go back; no relation to wall time. */
  monotonic(): number;
  /** Calls `action` once after `delayMs`, unless cancelled first. */
  after(delayMs: number, action: () => void): Timer;
}

export interface Timer {
  /** Idempotent. */
  cancel(): void;
}

const LONGEST_TIMEOUT_MS = 2 ** 31 - 1;

export const systemClock: Clock = {
  now: () => Date.now(),
  monotonic: () => performance.now(),
  after(delayMs, action) {
    const handle = setTimeout(action, Math.min(Math.max(delayMs, 0), LONGEST_TIMEOUT_MS));
    return { cancel: () => clearTimeout(handle) };
  },
};

/** Calls `action` once everything that happened in this turn of the event loop was handled. No time is meant to pass. */
export function afterThisTurn(action: () => void): void {
  setImmediate(action);
}

/** Resolves when `afterThisTurn` calls. */
export function turnEnded(): Promise<void> {
  return new Promise((resolve) => afterThisTurn(resolve));
}

/** A wait that ends early when the signal aborts; resolves either way. */
export function sleep(clock: Clock, delayMs: number, signal?: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal?.aborted) return resolve();
    const timer = clock.after(delayMs, () => {
      signal?.removeEventListener('abort', wake);
      resolve();
    });
    const wake = (): void => {
      timer.cancel();
      resolve();
    };
    signal?.addEventListener('abort', wake, { once: true });
  });
}

/** Runs `action` under a signal that aborts after `limitMs`. No timer outlives it, however many run at once. */
export async function withDeadline<T>(
  clock: Clock,
  limitMs: number,
  action: (signal: AbortSignal) => Promise<T>,
): Promise<T> {
  const late = new AbortController();
  const timer = clock.after(limitMs, () => late.abort());
  try {
    return await action(late.signal);
  } finally {
    timer.cancel();
  }
}

/** Settles as `promise` does; after `limitMs` it rejects with what `onLate` answers, and what comes then is heard by nobody. */
export function inTime<T>(clock: Clock, promise: Promise<T>, limitMs: number, onLate: () => Error): Promise<T> {
  return new Promise((resolve, reject) => {
    const timer = clock.after(limitMs, () => reject(onLate()));
    promise.finally(() => timer.cancel()).then(resolve, reject);
  });
}
