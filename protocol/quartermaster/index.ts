/**
 * What gateways and Quartermaster agree on: entries of a log and where they stand, questions and their cursors, tokens for
 * proposals. Pure parsers; `protocol/schema/shellstream/quartermaster/v1` is the service.
 */
export * from './cursor.ts';
export * from './question.ts';
export * from './request-token.ts';
export * from './submission.ts';
