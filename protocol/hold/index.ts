/** Holds: why a site is not dialled and not admitted, and what lets it in again. Specified in protocol/README.md §6. */
export * from './hold.ts';
export * from './release.ts';
