/** Revocation: signed statements, who may make them, their order, and what they reach. Read `statement.ts`, then `rules.ts`. */
export { IssuerFeed, type Staleness, type Succession } from './issuer-feed.ts';
export { type RevocationSubject, RevokedIndex } from './revoked-index.ts';
export { CLOCK_SKEW_MS, hasEffect, heartbeatRefusal, type RevocationRefusal, reaches, refusalOf } from './rules.ts';
export {
  type CredentialScope,
  HEARTBEAT_CONTEXT,
  type Heartbeat,
  isSignedBy,
  MAX_REASON,
  MAX_SIGNED_BYTES,
  parseHeartbeat,
  parseStatement,
  type Revoked,
  type Sign,
  type SignedDocument,
  STATEMENT_CONTEXT,
  type Statement,
  signHeartbeat,
  signStatement,
} from './statement.ts';
