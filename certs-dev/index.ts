/**
 * Development trust domains: a CA and a SPIFFE Workload API in one process, for the demo and the tests. Keys are made on
 * the spot and kept only in the directory that is named; never use one for anything that matters.
 */
export type { EntryOptions } from './entry.ts';
export { federate } from './federation.ts';
export * as hostile from './hostile.ts';
export { memorySource } from './memory-source.ts';
export { type Entry, startTrustDomain, type TrustDomain } from './trust-domain.ts';
