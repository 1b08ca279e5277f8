import { reasonOf, ShellstreamError } from '../../protocol/errors.ts';
import type { Evidence } from '../../protocol/handshake/index.ts';
import type { Reason } from '../../protocol/reasons.ts';
import { type Clock, sleep, withDeadline } from '../base/clock.ts';
import type { Attestation, AttestedToken, Attestor, OwnIdentity, PeerIdentity } from '../enforcer/ports.ts';
import { verifyEvidenceSignature } from './evidence-signature.ts';
import type { SatVerifier } from './sat.ts';
import { AgentUnavailable, type IdentitySource } from './source.ts';
import type { SvidVerifier } from './svid-verifier.ts';

/** Identity as the enforcer needs it, over SPIRE's Workload API. */
export class SpiffeAttestor implements Attestor {
  readonly #parts: AttestorParts;
  /** By audience, of which there are as many as peers that we dial: whoever asks for them again and again has SPIRE asked once. */
  readonly #answers = new Map<string, { readonly answer: Promise<boolean>; untilMs: number }>();

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
    const { token, subject, plainAudience, boundAudience, fresh, attestation } = input;
    if (token === '') throw new ShellstreamError('SAT_MISSING');
    const { sats, clock, onTokenChecked } = this.#parts;
    const began = clock.monotonic();
    const tell = (outcome: 'valid' | Reason): void =>
      onTokenChecked?.(fresh, outcome, (clock.monotonic() - began) / 1000);
    const audiences = { plain: plainAudience, bound: boundAudience };
    const request = { token, subject, audiences, fresh, now: clock.now() };
    // A cached token asks nobody.
    const verified = fresh
      ? this.#ask(attestation, CONFIRM_MS[attestation], (signal) => sats.verify({ ...request, signal }))
      : sats.verify(request);
    verified.then(
      () => tell('valid'),
      (error: unknown) => tell(reasonOf(error)),
    );
    const { tokenId, tier, issuedAt, expiresAt, bound } = await verified;
    return { tokenId, issuedAt, expiresAt, bound, ...(tier === undefined ? {} : { tier }) };
  }

  mintToken(audience: string, attestation: Attestation): Promise<string> {
    const { source } = this.#parts;
    return this.#ask(attestation, MINT_MS, (signal) => source.fetchSat(audience, signal));
  }

  async answersFor(audience: string): Promise<boolean> {
    const { clock } = this.#parts;
    const known = this.#answers.get(audience);
    if (known !== undefined && clock.monotonic() < known.untilMs) return await known.answer;
    const asked = { answer: this.#answersNow(audience), untilMs: Number.POSITIVE_INFINITY };
    this.#answers.set(audience, asked);
    const answer = await asked.answer;
    asked.untilMs = clock.monotonic() + ASK_AGAIN_MS;
    return answer;
  }

  async #answersNow(audience: string): Promise<boolean> {
    try {
      await this.mintToken(audience, 'first');
      return true;
    } catch (error) {
      return !(error instanceof AgentUnavailable);
    }
  }

  /** For a renewal an agent that is gone is asked again, until the time is up. */
  #ask<T>(attestation: Attestation, limitMs: number, question: (signal: AbortSignal) => Promise<T>): Promise<T> {
    const { clock } = this.#parts;
    return withDeadline(clock, limitMs, async (signal) => {
      for (;;) {
        try {
          return await question(signal);
        } catch (error) {
          if (attestation === 'first' || !(error instanceof AgentUnavailable)) throw error;
          await sleep(clock, ASK_AGAIN_MS, signal);
          if (signal.aborted) throw error;
        }
      }
    });
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

/** With the time in the line behind others, as the two below; a call that is made has its own deadline. */
const MINT_MS = 20_000;
/**
 * An issuer that hangs must not hold a stranger's handshake open for longer than that may take. One fall of the level has
 * all sessions attest again: a renewal may be the last of thousands.
 */
const CONFIRM_MS = { first: 5_000, renewal: 20_000 } as const;
const ASK_AGAIN_MS = 1_000;
