/**
 * The initiator's half: believing a responder, and building our evidence for it.
 * Order matters here: chain, signature and pinned identity of the responder come before anything is minted for it, so
 * that whoever poses as the gateway never sees a token.
 */
import { decideOffer, decideTier, type TierPolicy } from '../../protocol/capability/index.ts';
import type { GrantedTarget, SessionRequest, Target } from '../../protocol/capability/model.ts';
import { ShellstreamError } from '../../protocol/errors.ts';
import {
  boundAudience,
  type Evidence,
  encodeConfirmBody,
  type Offer,
  parseVerifyBody,
  SECRET_BYTES,
  signedMessage,
  type VerifyBody,
  type WireguardOffer,
} from '../../protocol/handshake/index.ts';
import { hostPrefix } from '../../protocol/net/prefix.ts';
import type { CryptoProvider } from '../../protocol/noise/crypto.ts';
import {
  type Accord,
  freshSatRequired,
  type PostureLevel,
  remoteHandshakeAllowed,
  typeAllowed,
} from '../../protocol/posture/index.ts';
import { reasonFromWire } from '../../protocol/reasons.ts';
import type { HeldSites } from './held-sites.ts';
import type { Overlay } from './overlay.ts';
import type { ApproachInput, Attestor, PeerIdentity, PostureReader, RevocationReader } from './ports.ts';
import { refuseRevoked } from './revocation.ts';

/** An approach that waits for its GRANT. */
export interface Approached {
  readonly offer: Offer;
  readonly peer: PeerIdentity;
  readonly request: SessionRequest;
  /** What of ours the responder may reach. */
  readonly offered: readonly GrantedTarget[];
  readonly secret: Uint8Array;
  /** Of the WireGuard key that the responder signed for. Mesh sessions only. */
  readonly wireguardHash?: Uint8Array;
  /** Our posture's, as the evidence told it. */
  readonly postureEpoch: bigint;
  /** Of our own credentials that went out. */
  readonly credentialsExpireAt: number;
}

export interface ApproachParts {
  readonly crypto: CryptoProvider;
  readonly attestor: Attestor;
  readonly posture: PostureReader;
  /** Absent on an operator's own machine, which has no site. */
  readonly accord?: Accord;
  readonly tiers?: TierPolicy;
  /** What of ours is opened to a peer in a mesh session that we begin. Absent: nothing to anybody. */
  readonly offerTo?: (spiffeId: string) => readonly Target[];
  /** Absent where sessions carry streams only. */
  readonly overlay?: Overlay;
  /** Absent where nobody is ever held. */
  readonly holds?: HeldSites;
  /** Absent where nobody can revoke anything. */
  readonly revocations?: RevocationReader;
}

const MAX_PENDING = 4_096;

export class Approaches {
  readonly #parts: ApproachParts;
  /** By the responder's nonce. An attempt that never gets its GRANT is pushed out by later ones. */
  readonly #pending = new Map<string, Approached>();
  /** Nonces of responders that were answered, the oldest first. */
  readonly #met = new Set<string>();

  constructor(parts: ApproachParts) {
    this.#parts = parts;
  }

  /** @param renewedPeer whom the session that stands and is attested again is with: nobody else is met as a renewal */
  async approach(input: ApproachInput, renewedPeer?: string): Promise<Evidence> {
    const { crypto, attestor, posture, accord, holds } = this.#parts;
    const { level, epoch } = posture;
    if (!remoteHandshakeAllowed(level, accord)) throw new ShellstreamError('POSTURE_ISOLATED');
    if (!typeAllowed(level, input.offer.sessionType, accord)) throw new ShellstreamError('POSTURE_TYPE_NOT_ALLOWED');

    const { peer, body } = this.#believe(input);
    this.#refuseRevoked(peer);
    if (holds?.isHeld(peer.spiffeId)) throw new ShellstreamError('PEER_HELD');
    this.#refuseReplay(body.nonce);
    const fresh = body.freshSat || freshSatRequired(level, accord);
    const wireguard = input.offer.sessionType === 'mesh' ? this.#wireguardOffer(input) : undefined;
    const offered = wireguard === undefined ? [] : this.#offered(input, peer, wireguard, level);
    const own = attestor.self();
    const audience = fresh ? boundAudience(crypto, peer.spiffeId, input.transcript) : peer.spiffeId;
    const secret = crypto.randomBytes(SECRET_BYTES);
    const confirm = encodeConfirmBody({
      offer: input.offer,
      nonce: body.nonce,
      responderId: peer.spiffeId,
      sat: await attestor.mintToken(audience, peer.spiffeId === renewedPeer ? 'renewal' : 'first'),
      postureLevel: level,
      postureEpoch: epoch,
      request: input.request,
      secret,
      ...(wireguard === undefined ? {} : { wireguard }),
      ...(offered.length === 0 ? {} : { offered }),
    });
    // Minting waits on others. What was true before it is looked at again.
    if (posture.level < level) throw new ShellstreamError('POSTURE_CHANGED');
    this.#refuseRevoked(peer);
    this.#remember(body.nonce, {
      offer: input.offer,
      peer,
      request: input.request,
      offered,
      secret,
      ...(body.wireguardHash === undefined ? {} : { wireguardHash: body.wireguardHash }),
      postureEpoch: epoch,
      credentialsExpireAt: own.expiresAt,
    });
    const context = { role: 'initiator', transcript: input.transcript, staticKey: input.staticKey } as const;
    return { chain: own.chain, signature: own.sign(signedMessage(crypto, context, confirm)), body: confirm };
  }

  /** Once. */
  take(nonce: Uint8Array): Approached {
    const key = keyOf(nonce);
    const approached = this.#pending.get(key);
    if (approached === undefined) throw new ShellstreamError('NONCE_UNKNOWN');
    this.#pending.delete(key);
    return approached;
  }

  #believe(input: ApproachInput): { readonly peer: PeerIdentity; readonly body: VerifyBody } {
    const { crypto, attestor } = this.#parts;
    const context = {
      role: 'responder',
      transcript: input.responderTranscript,
      staticKey: input.responderStaticKey,
    } as const;
    const peer = attestor.verifyPeer(input.evidence, signedMessage(crypto, context, input.evidence.body));
    if (peer.spiffeId !== input.expectedId) {
      throw new ShellstreamError('WRONG_IDENTITY', `expected ${input.expectedId}, met ${peer.spiffeId}`);
    }
    const body = parseVerifyBody(input.evidence.body);
    if (body.denial !== undefined) {
      const reason = reasonFromWire(body.denial);
      throw new ShellstreamError(reason, `the responder denies: ${reason}`, { fields: { byPeer: true } });
    }
    if (!input.offer.versions.includes(body.version)) throw new ShellstreamError('NO_COMMON_VERSION');
    if ((input.offer.sessionType === 'mesh') !== (body.wireguardHash !== undefined)) {
      throw new ShellstreamError('MALFORMED', `a WireGuard key for ${input.offer.sessionType}`);
    }
    return { peer, body };
  }

  #refuseRevoked({ trustDomain, spiffeId, notBefore }: PeerIdentity): void {
    refuseRevoked(this.#parts.revocations, { trustDomain, spiffeId, issuedAtMs: notBefore });
  }

  /** Whoever recorded a responder's evidence could have any number of tokens minted for it. */
  #refuseReplay(nonce: Uint8Array): void {
    const key = keyOf(nonce);
    if (this.#met.has(key)) throw new ShellstreamError('NONCE_UNKNOWN', 'answered before');
    const oldest = this.#met.values().next();
    if (this.#met.size >= MAX_PENDING && oldest.done === false) this.#met.delete(oldest.value);
    this.#met.add(key);
  }

  #wireguardOffer(input: ApproachInput): WireguardOffer {
    const { crypto, overlay } = this.#parts;
    if (overlay === undefined) throw new ShellstreamError('TUNNEL_FAILED', 'no overlay on this node');
    return overlay.offer(crypto, input.ephemeralKey, input.transcript);
  }

  /** A responder shows no token: its tier is what our accord gives its identity. */
  #offered(
    { offer: { mode }, request }: ApproachInput,
    { spiffeId }: PeerIdentity,
    { addresses }: WireguardOffer,
    level: PostureLevel,
  ): readonly GrantedTarget[] {
    const { accord, tiers, offerTo } = this.#parts;
    if (accord === undefined || tiers === undefined || offerTo === undefined) return [];
    return decideOffer({
      accord,
      identity: spiffeId,
      tier: decideTier(spiffeId, undefined, tiers),
      level,
      mode,
      targets: offerTo(spiffeId),
      advertised: [...request.advertise, ...addresses.map(hostPrefix)],
    });
  }

  #remember(nonce: Uint8Array, approached: Approached): void {
    const oldest = this.#pending.keys().next();
    if (this.#pending.size >= MAX_PENDING && oldest.done === false) this.#pending.delete(oldest.value);
    this.#pending.set(keyOf(nonce), approached);
  }
}

function keyOf(nonce: Uint8Array): string {
  return Buffer.from(nonce).toString('hex');
}
