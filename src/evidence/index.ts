/**
 * Evidence in the daemon. `recorder.ts` is what others record with; under it `spool.ts` makes it durable and `publisher.ts`
 * writes the log that outsiders read. What evidence is, and how it is checked, is protocol/evidence.
 */
export * from './ed25519.ts';
export type * from './evidence-place.ts';
export * from './evidence-store.ts';
export * from './forensic-snapshot.ts';
export * from './keys.ts';
export * from './log-directory.ts';
export * from './publisher.ts';
export * from './receipts.ts';
export * from './reconcile.ts';
export * from './recorder.ts';
export * from './records.ts';
export * from './retention.ts';
export * from './spool.ts';
export type * from './spool-items.ts';
export type * from './spool-reader.ts';
export * from './tile-server.ts';
export * from './transits.ts';
export * from './verify.ts';
