import { ShellstreamError } from '../../protocol/errors.ts';
import { deriveSecrets, type Evidence } from '../../protocol/handshake/index.ts';
import { negotiate } from '../../protocol/posture/index.ts';
import type { Clock } from '../base/clock.ts';
import { Approaches, type ApproachParts } from './approach.ts';
import type { AcceptInput, Admission, ApproachInput, Enforcer, SessionId } from './ports.ts';
import { refuseWider } from './refuse-wider.ts';

/**
 * The enforcer of a process that only opens sessions and carries streams in them: it verifies and attests like the
 * other, and has no data plane to put anything into.
 */
export class StreamsOnlyEnforcer implements Enforcer {
  readonly #parts: ApproachParts & { readonly clock: Clock };
  readonly #approaches: Approaches;
  readonly #peers = new Map<SessionId, string>();

  constructor(parts: ApproachParts & { readonly clock: Clock }) {
    this.#parts = parts;
    this.#approaches = new Approaches(parts);
  }

  challenge(): Promise<Evidence> {
    return Promise.reject(hostsNothing());
  }

  admit(): Promise<Admission> {
    return Promise.reject(hostsNothing());
  }

  async mayRenew(session: SessionId): Promise<void> {
    const peer = this.#peers.get(session);
    if (peer === undefined) throw new ShellstreamError('EXPIRED', 'the session to renew is gone');
    if (!(await this.#parts.attestor.answersFor(peer))) throw new ShellstreamError('SAT_UNVERIFIABLE');
  }

  approach(input: ApproachInput): Promise<Evidence> {
    const { renews } = input;
    return this.#approaches.approach(input, renews === undefined ? undefined : this.#peers.get(renews));
  }

  async accept({ nonce, grant, handshakeHash, renews }: AcceptInput): Promise<Admission> {
    const { crypto, clock, posture } = this.#parts;
    const approached = this.#approaches.take(nonce);
    refuseWider(approached, grant);
    const { offer, peer } = approached;
    const { sessionId, reattest } = deriveSecrets(crypto, handshakeHash, approached.secret, grant.secret);
    const negotiated = negotiate({ initiator: posture.level, responder: grant.postureLevel });
    const id = renews ?? Buffer.from(sessionId).toString('hex');
    this.#peers.set(id, peer.spiffeId);
    return {
      id,
      peer: { spiffeId: peer.spiffeId, trustDomain: peer.trustDomain },
      offer,
      grant: {
        mode: grant.mode,
        capabilities: grant.capabilities,
        // What a target is to its host is the host's affair; nothing here enforces by it.
        targets: grant.targets.map((target) => ({ ...target, class: 'ordinary', floor: 1 })),
        reachable: grant.reachable,
        lifetimeMs: grant.lifetimeMs,
      },
      effectiveLevel: negotiated.effective,
      governedBy: negotiated.governedBy,
      peerLevel: grant.postureLevel,
      peerEpoch: grant.postureEpoch,
      toldEpoch: approached.postureEpoch,
      expiresAt: Math.min(approached.credentialsExpireAt, peer.expiresAt, clock.now() + grant.lifetimeMs),
      reattestSecret: reattest,
    };
  }

  async setPeerLevel(): Promise<void> {}

  async release(session: SessionId): Promise<void> {
    this.#peers.delete(session);
  }
}

function hostsNothing(): ShellstreamError {
  return new ShellstreamError('UNEXPECTED_RECORD', 'this process accepts no sessions');
}
