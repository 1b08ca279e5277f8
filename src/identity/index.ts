/**
 * Who is there: our own SVID and token from the Workload API, and the verification of a peer's.
 * Read `source.ts` for what others call, `x509-svid.ts` and `sat.ts` for what is refused.
 */

import type { SpiffeId } from '../../protocol/identity/spiffe-id.ts';
import type { Clock } from '../base/clock.ts';
import { connectWorkloadApi } from './workload-api.ts';
import { WorkloadApiSource } from './workload-api-source.ts';

export { parseJwtBundle, parseX509Bundle, type TrustBundles } from './bundles.ts';
export { evidenceSigner, verifyEvidenceSignature } from './evidence-signature.ts';
export { MemoryIdentitySource } from './memory-source.ts';
export { SpireSatVerifier } from './sat.ts';
export type { IdentitySource, X509Identity } from './source.ts';
export { SvidVerifier } from './svid-verifier.ts';
export { verifySvid } from './x509-svid.ts';
export type { WorkloadApiSource };

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
