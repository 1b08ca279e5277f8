/** What was revoked here, and how many sessions ended by it, in evidence. */
import { assertNever } from '../../protocol/errors.ts';
import type { Revoked } from '../../protocol/revocation/index.ts';
import type { EnforcerWorld } from './enforcer-world.ts';
import type { NodeEvidence } from './evidence.ts';

/** @param signed the document that says so */
export type RecordRevocation = (what: Revoked, signed: Uint8Array, endedSessions: number) => void;

/** It takes away whether it can be recorded or not, and first. */
export function recordRevocations(
  { store }: NodeEvidence,
  { crypto, log }: Pick<EnforcerWorld, 'crypto' | 'log'>,
): RecordRevocation {
  return (what, signed, endedSessions) => {
    const value = { subject: subjectOf(what), kind: what.kind, documentHash: crypto.sha256(signed), endedSessions };
    store.record({ case: 'revocation', value }).catch((error: unknown) => {
      log.error('a revocation is not recorded', { subject: value.subject, error });
    });
  };
}

function subjectOf(what: Revoked): string {
  switch (what.kind) {
    case 'identity':
      return what.identity;
    case 'session':
      return what.session;
    case 'token':
      return what.token;
    case 'issued-before': {
      const whose = 'identity' in what.of ? what.of.identity : what.of.trustDomain;
      return `${whose} before ${new Date(what.timeMs).toISOString()}`;
    }
    default:
      return assertNever(what);
  }
}
