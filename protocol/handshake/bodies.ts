/**
 * The payloads of messages 1 to 3: parsing of hostile bytes into values, and encoding of our own.
 * Each parser refuses unknown fields, trailing bytes, and anything over the limits in `constants.ts` with MALFORMED.
 */
import type { Mode, SessionRequest, SessionType, Target } from '../capability/model.ts';
import { ShellstreamError } from '../errors.ts';
import {
  AttestInitSchema,
  ConfirmBodySchema,
  EvidenceSchema,
  VerifyBodySchema,
  type WireguardOffer as WireWireguardOffer,
} from '../gen/shellstream/wire/v1/wire_pb.ts';
import { isPostureLevel, type PostureLevel } from '../posture/level.ts';
import {
  modeFromWire,
  modeToWire,
  requestFromWire,
  requestToWire,
  sessionTypeFromWire,
  sessionTypeToWire,
  targetsFromWire,
  targetToWire,
} from '../wire/convert.ts';
import { parseExact } from '../wire/parse.ts';
import { writeMessage } from '../wire/write.ts';
import { KEY_BYTES, LIMITS, NONCE_BYTES, SECRET_BYTES } from './constants.ts';
import type { Evidence } from './evidence.ts';

/** What message 1 asks for, in the clear and unauthenticated; repeated inside message 3. */
export interface Offer {
  readonly versions: readonly number[];
  readonly sessionType: SessionType;
  readonly mode: Mode;
}

export interface VerifyBody {
  readonly version: number;
  /** 32 bytes, good once. */
  readonly nonce: Uint8Array;
  readonly freshSat: boolean;
  /** A wire reason code: the responder goes no further with this class of session. */
  readonly denial?: number;
  /** 32 bytes: which WireGuard key GRANT will offer, under the responder's signature. Mesh sessions only. */
  readonly wireguardHash?: Uint8Array;
}

export interface ConfirmBody {
  readonly offer: Offer;
  readonly nonce: Uint8Array;
  readonly responderId: string;
  readonly sat: string;
  readonly postureLevel: PostureLevel;
  readonly postureEpoch: bigint;
  readonly request: SessionRequest;
  /** Present exactly in mesh sessions. */
  readonly wireguard?: WireguardOffer;
  /** 32 bytes, r_i. */
  readonly secret: Uint8Array;
  /** What the responder may reach at the initiator; absent: nothing. Mesh sessions only. */
  readonly offered?: readonly Target[];
}

export interface WireguardOffer {
  readonly publicKey: Uint8Array;
  readonly proof: Uint8Array;
  /** 0: the sender cannot be dialled, its endpoint is learnt. */
  readonly port: number;
  /** The sender's own addresses inside the tunnel, 4 or 16 bytes each. */
  readonly addresses: readonly Uint8Array[];
}

export function encodeOffer(offer: Offer): Uint8Array {
  return writeMessage(AttestInitSchema, {
    versions: [...offer.versions],
    sessionType: sessionTypeToWire(offer.sessionType),
    mode: modeToWire(offer.mode),
  });
}

export function parseOffer(bytes: Uint8Array): Offer {
  const wire = parseExact(AttestInitSchema, bytes, LIMITS.initPayloadBytes);
  return {
    versions: parseVersions(wire.versions),
    sessionType: sessionTypeFromWire(wire.sessionType),
    mode: modeFromWire(wire.mode),
  };
}

export function encodeEvidence(evidence: Evidence): Uint8Array {
  return writeMessage(EvidenceSchema, {
    chain: [...evidence.chain],
    signature: evidence.signature,
    body: evidence.body,
  });
}

export function parseEvidence(bytes: Uint8Array): Evidence {
  const wire = parseExact(EvidenceSchema, bytes, LIMITS.evidenceBytes);
  between('certificates', wire.chain.length, 1, LIMITS.chainLength);
  for (const certificate of wire.chain) between('certificate bytes', certificate.length, 1, LIMITS.certificateBytes);
  between('signature bytes', wire.signature.length, 1, LIMITS.signatureBytes);
  between('body bytes', wire.body.length, 1, LIMITS.bodyBytes);
  return { chain: wire.chain, signature: wire.signature, body: wire.body };
}

export function encodeVerifyBody(body: VerifyBody): Uint8Array {
  return writeMessage(VerifyBodySchema, {
    version: body.version,
    nonce: body.nonce,
    freshSat: body.freshSat,
    denial: body.denial ?? 0,
    ...(body.wireguardHash === undefined ? {} : { wireguardHash: body.wireguardHash }),
  });
}

export function parseVerifyBody(bytes: Uint8Array): VerifyBody {
  const wire = parseExact(VerifyBodySchema, bytes, LIMITS.bodyBytes);
  exactly('nonce', wire.nonce, NONCE_BYTES);
  const { version, nonce, freshSat, denial, wireguardHash } = wire;
  if (wireguardHash.length > 0) exactly('wireguard hash', wireguardHash, KEY_BYTES);
  return {
    version,
    nonce,
    freshSat,
    ...(denial === 0 ? {} : { denial }),
    ...(wireguardHash.length === 0 ? {} : { wireguardHash }),
  };
}

export function encodeConfirmBody(body: ConfirmBody): Uint8Array {
  return writeMessage(ConfirmBodySchema, {
    versions: [...body.offer.versions],
    sessionType: sessionTypeToWire(body.offer.sessionType),
    mode: modeToWire(body.offer.mode),
    nonce: body.nonce,
    responderId: body.responderId,
    sat: body.sat,
    postureLevel: body.postureLevel,
    postureEpoch: body.postureEpoch,
    request: requestToWire(body.request),
    secret: body.secret,
    ...(body.wireguard === undefined ? {} : { wireguard: wireguardOfferToWire(body.wireguard) }),
    ...(body.offered === undefined ? {} : { offered: body.offered.map(targetToWire) }),
  });
}

export function parseConfirmBody(bytes: Uint8Array): ConfirmBody {
  const wire = parseExact(ConfirmBodySchema, bytes, LIMITS.bodyBytes);
  exactly('nonce', wire.nonce, NONCE_BYTES);
  exactly('secret', wire.secret, SECRET_BYTES);
  between('responder id', wire.responderId.length, 1, LIMITS.spiffeIdBytes);
  between('token', wire.sat.length, 0, LIMITS.satBytes);
  if (!isPostureLevel(wire.postureLevel)) throw malformed('posture level', wire.postureLevel);
  if (wire.request === undefined) throw malformed('request', 'absent');
  const offer: Offer = {
    versions: parseVersions(wire.versions),
    sessionType: sessionTypeFromWire(wire.sessionType),
    mode: modeFromWire(wire.mode),
  };
  if ((offer.sessionType === 'mesh') !== (wire.wireguard !== undefined))
    throw malformed('wireguard', offer.sessionType);
  if (offer.sessionType !== 'mesh' && wire.offered.length > 0) throw malformed('offered', offer.sessionType);
  return {
    offer,
    nonce: wire.nonce,
    responderId: wire.responderId,
    sat: wire.sat,
    postureLevel: wire.postureLevel,
    postureEpoch: wire.postureEpoch,
    request: requestFromWire(wire.request),
    secret: wire.secret,
    ...(wire.wireguard === undefined ? {} : { wireguard: wireguardOfferFromWire(wire.wireguard) }),
    ...(wire.offered.length === 0 ? {} : { offered: targetsFromWire(wire.offered) }),
  };
}

export function wireguardOfferToWire(offer: WireguardOffer): WireWireguardOffer {
  return {
    $typeName: 'shellstream.wire.v1.WireguardOffer',
    publicKey: offer.publicKey,
    proof: offer.proof,
    port: offer.port,
    addresses: [...offer.addresses],
  };
}

export function wireguardOfferFromWire(wire: WireWireguardOffer): WireguardOffer {
  exactly('wireguard key', wire.publicKey, KEY_BYTES);
  exactly('wireguard proof', wire.proof, KEY_BYTES);
  between('wireguard port', wire.port, 0, 65_535);
  between('tunnel addresses', wire.addresses.length, 1, LIMITS.tunnelAddresses);
  for (const address of wire.addresses) {
    if (address.length !== 4 && address.length !== 16) throw malformed('tunnel address bytes', address.length);
  }
  return { publicKey: wire.publicKey, proof: wire.proof, port: wire.port, addresses: wire.addresses };
}

/** The version both ends speak: the highest in common. */
export function chooseVersion(offered: readonly number[], supported: readonly number[]): number | undefined {
  const common = offered.filter((version) => supported.includes(version));
  return common.length === 0 ? undefined : Math.max(...common);
}

/** Whether message 3 repeats what message 1 asked for: a changed message 1 is a downgrade attempt. */
export function sameOffer(a: Offer, b: Offer): boolean {
  return (
    a.sessionType === b.sessionType &&
    a.mode === b.mode &&
    a.versions.length === b.versions.length &&
    a.versions.every((version, i) => version === b.versions[i])
  );
}

function parseVersions(versions: readonly number[]): readonly number[] {
  between('versions', versions.length, 1, LIMITS.versions);
  return versions;
}

function exactly(field: string, bytes: Uint8Array, length: number): void {
  if (bytes.length !== length) throw malformed(`${field} bytes`, bytes.length);
}

function between(field: string, value: number, least: number, most: number): void {
  if (value < least || value > most) throw malformed(field, value);
}

function malformed(field: string, got: unknown): ShellstreamError {
  return new ShellstreamError('MALFORMED', `${field}: ${String(got)}`);
}
