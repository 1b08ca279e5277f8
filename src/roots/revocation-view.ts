/** Revocations as the console has them. */
import type { Logger } from '../base/logger.ts';
import type { Finding } from '../control/ports.ts';
import type { RevocationDesk } from '../control/revocation-desk.ts';
import type { Revocations } from '../identity/revocations.ts';

export function revocationDesk(revocations: Revocations, log: Logger): RevocationDesk {
  return {
    get issuers() {
      return revocations.issuers;
    },
    get stale() {
      return revocations.stale;
    },
    get documents() {
      return revocations.documents;
    },
    async offer(signed, by) {
      const { kind, statement } = await revocations.order(signed);
      log.warn('a revocation was handed in at the console', { issuer: statement.issuer, number: statement.number, by });
      return kind === 'taken';
    },
  };
}

export function revocationFindings({ issuers, stale }: Revocations): readonly Finding[] {
  if (issuers.length === 0 && stale === undefined) return [];
  return stale === undefined
    ? [{ name: 'revocations', state: 'ok', detail: 'whole and recent' }]
    : [
        {
          name: 'revocations',
          state: 'warning',
          detail: `${stale}: nobody new at level 3 and below`,
          mend: 'check the feeds, and that a gateway signs heartbeats; a damaged record must be moved away',
        },
      ];
}
