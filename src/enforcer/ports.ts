/**
 * The enforcer's two faces.
 *
 * Outward, `Enforcer`: what a terminator may ask. It hands in evidence as it came off the wire; it can never name a
 * flow, a tunnel or a grant. A terminator that is taken over can therefore open nothing that a peer did not sign for.
 * Every argument and answer is a plain value, fit to cross a process boundary.
 *
 * Inward, `Attestor` and `PostureReader`: identity and posture as the enforcer needs them, built in `roots/`.
 */
import type { Grant, GrantedTarget, SessionRequest, Tier } from '../../protocol/capability/model.ts';
import type { Governor, GrantBody } from '../../protocol/channel/grant.ts';
import type { Evidence, Offer } from '../../protocol/handshake/index.ts';
import type { SpiffeId } from '../../protocol/identity/spiffe-id.ts';
import type { PostureLevel } from '../../protocol/posture/level.ts';
import type { Reason } from '../../protocol/reasons.ts';
import type { RevocationSubject } from '../../protocol/revocation/index.ts';

export interface Enforcer {
  /** Responder, after message 1: our evidence for message 2, or a refusal that is answered with nothing at all. */
  challenge(input: ChallengeInput): Promise<Evidence>;
  /** Responder, after message 3: everything is verified, decided, installed and active, or an error with its reason. */
  admit(input: AdmitInput): Promise<Admission>;
  /**
   * Initiator, before it attests again, which cannot wait once it was begun: rejects where it would have to, because SPIRE gives no
   * answer, with EXPIRED where no session stands that we dialled. What SPIRE refuses, the attestation is told.
   */
  mayRenew(session: SessionId): Promise<void>;
  /** Initiator, after message 2: believes the responder, or throws before any token is minted. */
  approach(input: ApproachInput): Promise<Evidence>;
  /** Initiator, after GRANT: installs what the grant and our own accord both allow. */
  accept(input: AcceptInput): Promise<Admission>;

  /** The peer said its level; one map write governs all its flows. The new effective level of the session. */
  setPeerLevel(session: SessionId, level: PostureLevel): Promise<void>;
  /**
   * Takes away what of the session still stands; idempotent.
   * @param byPeer the peer ended it
   * @param lastWord on what its streams carried, and how it ends
   */
  release(session: SessionId, reason: Reason, byPeer?: boolean, lastWord?: LastWord): Promise<void>;
  /** What streams carried so far; never less than before. Absent: nobody wants to know. */
  carried?(sessions: ReadonlyMap<SessionId, StreamTotals>): void;
  /** A packet of the tunnel that came in its session, valid during the call only. Absent: it carries none. */
  packet?(session: SessionId, packet: Uint8Array): void;
}

/** 32 hex digits. */
export type SessionId = string;

/** The connection that carries a session, as seen from us; its packets may leave for a moment at lockdown. */
export interface Connection {
  readonly localAddress: string;
  readonly localPort: number;
  readonly remoteAddress: string;
  readonly remotePort: number;
}

export interface ChallengeInput {
  readonly offer: Offer;
  /** Noise handshake hash after message 1, and the responder's static public key of this handshake. */
  readonly transcript: Uint8Array;
  readonly staticKey: Uint8Array;
}

export interface AdmitInput {
  /** The offer as it stood in message 1. */
  readonly offer: Offer;
  readonly evidence: Evidence;
  /** Handshake hash after message 2; the initiator signed over it. */
  readonly transcript: Uint8Array;
  /** The initiator's Noise static public key. */
  readonly staticKey: Uint8Array;
  /** The initiator's Noise ephemeral public key, for our WireGuard key proof. */
  readonly ephemeralKey: Uint8Array;
  /** The final handshake hash. */
  readonly handshakeHash: Uint8Array;
  /** X25519(our Noise ephemeral, the WireGuard key in the body); undefined when it came out all zero or none was offered. */
  readonly wireguardShared?: Uint8Array;
  readonly connection: Connection;
  /** Re-attestation of a live session: same identity, same type, or refused. */
  readonly renews?: SessionId;
}

export interface ApproachInput {
  readonly offer: Offer;
  readonly evidence: Evidence;
  /** Handshake hash after message 1; the responder signed over it. */
  readonly responderTranscript: Uint8Array;
  readonly responderStaticKey: Uint8Array;
  /** Handshake hash after message 2; we sign over it. */
  readonly transcript: Uint8Array;
  readonly staticKey: Uint8Array;
  /** The responder's Noise ephemeral public key, for our WireGuard key proof. */
  readonly ephemeralKey: Uint8Array;
  /** The one SPIFFE ID that we meant to reach. */
  readonly expectedId: string;
  readonly request: SessionRequest;
  /** The live session that this attests again. */
  readonly renews?: SessionId;
}

export interface AcceptInput {
  /** Names the approach whose answer this is. */
  readonly nonce: Uint8Array;
  readonly grant: GrantBody;
  readonly handshakeHash: Uint8Array;
  readonly wireguardShared?: Uint8Array;
  readonly connection: Connection;
  readonly renews?: SessionId;
}

/** A session that stands in the data plane. */
export interface Admission {
  readonly id: SessionId;
  readonly peer: { readonly spiffeId: SpiffeId; readonly trustDomain: string; readonly tier?: Tier };
  readonly offer: Offer;
  readonly grant: Grant;
  /** Mesh only: in the other direction, what at the initiator the responder may reach. Absent: nothing. */
  readonly offered?: readonly GrantedTarget[];
  readonly effectiveLevel: PostureLevel;
  readonly governedBy: Governor;
  readonly peerLevel: PostureLevel;
  readonly peerEpoch: bigint;
  /** Our own posture's epoch as this attestation told it to the peer. */
  readonly toldEpoch: bigint;
  /** Milliseconds of wall time: the soonest of SVID, SAT and accord. */
  readonly expiresAt: number;
  /** For the prologue of the next attestation. */
  readonly reattestSecret: Uint8Array;
  /** Responder only: what GRANT tells the initiator. */
  readonly answer?: GrantBody;
  /** Mesh only: counts attestations, 1 at the first. */
  readonly tunnelGeneration?: number;
  /** Mesh only: the packets of its tunnel go in the session. */
  readonly carriesPackets?: boolean;
  /** 32 bytes: by these its holder claims it from an enforcer that was started anew. Absent: it ends with this one. */
  readonly resumeToken?: Uint8Array;
}

/** What the streams of a session carried, of all that there were. */
export interface StreamTotals {
  readonly streams: number;
  /** From the peer. */
  readonly receivedBytes: bigint;
  /** To the peer. */
  readonly sentBytes: bigint;
}

export interface LastWord extends StreamTotals {
  /** Where the accord's row of the level asks for frames. */
  readonly frames?: FinalFrames;
}

/** With which a session ends: what its connection is given at last. */
export interface FinalFrames {
  /** SHA-256 over their bodies, 32 bytes. */
  readonly payloadHash: Uint8Array;
  /** Of each its type. */
  readonly headers: Uint8Array;
}

/** Of a session that stood when an enforcer died. */
export interface Claim {
  readonly session: SessionId;
  readonly token: Uint8Array;
}

// ── what the enforcer is given ───────────────────────────────────────────────────────────────────────────────

export interface OwnIdentity {
  readonly spiffeId: SpiffeId;
  readonly trustDomain: string;
  readonly chain: readonly Uint8Array[];
  readonly expiresAt: number;
  sign(message: Uint8Array): Uint8Array;
}

export interface PeerIdentity {
  readonly spiffeId: SpiffeId;
  readonly trustDomain: string;
  /** Wall time, milliseconds: the beginning of the SVID's validity. */
  readonly notBefore: number;
  readonly expiresAt: number;
}

export interface AttestedToken {
  /** SHA-256 of the JWS signing input, hex: signatures are malleable, the input is not. */
  readonly tokenId: string;
  readonly tier?: Tier;
  readonly issuedAt: number;
  readonly expiresAt: number;
  readonly bound: boolean;
}

/** What SPIRE is asked for. A session that stands is worth waiting for an agent that restarts; one to come is not. */
export type Attestation = 'first' | 'renewal';

export interface Attestor {
  /** Throws NO_BUNDLE or SVID_EXPIRED while we have no identity of our own. */
  self(): OwnIdentity;
  /** Chain, then signature. Throws a reason of range 2xx. */
  verifyPeer(evidence: Evidence, signed: Uint8Array): PeerIdentity;
  verifyToken(input: {
    readonly token: string;
    readonly subject: SpiffeId;
    readonly plainAudience: string;
    readonly boundAudience: string;
    readonly fresh: boolean;
    readonly attestation: Attestation;
  }): Promise<AttestedToken>;
  /** Throws SAT_UNVERIFIABLE when none can be had. */
  mintToken(audience: string, attestation: Attestation): Promise<string>;
  /** False while SPIRE gives no answer, be it a token or a refusal. Asked about one audience, it is asked once a second. */
  answersFor(audience: string): Promise<boolean>;
}

/** Posture as it is now; a grant commits only under the epoch it was decided in. */
export interface PostureReader {
  readonly level: PostureLevel;
  readonly epoch: bigint;
}

/** What was revoked. */
export interface RevocationReader {
  /** Anything when it was revoked, undefined when not. */
  find(subject: RevocationSubject): object | undefined;
  /** Why that is not known to be all: newcomers at level 3 and below are refused while it is set. */
  readonly stale: string | undefined;
}
