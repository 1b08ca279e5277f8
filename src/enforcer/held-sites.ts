import type { SpiffeId } from '../../protocol/identity/spiffe-id.ts';

/** Sites that are held (protocol/README.md §6), as the enforcer needs them; `mesh/holds.ts` implements it. */
export interface HeldSites {
  /** Nothing is dialled there and nobody of there admitted. */
  isHeld(identity: SpiffeId): boolean;
  /** Whether this identity was named beforehand as one that may end the hold of its site by attesting here. */
  mayAttestRelease(identity: SpiffeId): boolean;
  /** Somebody may come to end a hold by attesting: tokens of management sessions have to be fresh meanwhile. */
  readonly awaitsAttestation: boolean;
  /** Resolves when the release is durable. @throws ShellstreamError when it cannot be made so; the site stays held then */
  releaseAttested(identity: SpiffeId): Promise<void>;
}
