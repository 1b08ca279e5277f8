/**
 * Between the wire's messages and the model's values, for what the handshake and the frames share. Every
 * `…FromWire` refuses with MALFORMED what the model has no word for and what exceeds the limits below.
 * Byte fields are copied (by a constructor: a Buffer's `slice` is a view), so that a value may outlive its record.
 */
import type { Capability, Mode, Prefix, SessionRequest, SessionType, Target } from '../capability/model.ts';
import { ShellstreamError } from '../errors.ts';
import {
  type Capability as WireCapability,
  Capability as WireCapabilityValue,
  type Mode as WireMode,
  Mode as WireModeValue,
  type Prefix as WirePrefix,
  type Request as WireRequest,
  type SessionType as WireSessionType,
  SessionType as WireSessionTypeValue,
  type Target as WireTarget,
} from '../gen/shellstream/wire/v1/wire_pb.ts';

export const MAX_CAPABILITIES = 16;
export const MAX_TARGETS = 256;
export const MAX_PREFIXES = 64;

export function prefixToWire(prefix: Prefix): WirePrefix {
  return { $typeName: 'shellstream.wire.v1.Prefix', address: prefix.address, length: prefix.length };
}

export function prefixFromWire(wire: WirePrefix): Prefix {
  const { address, length } = wire;
  if (address.length !== 4 && address.length !== 16) throw malformed('prefix address bytes', address.length);
  if (length > address.length * 8) throw malformed('prefix length', length);
  if (!hostBitsAreZero(address, length)) throw malformed('prefix', 'host bits set');
  return { address: new Uint8Array(address), length };
}

/** At most {@link MAX_PREFIXES}. */
export function prefixesFromWire(wire: readonly WirePrefix[]): readonly Prefix[] {
  atMost('prefixes', wire.length, MAX_PREFIXES);
  return wire.map(prefixFromWire);
}

export function targetToWire(target: Target): WireTarget {
  return {
    $typeName: 'shellstream.wire.v1.Target',
    prefix: prefixToWire(target.prefix),
    protocol: target.protocol,
    port: target.port,
  };
}

export function targetFromWire(wire: WireTarget): Target {
  if (wire.prefix === undefined) throw malformed('target', 'without a prefix');
  atMost('protocol', wire.protocol, 255);
  atMost('port', wire.port, 65_535);
  return { prefix: prefixFromWire(wire.prefix), protocol: wire.protocol, port: wire.port };
}

export function targetsFromWire(wire: readonly WireTarget[]): readonly Target[] {
  atMost('targets', wire.length, MAX_TARGETS);
  return wire.map(targetFromWire);
}

export function requestToWire(request: SessionRequest): WireRequest {
  return {
    $typeName: 'shellstream.wire.v1.Request',
    capabilities: capabilitiesToWire(request.capabilities),
    targets: request.targets.map(targetToWire),
    advertise: request.advertise.map(prefixToWire),
  };
}

export function requestFromWire(wire: WireRequest): SessionRequest {
  return {
    capabilities: capabilitiesFromWire(wire.capabilities),
    targets: targetsFromWire(wire.targets),
    advertise: prefixesFromWire(wire.advertise),
  };
}

export function sessionTypeToWire(type: SessionType): WireSessionType {
  return SESSION_TYPE[type];
}

export function sessionTypeFromWire(wire: number): SessionType {
  return wordFor('session type', SESSION_TYPE_BY_NUMBER, wire);
}

export function modeToWire(mode: Mode): WireMode {
  return MODE[mode];
}

export function modeFromWire(wire: number): Mode {
  return wordFor('mode', MODE_BY_NUMBER, wire);
}

export function capabilitiesToWire(capabilities: readonly Capability[]): WireCapability[] {
  return capabilities.map((capability) => CAPABILITY[capability]);
}

export function capabilitiesFromWire(wire: readonly number[]): readonly Capability[] {
  atMost('capabilities', wire.length, MAX_CAPABILITIES);
  if (new Set(wire).size !== wire.length) throw malformed('capabilities', 'one of them twice');
  return wire.map((value) => wordFor('capability', CAPABILITY_BY_NUMBER, value));
}

const SESSION_TYPE = {
  management: WireSessionTypeValue.MANAGEMENT,
  'incident-response': WireSessionTypeValue.INCIDENT_RESPONSE,
  'health-monitoring': WireSessionTypeValue.HEALTH_MONITORING,
  operator: WireSessionTypeValue.OPERATOR,
  workload: WireSessionTypeValue.WORKLOAD,
  mesh: WireSessionTypeValue.MESH,
} as const satisfies Record<SessionType, WireSessionType>;

const MODE = {
  overlay: WireModeValue.OVERLAY,
  underlay: WireModeValue.UNDERLAY,
} as const satisfies Record<Mode, WireMode>;

const CAPABILITY = {
  OBSERVE: WireCapabilityValue.OBSERVE,
  CONNECT: WireCapabilityValue.CONNECT,
  SHELL: WireCapabilityValue.SHELL,
  PROPOSE: WireCapabilityValue.PROPOSE,
  EXECUTE: WireCapabilityValue.EXECUTE,
  ADMIN: WireCapabilityValue.ADMIN,
} as const satisfies Record<Capability, WireCapability>;

const SESSION_TYPE_BY_NUMBER = invert<SessionType>(SESSION_TYPE);
const MODE_BY_NUMBER = invert<Mode>(MODE);
const CAPABILITY_BY_NUMBER = invert<Capability>(CAPABILITY);

function invert<Word extends string>(table: Readonly<Record<Word, number>>): ReadonlyMap<number, Word> {
  return new Map((Object.keys(table) as Word[]).map((word) => [table[word], word]));
}

function wordFor<Word>(what: string, table: ReadonlyMap<number, Word>, wire: number): Word {
  const word = table.get(wire);
  if (word === undefined) throw malformed(what, wire);
  return word;
}

function hostBitsAreZero(address: Uint8Array, length: number): boolean {
  return address.every((byte, i) => {
    const networkBits = Math.min(Math.max(length - i * 8, 0), 8);
    return (byte & (0xff >> networkBits)) === 0;
  });
}

function atMost(what: string, value: number, most: number): void {
  if (value > most) throw malformed(what, `${value}, at most ${most}`);
}

function malformed(what: string, got: unknown): ShellstreamError {
  return new ShellstreamError('MALFORMED', `${what}: ${String(got)}`);
}
