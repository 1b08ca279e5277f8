/** Issuers for tests, with keys made of a number. */
import { ed25519 } from '@noble/curves/ed25519.js';
import { parseSpiffeId, type SpiffeId } from '../identity/spiffe-id.ts';
import { type Revoked, type Sign, type Statement, signHeartbeat, signStatement } from './statement.ts';

export interface TestIssuer {
  readonly issuer: SpiffeId;
  readonly publicKey: Uint8Array;
  readonly sign: Sign;
  statement(number: number, what: Revoked, changes?: Partial<Statement>): Uint8Array;
  heartbeat(number: number, timeMs: number): Uint8Array;
}

export function testIssuer(name: string, seedByte: number): TestIssuer {
  const seed = new Uint8Array(32).fill(seedByte);
  const issuer = id(name);
  const sign: Sign = (message) => ed25519.sign(message, seed);
  return {
    issuer,
    publicKey: ed25519.getPublicKey(seed),
    sign,
    statement: (number, what, changes = {}) =>
      signStatement({ issuer, number, issuedAtMs: 1_000, reason: 'stolen', what, ...changes }, sign),
    heartbeat: (number, timeMs) => signHeartbeat({ issuer, number, timeMs }, sign),
  };
}

export function id(text: string): SpiffeId {
  const parsed = parseSpiffeId(text);
  if (parsed === undefined) throw new Error(`${text} is no SPIFFE ID`);
  return parsed;
}
