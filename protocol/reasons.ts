/**
 * Every reason code of shellstream/1: why a record, a session, a stream or a request was refused or ended.
 *
 * Ranges: 1xx the record or handshake, 2xx identity, 3xx policy and posture, 4xx limits and load,
 * 5xx the tunnel and the data plane, 6xx orderly ends, 9xx faults of our own.
 * The wire carries only codes marked `wire`; any other is sent as the coarser code in `as`.
 */

/** Whose fault a refusal is. */
export type Fault =
  | 'PEER_MISBEHAVED'
  | 'PEER_INCOMPATIBLE'
  | 'INVALID_MESSAGE'
  | 'POLICY_DENIED'
  | 'UNAVAILABLE'
  | 'INTERNAL'
  | 'NONE';

interface ReasonEntry {
  readonly code: number;
  readonly fault: Fault;
  /** What the peer is told instead, where the reason itself would tell an attacker something. */
  readonly as?: string;
  readonly text: string;
}

const TABLE = {
  // 1xx: the record or the handshake
  MALFORMED: {
    code: 100,
    fault: 'INVALID_MESSAGE',
    text: 'a message does not parse, exceeds a limit or has trailing bytes',
  },
  UNEXPECTED_RECORD: { code: 101, fault: 'PEER_MISBEHAVED', text: 'a record or frame that is not legal in this state' },
  DECRYPT_FAILED: {
    code: 102,
    fault: 'PEER_MISBEHAVED',
    as: 'NOT_AUTHENTICATED',
    text: 'authenticated decryption failed',
  },
  NO_COMMON_VERSION: { code: 103, fault: 'PEER_INCOMPATIBLE', text: 'no protocol version in common' },
  DOWNGRADE: {
    code: 104,
    fault: 'PEER_MISBEHAVED',
    as: 'NOT_AUTHENTICATED',
    text: 'the authenticated offer differs from the first message',
  },
  HANDSHAKE_TIMEOUT: { code: 105, fault: 'PEER_MISBEHAVED', text: 'the handshake did not finish in time' },

  // 2xx: identity. On the wire all of them are one code.
  NOT_AUTHENTICATED: { code: 200, fault: 'PEER_MISBEHAVED', text: 'the peer did not prove who it is' },
  SVID_MALFORMED: {
    code: 201,
    fault: 'INVALID_MESSAGE',
    as: 'NOT_AUTHENTICATED',
    text: 'the chain is no X.509-SVID chain',
  },
  SVID_UNTRUSTED: {
    code: 202,
    fault: 'PEER_MISBEHAVED',
    as: 'NOT_AUTHENTICATED',
    text: 'no trust bundle vouches for the chain',
  },
  SVID_EXPIRED: {
    code: 203,
    fault: 'PEER_MISBEHAVED',
    as: 'NOT_AUTHENTICATED',
    text: 'the SVID is outside its validity',
  },
  SVID_SIGNATURE: {
    code: 204,
    fault: 'PEER_MISBEHAVED',
    as: 'NOT_AUTHENTICATED',
    text: 'the evidence signature does not verify',
  },
  WRONG_IDENTITY: {
    code: 205,
    fault: 'PEER_MISBEHAVED',
    as: 'NOT_AUTHENTICATED',
    text: 'the SPIFFE ID is not the expected one',
  },
  NO_BUNDLE: {
    code: 206,
    fault: 'UNAVAILABLE',
    as: 'NOT_AUTHENTICATED',
    text: 'no trust bundle for the domain is at hand',
  },
  NONCE_UNKNOWN: {
    code: 207,
    fault: 'PEER_MISBEHAVED',
    as: 'NOT_AUTHENTICATED',
    text: 'the nonce was never issued, was used, or is too old',
  },
  SAT_MISSING: {
    code: 210,
    fault: 'PEER_MISBEHAVED',
    as: 'NOT_AUTHENTICATED',
    text: 'no shell attestation token was presented',
  },
  SAT_INVALID: {
    code: 211,
    fault: 'PEER_MISBEHAVED',
    as: 'NOT_AUTHENTICATED',
    text: 'the shell attestation token does not verify',
  },
  SAT_EXPIRED: {
    code: 212,
    fault: 'PEER_MISBEHAVED',
    as: 'NOT_AUTHENTICATED',
    text: 'the shell attestation token has expired',
  },
  SAT_WRONG_AUDIENCE: {
    code: 213,
    fault: 'PEER_MISBEHAVED',
    as: 'NOT_AUTHENTICATED',
    text: 'the shell attestation token is for somebody else',
  },
  SAT_WRONG_SUBJECT: {
    code: 214,
    fault: 'PEER_MISBEHAVED',
    as: 'NOT_AUTHENTICATED',
    text: 'the shell attestation token is not of the SVID that signed',
  },
  SAT_NOT_FRESH: { code: 215, fault: 'POLICY_DENIED', text: 'the posture asks for a token minted for this handshake' },
  SAT_UNVERIFIABLE: {
    code: 216,
    fault: 'UNAVAILABLE',
    as: 'NOT_AUTHENTICATED',
    text: 'nothing could verify the shell attestation token',
  },
  REVOKED: {
    code: 220,
    fault: 'POLICY_DENIED',
    as: 'NOT_AUTHENTICATED',
    text: 'the identity, token or session was revoked',
  },
  IDENTITY_CHANGED: { code: 221, fault: 'PEER_MISBEHAVED', text: 're-attestation by another identity' },
  REVOCATIONS_STALE: {
    code: 222,
    fault: 'UNAVAILABLE',
    as: 'NOT_AUTHENTICATED',
    text: 'a feed of revocations is not known to be whole and recent, and the level asks for that',
  },
  REVOCATION_REFUSED: {
    code: 223,
    fault: 'PEER_MISBEHAVED',
    as: 'NOT_AUTHENTICATED',
    text: 'a statement of revocation is not its issuer’s to make, or out of order',
  },

  // 3xx: policy and posture
  POSTURE_ISOLATED: { code: 300, fault: 'POLICY_DENIED', text: 'posture level 1: nothing remote' },
  POSTURE_TYPE_NOT_ALLOWED: {
    code: 301,
    fault: 'POLICY_DENIED',
    text: 'the posture allows critical session types only',
  },
  POSTURE_MODE_NOT_ALLOWED: { code: 302, fault: 'POLICY_DENIED', text: 'the posture denies this mode to this tier' },
  POSTURE_CHANGED: { code: 303, fault: 'POLICY_DENIED', text: 'the posture changed while or after this was decided' },
  TIER_UNKNOWN: { code: 310, fault: 'POLICY_DENIED', text: 'the identity has no tier here' },
  TYPE_NOT_AUTHORISED: {
    code: 311,
    fault: 'POLICY_DENIED',
    text: 'the accord does not let this identity and tier ask for this session type',
  },
  MODE_NOT_AUTHORISED: {
    code: 312,
    fault: 'POLICY_DENIED',
    text: 'the accord never gives this mode to this tier or type',
  },
  NO_CAPABILITY_LEFT: { code: 313, fault: 'POLICY_DENIED', text: 'nothing of what was asked may be granted' },
  TARGET_NOT_ALLOWED: { code: 314, fault: 'POLICY_DENIED', text: 'a target is outside the scope of the session' },
  PREFIX_NOT_ALLOWED: {
    code: 315,
    fault: 'POLICY_DENIED',
    text: 'an advertised prefix is not this identity’s to advertise',
  },
  PREFIX_OVERLAP: { code: 316, fault: 'POLICY_DENIED', text: 'an advertised prefix overlaps another site’s' },
  PEER_HELD: { code: 317, fault: 'POLICY_DENIED', text: 'the site is held until it is released' },
  CAPABILITY_NOT_GRANTED: {
    code: 318,
    fault: 'POLICY_DENIED',
    text: 'the session does not hold the capability this needs',
  },

  // Of documents that end a hold: they come by other ways than sessions.
  RELEASE_UNTRUSTED: {
    code: 330,
    fault: 'PEER_MISBEHAVED',
    as: 'PEER_HELD',
    text: 'no configured key of the held site’s owner signed the release',
  },
  RELEASE_EXPIRED: { code: 331, fault: 'POLICY_DENIED', as: 'PEER_HELD', text: 'the release is outside its time' },
  RELEASE_LEVEL: {
    code: 332,
    fault: 'POLICY_DENIED',
    as: 'PEER_HELD',
    text: 'the release says that the site is at level 1 still',
  },
  RELEASE_SPENT: { code: 333, fault: 'POLICY_DENIED', as: 'PEER_HELD', text: 'the release was used before' },
  RELEASE_MISMATCH: {
    code: 334,
    fault: 'POLICY_DENIED',
    as: 'PEER_HELD',
    text: 'the release is of another hold, site or anchor',
  },

  // Of proposals to Quartermaster: they come outside of sessions, and are answered as gRPC's PermissionDenied.
  REQUEST_TOKEN_INVALID: {
    code: 340,
    fault: 'PEER_MISBEHAVED',
    as: 'CAPABILITY_NOT_GRANTED',
    text: 'the request token is not of a known issuer, or is for another subject, audience or proposal',
  },
  REQUEST_TOKEN_EXPIRED: {
    code: 341,
    fault: 'POLICY_DENIED',
    as: 'CAPABILITY_NOT_GRANTED',
    text: 'the request token is outside its time',
  },
  REQUEST_TOKEN_SPENT: {
    code: 342,
    fault: 'PEER_MISBEHAVED',
    as: 'CAPABILITY_NOT_GRANTED',
    text: 'the request token was used before',
  },

  // 4xx: limits and load
  OVERLOADED: { code: 400, fault: 'UNAVAILABLE', text: 'too much is pending; try again later' },
  RATE_LIMITED: { code: 401, fault: 'PEER_MISBEHAVED', as: 'OVERLOADED', text: 'too many attempts from there' },
  SESSION_LIMIT: { code: 402, fault: 'UNAVAILABLE', as: 'OVERLOADED', text: 'no room for another session' },
  STREAM_LIMIT: { code: 403, fault: 'PEER_MISBEHAVED', text: 'too many streams' },
  WINDOW_EXCEEDED: { code: 404, fault: 'PEER_MISBEHAVED', text: 'more bytes than the window allows' },
  SHUTTING_DOWN: { code: 405, fault: 'UNAVAILABLE', text: 'the gateway is going down' },

  EVIDENCE_FULL: {
    code: 406,
    fault: 'UNAVAILABLE',
    as: 'OVERLOADED',
    text: 'no room to keep the evidence of this',
  },

  EVIDENCE_GAP: {
    code: 407,
    fault: 'PEER_MISBEHAVED',
    as: 'MALFORMED',
    text: 'entries of the log are missing before these',
  },
  EVIDENCE_FORK: {
    code: 408,
    fault: 'PEER_MISBEHAVED',
    as: 'MALFORMED',
    text: 'another entry is held under the same number of the same log',
  },
  EVIDENCE_UNWITNESSED: {
    code: 409,
    fault: 'UNAVAILABLE',
    as: 'OVERLOADED',
    text: 'too few witnesses cosigned the log',
  },

  // 5xx: tunnel and data plane
  WIREGUARD_PROOF: {
    code: 500,
    fault: 'PEER_MISBEHAVED',
    as: 'NOT_AUTHENTICATED',
    text: 'the WireGuard key proof does not verify',
  },
  WIREGUARD_KEY_TAKEN: {
    code: 501,
    fault: 'PEER_MISBEHAVED',
    as: 'NOT_AUTHENTICATED',
    text: 'the WireGuard key is ours or lives under another identity',
  },
  TUNNEL_FAILED: { code: 502, fault: 'INTERNAL', text: 'the tunnel could not be put in place' },
  DATAPLANE_FULL: { code: 503, fault: 'UNAVAILABLE', as: 'OVERLOADED', text: 'no room for the flows of this session' },
  DATAPLANE_FAILED: { code: 504, fault: 'INTERNAL', as: 'INTERNAL', text: 'the flows could not be installed' },
  TARGET_UNREACHABLE: { code: 505, fault: 'UNAVAILABLE', text: 'the target of a stream did not answer' },

  // 6xx: orderly ends
  CLOSED: { code: 600, fault: 'NONE', text: 'the peer or the operator closed it' },
  EXPIRED: { code: 601, fault: 'NONE', text: 'its lifetime ended without a new attestation' },
  SUPERSEDED: { code: 602, fault: 'NONE', text: 'a newer session of the same peer took its place' },
  POSTURE_DRAIN: { code: 603, fault: 'POLICY_DENIED', text: 'the posture narrowed; attest again for what is left' },
  POSTURE_END: { code: 604, fault: 'POLICY_DENIED', text: 'the posture ends sessions of this type' },
  OPERATOR_DRAIN: { code: 605, fault: 'NONE', text: 'an operator drains the session' },
  PEER_SILENT: { code: 606, fault: 'PEER_MISBEHAVED', text: 'nothing was heard from the peer for too long' },
  CONNECTION_LOST: { code: 607, fault: 'UNAVAILABLE', text: 'the connection under the session broke' },

  // 9xx: ours
  INTERNAL: { code: 900, fault: 'INTERNAL', text: 'a fault of this side' },
  EVIDENCE_FAILED: {
    code: 901,
    fault: 'INTERNAL',
    as: 'INTERNAL',
    text: 'the evidence store is damaged or cannot be written',
  },
  EVIDENCE_ROLLED_BACK: {
    code: 902,
    fault: 'INTERNAL',
    as: 'INTERNAL',
    text: 'others hold more of the evidence log, or another one, than is here',
  },
} as const satisfies Record<string, ReasonEntry>;

export type Reason = keyof typeof TABLE;

export const REASONS: Readonly<Record<Reason, ReasonEntry>> = TABLE;

const BY_CODE = new Map<number, Reason>();
for (const name of Object.keys(TABLE) as Reason[]) BY_CODE.set(TABLE[name].code, name);

/** The number the peer is told: the reason itself, or the coarser one that stands for it on the wire. */
export function wireCode(reason: Reason): number {
  const entry: ReasonEntry = TABLE[reason];
  return entry.as === undefined ? entry.code : TABLE[entry.as as Reason].code;
}

/** The reason behind a number from the wire; numbers we do not know count as INTERNAL of the peer. */
export function reasonFromWire(code: number): Reason {
  return BY_CODE.get(code) ?? 'INTERNAL';
}
