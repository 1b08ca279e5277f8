import type { KeyObject } from 'node:crypto';
import { ShellstreamError } from '../../protocol/errors.ts';
import type { SpiffeId } from '../../protocol/identity/spiffe-id.ts';
import type { TrustBundles } from './bundles.ts';
import type { EvidenceSigner } from './evidence-signature.ts';

/**
 * Where this side's identity and everybody's trust bundles come from. `WorkloadApiSource` is the real one,
 * `MemoryIdentitySource` behaves alike for tests.
 */
export interface IdentitySource {
  /**
   * Our identity now: the newest, from whichever SVID is the default or the configured one.
   * Throws NO_BUNDLE before the first was received, SVID_EXPIRED when none came in time.
   */
  current(): X509Identity;
  /** The bundles at hand, ours and the federated ones; a new object after each change. */
  readonly bundles: TrustBundles;
  /** Called after each change, once it can be read. */
  onChange(listener: (change: IdentityChange) => void): Disposable;
  /**
   * A SAT of our own for one audience: a JWT-SVID in compact form. Throws SAT_UNVERIFIABLE when none can be had, as
   * `AgentUnavailable` where that may pass.
   */
  fetchSat(audience: string, signal: AbortSignal): Promise<string>;
  /**
   * What the issuer's agent says of a token: its subject. Proves signature and audience, no freshness.
   * Throws SAT_INVALID when the agent refuses it, SAT_UNVERIFIABLE as `AgentUnavailable` when the agent cannot be asked.
   */
  validateSat(token: string, audience: string, signal: AbortSignal): Promise<SpiffeId>;
  health(): IdentityHealth;
}

/** The agent, or the server behind it, gave no answer: it may give one when it is back. */
export class AgentUnavailable extends ShellstreamError {
  constructor(detail: string, cause: unknown) {
    super('SAT_UNVERIFIABLE', detail, { cause });
  }
}

export type IdentityChange = 'identity' | 'bundles';

export interface X509Identity {
  readonly spiffeId: SpiffeId;
  readonly trustDomain: string;
  /** Certificates in DER, leaf first. */
  readonly chain: readonly Uint8Array[];
  /** Milliseconds since the epoch. */
  readonly expiresAt: number;
  /** Signs evidence with the SVID's key, see evidence-signature.ts. */
  readonly sign: EvidenceSigner;
  /** For TLS, which signs by itself; stays in this process. */
  readonly privateKey: KeyObject;
}

export interface IdentityHealth {
  /** `denied`: the agent answers, but has no identity for us. `unavailable`: the agent does not answer. */
  readonly state: 'starting' | 'streaming' | 'denied' | 'unavailable';
  /** Milliseconds since the epoch; undefined when nothing was received yet. */
  readonly identityUpdatedAt: number | undefined;
  readonly identityExpiresAt: number | undefined;
  readonly bundles: readonly BundleHealth[];
  /** The last thing that went wrong, in the transport's words. */
  readonly lastError: string | undefined;
}

export interface BundleHealth {
  readonly trustDomain: string;
  readonly kind: 'x509' | 'jwt';
  /** Milliseconds since the stream last confirmed the content. */
  readonly ageMs: number;
  readonly authorities: number;
}
