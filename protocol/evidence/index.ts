/**
 * Evidence that an outsider can verify: records, the log of commitments to them in C2SP's public formats, and all that is
 * needed to check it without us. Start at `entry.ts` for what the log holds, at `verify-log.ts` for how it is checked.
 */
export * from './artifact.ts';
export * from './audit.ts';
export * from './bundle.ts';
export * from './bytes.ts';
export * from './checkpoint.ts';
export * from './cosignature.ts';
export * from './disclosure.ts';
export * from './ed25519.ts';
export * from './entry.ts';
export * from './finding.ts';
export * from './held.ts';
export * from './log-source.ts';
export * from './memory-log.ts';
export * from './merkle.ts';
export * from './note.ts';
export * from './note-key.ts';
export * from './proof.ts';
export * from './receipt.ts';
export * from './record-check.ts';
export * from './sampling.ts';
export * from './sampling-check.ts';
export * from './tile.ts';
export * from './tile-builder.ts';
export * from './verify-log.ts';
export * from './witness.ts';
