/**
 * The responder's half: judging what an initiator hands in. From message 3 to a decision, without touching the data
 * plane; what comes out names everything that is to be installed.
 */
import {
  classDenial,
  decide,
  decideTier,
  type Grant,
  type GrantedTarget,
  type SessionRequest,
  type Tier,
  type TierPolicy,
  takeOffer,
} from '../../protocol/capability/index.ts';
import { ShellstreamError } from '../../protocol/errors.ts';
import {
  boundAudience,
  type ConfirmBody,
  chooseVersion,
  type Evidence,
  encodeVerifyBody,
  NONCE_BYTES,
  parseConfirmBody,
  sameOffer,
  signedMessage,
  VERSION,
  wireguardKeyHash,
  wireguardProofHolds,
} from '../../protocol/handshake/index.ts';
import { hostPrefix } from '../../protocol/net/prefix.ts';
import type { CryptoProvider } from '../../protocol/noise/crypto.ts';
import {
  type Accord,
  freshSatRequired,
  LOCKDOWN,
  type Negotiated,
  negotiate,
  remoteHandshakeAllowed,
} from '../../protocol/posture/index.ts';
import { wireCode } from '../../protocol/reasons.ts';
import type { Credentials } from './credentials.ts';
import type { HeldSites } from './held-sites.ts';
import type { Nonces } from './nonces.ts';
import type { AdmitInput, Attestor, ChallengeInput, PeerIdentity, PostureReader, RevocationReader } from './ports.ts';
import { refuseRevoked, refuseStale } from './revocation.ts';

export interface AdmitParts {
  readonly crypto: CryptoProvider;
  readonly attestor: Attestor;
  readonly posture: PostureReader;
  readonly nonces: Nonces;
  readonly accord: Accord;
  readonly tiers: TierPolicy;
  /** Absent where sessions carry streams only. */
  readonly overlay?: { readonly publicKey: Uint8Array };
  /** Absent where nobody is ever held. */
  readonly holds?: HeldSites;
  /** Absent where nobody can revoke anything. */
  readonly revocations?: RevocationReader;
}

/** Everything about the initiator that was verified, and what it may have. */
export interface Judged {
  readonly body: ConfirmBody;
  readonly peer: PeerIdentity;
  readonly tier: Tier | undefined;
  readonly grant: Grant;
  /** What of the initiator's is opened to us. */
  readonly offered: readonly GrantedTarget[];
  readonly negotiated: Negotiated;
  /** The soonest of SVID and SAT, milliseconds of wall time. */
  readonly credentialsExpireAt: number;
  /** Its site is held, and this attestation ends the hold. */
  readonly releases: boolean;
  readonly credentials: Credentials;
}

/**
 * Our evidence for message 2. At level 1 it throws, and the caller answers nothing at all: a prober learns neither the
 * level nor the identity. A session type that the posture refuses is denied in a signed body, so that an honest
 * peer can tell it from a failure.
 */
export function challenge(parts: AdmitParts, input: ChallengeInput): Evidence {
  const { crypto, attestor, posture, nonces, accord } = parts;
  const { level } = posture;
  if (!remoteHandshakeAllowed(level, accord)) throw new ShellstreamError('POSTURE_ISOLATED');
  const version = chooseVersion(input.offer.versions, [VERSION]);
  if (version === undefined) throw new ShellstreamError('NO_COMMON_VERSION');
  const own = attestor.self();
  const nonce = crypto.randomBytes(NONCE_BYTES);
  const awaited = input.offer.sessionType === 'management' && parts.holds?.awaitsAttestation === true;
  const freshSat = awaited || freshSatRequired(level, accord);
  const denial = classDenial(accord, level, input.offer.sessionType, input.offer.mode);
  if (denial === undefined) nonces.issue(nonce, freshSat);
  const named = input.offer.sessionType === 'mesh' ? { wireguardHash: keyHash(parts) } : {};
  const body = encodeVerifyBody({
    version,
    nonce,
    freshSat,
    ...(denial === undefined ? named : { denial: wireCode(denial.reason) }),
  });
  const context = { role: 'responder', transcript: input.transcript, staticKey: input.staticKey } as const;
  return { chain: own.chain, signature: own.sign(signedMessage(crypto, context, body)), body };
}

function keyHash({ crypto, overlay }: AdmitParts): Uint8Array {
  if (overlay === undefined) throw new ShellstreamError('TUNNEL_FAILED', 'no overlay on this node');
  return wireguardKeyHash(crypto, overlay.publicKey);
}

/**
 * Each line is a refusal; what comes after it may rely on it.
 *
 * @param renewedPeer whom the session that stands and is attested again is with: nobody else is met as a renewal
 */
export async function judge(parts: AdmitParts, input: AdmitInput, renewedPeer?: string): Promise<Judged> {
  const { crypto, attestor, posture, nonces, accord, revocations } = parts;
  const { evidence, transcript, staticKey } = input;
  const body = parseConfirmBody(evidence.body);
  if (!sameOffer(body.offer, input.offer)) throw new ShellstreamError('DOWNGRADE');
  const issued = nonces.take(body.nonce);
  if (issued === undefined) throw new ShellstreamError('NONCE_UNKNOWN');
  const peer = attestor.verifyPeer(
    evidence,
    signedMessage(crypto, { role: 'initiator', transcript, staticKey }, evidence.body),
  );
  const own = attestor.self();
  if (body.responderId !== own.spiffeId) {
    throw new ShellstreamError('WRONG_IDENTITY', `meant for ${body.responderId}`);
  }

  const attestation = peer.spiffeId === renewedPeer ? 'renewal' : 'first';
  const releases = parts.holds?.isHeld(peer.spiffeId) === true;
  if (releases) refuseHeld(parts, peer, body);

  const { epoch } = posture;
  const negotiated = negotiateNow(parts, body);
  const level = negotiated.effective;
  const { trustDomain, spiffeId } = peer;
  refuseRevoked(revocations, { trustDomain, spiffeId, issuedAtMs: peer.notBefore });
  if (attestation === 'first') refuseStale(revocations, level);
  const { sessionType: type, mode } = body.offer;
  const denial = classDenial(accord, level, type, mode);
  if (denial !== undefined) throw new ShellstreamError(denial.reason, denial.detail);
  const token = await attestor.verifyToken({
    token: body.sat,
    subject: peer.spiffeId,
    plainAudience: own.spiffeId,
    boundAudience: boundAudience(crypto, own.spiffeId, transcript),
    fresh: releases || issued.freshSat || freshSatRequired(level, accord),
    attestation,
  });
  // Verification waits on others. A level that fell meanwhile makes what was asked of the token too little.
  if (posture.epoch !== epoch && negotiateNow(parts, body).effective < level) {
    throw new ShellstreamError('POSTURE_CHANGED');
  }
  // A validation that is remembered proves nothing about revocation, so every token is looked up here.
  const credentials = { tokenId: token.tokenId, issuedAtMs: Math.min(peer.notBefore, token.issuedAt) };
  refuseRevoked(revocations, { trustDomain, spiffeId, ...credentials });

  const tier = decideTier(peer.spiffeId, token.tier, parts.tiers);
  const decision = decide({
    accord,
    identity: peer.spiffeId,
    tier,
    level,
    type,
    mode,
    request: withTunnelAddresses(body),
  });
  if (decision.kind === 'deny') {
    throw new ShellstreamError(decision.reason, decision.detail, { fields: { peer: peer.spiffeId, tier, level } });
  }
  if (releases && !(tier === 'site_owner' && decision.grant.capabilities.includes('ADMIN'))) {
    throw new ShellstreamError('PEER_HELD', 'a release takes a site_owner who is granted ADMIN');
  }
  const { grant } = decision;
  const offered = takeOffer(accord, body.offered ?? [], grant.reachable);
  if (
    body.wireguard !== undefined &&
    !wireguardProofHolds(crypto, input.wireguardShared, transcript, body.wireguard.proof)
  ) {
    throw new ShellstreamError('WIREGUARD_PROOF');
  }
  const credentialsExpireAt = Math.min(peer.expiresAt, token.expiresAt);
  return { body, peer, tier, grant, offered, negotiated, credentialsExpireAt, credentials, releases };
}

/** Nobody of a held site comes in, but who was named beforehand, to end the hold: from no lockdown, and not as its gateway. */
function refuseHeld({ holds }: AdmitParts, { spiffeId }: PeerIdentity, { offer, postureLevel }: ConfirmBody): void {
  const isCeremony = holds?.mayAttestRelease(spiffeId) === true && offer.sessionType === 'management';
  if (!isCeremony || postureLevel === LOCKDOWN) throw new ShellstreamError('PEER_HELD');
}

function negotiateNow({ posture, accord }: AdmitParts, body: ConfirmBody): Negotiated {
  const negotiated = negotiate({ initiator: body.postureLevel, responder: posture.level });
  if (!remoteHandshakeAllowed(negotiated.effective, accord)) throw new ShellstreamError('POSTURE_ISOLATED');
  return negotiated;
}

/** A peer's own address in the tunnel is a prefix like any other: it needs the accord's leave. */
function withTunnelAddresses({ request, wireguard }: ConfirmBody): SessionRequest {
  if (wireguard === undefined) return request;
  return { ...request, advertise: [...request.advertise, ...wireguard.addresses.map(hostPrefix)] };
}
