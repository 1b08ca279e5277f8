/** Revocation as the enforcer asks for it: before a session stands, when it does, and of all that stand. */
import { ShellstreamError } from '../../protocol/errors.ts';
import type { PostureLevel } from '../../protocol/posture/level.ts';
import type { RevocationSubject } from '../../protocol/revocation/index.ts';
import type { Standing } from './directory.ts';
import type { RevocationReader } from './ports.ts';

/** Under it newcomers are judged only by revocations that are known to be all. */
const STALE_REFUSED_AT: PostureLevel = 3;

/** @throws ShellstreamError REVOKED */
export function refuseRevoked(reader: RevocationReader | undefined, subject: RevocationSubject): void {
  const by = reader?.find(subject);
  if (by !== undefined) throw new ShellstreamError('REVOKED', undefined, { fields: { ...by } });
}

/** @throws ShellstreamError REVOCATIONS_STALE for a new session at level 3 and below */
export function refuseStale(reader: RevocationReader | undefined, level: PostureLevel): void {
  const why = level <= STALE_REFUSED_AT ? reader?.stale : undefined;
  if (why !== undefined) throw new ShellstreamError('REVOCATIONS_STALE', why);
}

export function isRevoked(reader: RevocationReader | undefined, standing: Standing): boolean {
  return reader?.find(subjectOf(standing)) !== undefined;
}

export function subjectOf({ admission, credentials }: Pick<Standing, 'admission' | 'credentials'>): RevocationSubject {
  const { id, peer } = admission;
  return { trustDomain: peer.trustDomain, spiffeId: peer.spiffeId, session: id, ...credentials };
}
