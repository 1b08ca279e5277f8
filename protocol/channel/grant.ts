/** The body of GRANT: what the responder allows, and its half of the session secret. */
import type { MessageInitShape } from '@bufbuild/protobuf';
import type { Capability, Mode, Prefix, Target } from '../capability/model.ts';
import { ShellstreamError } from '../errors.ts';
import {
  type GrantSchema,
  Governor as WireGovernor,
  type Grant as WireGrant,
} from '../gen/shellstream/wire/v1/wire_pb.ts';
import { type WireguardOffer, wireguardOfferFromWire, wireguardOfferToWire } from '../handshake/bodies.ts';
import { isPostureLevel, type PostureLevel } from '../posture/level.ts';
import {
  capabilitiesFromWire,
  capabilitiesToWire,
  modeFromWire,
  modeToWire,
  prefixesFromWire,
  prefixToWire,
  targetsFromWire,
  targetToWire,
} from '../wire/convert.ts';

export interface GrantBody {
  readonly mode: Mode;
  readonly capabilities: readonly Capability[];
  readonly targets: readonly Target[];
  /** Prefixes behind the responder that the targets lie in; mesh sessions only. */
  readonly advertise: readonly Prefix[];
  /** Of the prefixes that the initiator advertised, those accepted. */
  readonly reachable: readonly Prefix[];
  /** Until the session ends unless it attests again, milliseconds, at least 1. */
  readonly lifetimeMs: number;
  readonly effectiveLevel: PostureLevel;
  readonly governedBy: Governor;
  /** The responder's own posture. */
  readonly postureLevel: PostureLevel;
  readonly postureEpoch: bigint;
  /** SHA-256 of the accord's bytes: 32 bytes. */
  readonly accordHash: Uint8Array;
  /** Mesh sessions only. */
  readonly wireguard?: WireguardOffer;
  /** r_r, 32 bytes. */
  readonly secret: Uint8Array;
}

/** Whose posture set the effective level. */
export type Governor = 'both' | 'initiator' | 'responder';

/** 256 targets and twice 64 prefixes of IPv6 at their longest fit with room to spare. */
export const MAX_GRANT_BYTES = 16_384;

export function grantToWire(grant: GrantBody): MessageInitShape<typeof GrantSchema> {
  return {
    mode: modeToWire(grant.mode),
    capabilities: capabilitiesToWire(grant.capabilities),
    targets: grant.targets.map(targetToWire),
    advertise: grant.advertise.map(prefixToWire),
    reachable: grant.reachable.map(prefixToWire),
    lifetimeMs: BigInt(grant.lifetimeMs),
    effectiveLevel: grant.effectiveLevel,
    governedBy: GOVERNOR[grant.governedBy],
    postureLevel: grant.postureLevel,
    postureEpoch: grant.postureEpoch,
    accordHash: grant.accordHash,
    secret: grant.secret,
    ...(grant.wireguard === undefined ? {} : { wireguard: wireguardOfferToWire(grant.wireguard) }),
  };
}

/** @throws ShellstreamError MALFORMED */
export function grantFromWire(wire: WireGrant): GrantBody {
  return {
    mode: modeFromWire(wire.mode),
    capabilities: capabilitiesFromWire(wire.capabilities),
    targets: targetsFromWire(wire.targets),
    advertise: prefixesFromWire(wire.advertise),
    reachable: prefixesFromWire(wire.reachable),
    lifetimeMs: lifetime(wire.lifetimeMs),
    effectiveLevel: level('effective level', wire.effectiveLevel),
    governedBy: governor(wire.governedBy),
    postureLevel: level('posture level', wire.postureLevel),
    postureEpoch: wire.postureEpoch,
    accordHash: hash('accord hash', wire.accordHash),
    secret: hash('secret', wire.secret),
    ...(wire.wireguard === undefined ? {} : { wireguard: wireguardOfferFromWire(wire.wireguard) }),
  };
}

const GOVERNOR = {
  both: WireGovernor.BOTH,
  initiator: WireGovernor.INITIATOR,
  responder: WireGovernor.RESPONDER,
} as const satisfies Record<Governor, WireGovernor>;

function governor(wire: number): Governor {
  for (const name of Object.keys(GOVERNOR) as Governor[]) if (GOVERNOR[name] === wire) return name;
  throw malformed('governor', wire);
}

function lifetime(wire: bigint): number {
  if (wire === 0n || wire > BigInt(Number.MAX_SAFE_INTEGER)) throw malformed('lifetime', wire);
  return Number(wire);
}

function level(what: string, wire: number): PostureLevel {
  if (!isPostureLevel(wire)) throw malformed(what, wire);
  return wire;
}

const HASH_BYTES = 32;

function hash(what: string, wire: Uint8Array): Uint8Array {
  if (wire.length !== HASH_BYTES) throw malformed(`${what} bytes`, wire.length);
  return new Uint8Array(wire);
}

function malformed(what: string, got: unknown): ShellstreamError {
  return new ShellstreamError('MALFORMED', `${what}: ${String(got)}`);
}
