/**
 * Who is there: our own SVID and token from the Workload API, and the verification of a peer's.
 * Read `source.ts` for what others call, `x509-svid.ts` and `sat.ts` for what is refused.
 */

import type { SpiffeId } from '../../protocol/identity/spiffe-id.ts';
import type { Clock } from '../base/clock.ts';
import { connectWorkloadApi } from './workload-api.ts';
import { WorkloadApiSource } from './workload-api-source.ts';

export {
  type JwtBundle,
  NO_BUNDLES,
  parseJwtBundle,
  parseX509Bundle,
  type TrustBundles,
  type X509Bundle,
} from './bundles.ts';
export { type EvidenceSigner, evidenceSigner, verifyEvidenceSignature } from './evidence-signature.ts';
export { MemoryIdentitySource, type MemoryIssuer } from './memory-source.ts';
export { type SatAudiences, type SatRequest, type SatVerifier, SpireSatVerifier, type VerifiedSat } from './sat.ts';
export type { BundleHealth, IdentityChange, IdentityHealth, IdentitySource, X509Identity } from './source.ts';
export { SvidVerifier } from './svid-verifier.ts';
export { hashChain, type VerifiedSvid, verifySvid } from './x509-svid.ts';
export { WorkloadApiSource };

/** The identity source of the agent on `socketPath`; starts at once, see `WorkloadApiSource.ready`. */
export function openIdentitySource(options: {
  readonly socketPath: string;
  readonly clock: Clock;
  readonly random: () => number;
  readonly spiffeId?: SpiffeId;
}): WorkloadApiSource {
  const { socketPath, ...rest } = options;
  return new WorkloadApiSource({ ...rest, api: connectWorkloadApi(socketPath, () => options.clock.now()) });
}
