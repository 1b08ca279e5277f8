import { reasonOf, ShellstreamError } from '../../protocol/errors.ts';
import type { Evidence } from '../../protocol/handshake/index.ts';
import type { Reason } from '../../protocol/reasons.ts';
import { type Clock, withDeadline } from '../base/clock.ts';
import type { AttestedToken, Attestor, OwnIdentity, PeerIdentity } from '../enforcer/ports.ts';
import { verifyEvidenceSignature } from './evidence-signature.ts';
import type { SatVerifier } from './sat.ts';
import type { IdentitySource } from './source.ts';
import type { SvidVerifier } from './svid-verifier.ts';

/** Identity as the enforcer needs it, over SPIRE's Workload API. */
export class SpiffeAttestor implements Attestor {
  readonly #parts: AttestorParts;

  constructor(parts: AttestorParts) {
    this.#parts = parts;
  }

  self(): OwnIdentity {
    return this.#parts.source.current();
  }

  verifyPeer(evidence: Evidence, signed: Uint8Array): PeerIdentity {
    const svid = this.#parts.svids.verify(evidence.chain);
    verifyEvidenceSignature(svid, signed, evidence.signature);
    return svid;
  }

  async verifyToken(input: Parameters<Attestor['verifyToken']>[0]): Promise<AttestedToken> {
    const { token, subject, plainAudience, boundAudience, fresh, patienceMs } = input;
    if (token === '') throw new ShellstreamError('SAT_MISSING');
    const { sats, clock, onTokenChecked } = this.#parts;
    const began = clock.monotonic();
    const tell = (outcome: 'valid' | Reason): void =>
      onTokenChecked?.(fresh, outcome, (clock.monotonic() - began) / 1000);
    const audiences = { plain: plainAudience, bound: boundAudience };
    const request = { token, subject, audiences, fresh, now: clock.now() };
    // A cached token asks nobody.
    const verified = fresh
      ? withDeadline(clock, patienceMs, (signal) => sats.verify({ ...request, signal }))
      : sats.verify(request);
    verified.then(
      () => tell('valid'),
      (error: unknown) => tell(reasonOf(error)),
    );
    const { tokenId, tier, issuedAt, expiresAt, bound } = await verified;
    return { tokenId, issuedAt, expiresAt, bound, ...(tier === undefined ? {} : { tier }) };
  }

  mintToken(audience: string): Promise<string> {
    const { source, clock } = this.#parts;
    return withDeadline(clock, MINT_MS, (signal) => source.fetchSat(audience, signal));
  }
}

export interface AttestorParts {
  readonly source: IdentitySource;
  readonly svids: SvidVerifier;
  readonly sats: SatVerifier;
  readonly clock: Clock;
  /** `fresh`: not taken from an earlier validation. */
  readonly onTokenChecked?: (fresh: boolean, outcome: 'valid' | Reason, seconds: number) => void;
}

/** With the time in the line behind others; a call that is made has its own deadline. */
const MINT_MS = 20_000;
