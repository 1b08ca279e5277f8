const TIMES = 8;

/** Where much else runs on the machine a handshake may be too late: that is what comes before a change, and no part of it. */
export async function patiently<T>(action: () => Promise<T>): Promise<T> {
  for (let left = TIMES; ; left -= 1) {
    try {
      return await action();
    } catch (error) {
      if (left === 1) throw error;
    }
  }
}
