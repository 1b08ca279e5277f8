export const ROUTES = 10_000;

/** The n-th destination: a host of its own. */
export function destination(index: number): Uint8Array {
  return Uint8Array.of(10, 100, index >> 8, index & 0xff);
}

/** Refuses a sample that did not do the work. */
export function expectRoutes(found: number, expected: number): void {
  if (found !== expected) throw new Error(`${found} routes are there instead of ${expected}`);
}
