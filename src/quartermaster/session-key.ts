/**
 * What the store indexes of a session's identifier: its last 32 bits, as SQLite keeps four bytes. Whoever makes two sessions
 * that share them makes a question look at some rows more; the record decides.
 */
export function sessionKey(session: Uint8Array): number {
  return new DataView(session.buffer, session.byteOffset, session.length).getInt32(session.length - 4);
}
