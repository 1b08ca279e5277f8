/** A gateway's worth of entries: so many sessions, each with so many granted targets. */
export const SESSIONS = 64;
export const TARGETS = 2000;
export const ENTRIES = SESSIONS * TARGETS;

/** The n-th target of a session: an address of its own, one TCP port. */
export function target(session: number, index: number): { readonly address: Uint8Array; readonly port: number } {
  return { address: Uint8Array.of(10, session, index >> 8, index & 0xff), port: 443 };
}

/** The same over IPv6. */
export function target6(session: number, index: number): { readonly address: Uint8Array; readonly port: number } {
  return { address: Uint8Array.of(0xfd, session, ...new Uint8Array(12), index >> 8, index & 0xff), port: 443 };
}
