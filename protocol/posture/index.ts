/** Posture: its levels, the accord that says what each allows, and how several levels become one. */
export * from './accord.ts';
export * from './floor.ts';
export * from './handshake-rules.ts';
export * from './health-pace.ts';
export * from './judge-session.ts';
export * from './level.ts';
export type { LevelRules } from './level-rules.ts';
export * from './negotiation.ts';
export * from './parse-accord.ts';
export * from './preview.ts';
export * from './statements.ts';
export { type AccordTimer, type TimerWindow, windowEnd } from './timer.ts';
