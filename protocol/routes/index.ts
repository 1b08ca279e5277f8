/** Governed routes: which stand at a posture level, what a transition takes away and puts back, and who may change them. */
export * from './by-level.ts';
export * from './gate.ts';
export * from './reconcile.ts';
export * from './route.ts';
