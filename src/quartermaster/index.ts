/**
 * Quartermaster: holds the evidence of many nodes and answers questions about it. `service.ts` is what is served, on a
 * `ledger` that makes it durable in a `store`; `forwarder.ts` is a node's end, which sends what its spool holds.
 */
export * from './access.ts';
export * from './client.ts';
export * from './forwarder.ts';
export * from './jetstream.ts';
export type * from './ledger.ts';
export * from './local-ledger.ts';
export * from './local-server.ts';
export * from './marks.ts';
export * from './remote-server.ts';
export * from './retention.ts';
export * from './service.ts';
export * from './shared-ledger.ts';
export * from './spool-source.ts';
export * from './store.ts';
