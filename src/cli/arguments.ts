/** Parsers of arguments: what does not fit is a usage error (exit code 2), told before anything is asked of anyone. */
import { InvalidArgumentError } from 'commander';
import type { Target } from '../../protocol/capability/model.ts';
import { parseSpiffeId } from '../../protocol/identity/spiffe-id.ts';
import { tryParseAddress } from '../../protocol/net/address.ts';
import { hostPrefix } from '../../protocol/net/prefix.ts';
import { isPostureLevel, type PostureLevel } from '../../protocol/posture/level.ts';

export interface HostPort {
  readonly host: string;
  readonly port: number;
}

export function postureLevel(text: string): PostureLevel {
  const level = /^\d$/.test(text) ? Number(text) : undefined;
  if (!isPostureLevel(level)) throw new InvalidArgumentError('A posture level is 1 (lockdown) to 5 (normal).');
  return level;
}

export function epoch(text: string): bigint {
  if (!/^\d{1,19}$/.test(text)) throw new InvalidArgumentError('An epoch is a whole number.');
  return BigInt(text);
}

/** Milliseconds of `500ms`, `90s`, `30m`, `2h`, `1d`. */
export function milliseconds(text: string): number {
  const [, count, unit] = /^(\d{1,9})(ms|s|m|h|d)$/.exec(text) ?? [];
  const factor = UNITS.get(unit ?? '');
  if (count === undefined || factor === undefined) {
    throw new InvalidArgumentError('A time is a number and a unit: 500ms, 90s, 30m, 2h, 1d.');
  }
  return Number(count) * factor;
}

export function spiffeId(text: string): string {
  const id = parseSpiffeId(text);
  if (id === undefined) throw new InvalidArgumentError('A SPIFFE ID looks like spiffe://trust.domain/path.');
  return id;
}

/** `host:port`, `[fd00::1]:port`. */
export function hostPort(text: string): HostPort {
  const [, bracketed, plain, digits] = /^(?:\[([0-9a-f:.]+)\]|([a-z0-9._-]{1,253})):(\d{1,5})$/i.exec(text) ?? [];
  const port = Number(digits);
  const isAddress = bracketed === undefined || tryParseAddress(bracketed)?.length === 16;
  const host = bracketed ?? plain;
  if (host === undefined || !isAddress || port > 65_535) {
    throw new InvalidArgumentError('HOST:PORT is expected: gateway.example:7843, 192.0.2.1:7843, [fd00::1]:7843.');
  }
  return { host, port };
}

export function dialled(text: string): HostPort {
  const place = hostPort(text);
  if (place.port === 0) throw new InvalidArgumentError('Port 0 cannot be dialled.');
  return place;
}

/** Loopback only: whoever reaches the listener acts with the operator's session. */
export function loopback(text: string): HostPort {
  const place = hostPort(text);
  const address = tryParseAddress(place.host);
  const isLoopback = address?.length === 4 ? address[0] === 127 : place.host === '::1' || place.host === 'localhost';
  if (!isLoopback) {
    throw new InvalidArgumentError('Only a loopback address: others on the network would act with your session.');
  }
  return place;
}

/** `tcp://ADDRESS:PORT`. An address, no name: the gateway grants addresses, and names would be resolved elsewhere. */
export function tcpTarget(text: string): Target {
  const place = text.startsWith('tcp://') ? hostPort(text.slice('tcp://'.length)) : undefined;
  const address = place && tryParseAddress(place.host);
  if (place === undefined || address === undefined || place.port === 0) {
    throw new InvalidArgumentError('A target is an address and a port: tcp://10.1.0.5:443, tcp://[fd00::5]:443.');
  }
  return { prefix: hostPrefix(address), protocol: 6, port: place.port };
}

/** Of a gateway; becomes part of paths. */
export function instanceName(text: string): string {
  if (!/^[a-z0-9]{1,10}$/.test(text)) throw new InvalidArgumentError('An instance is 1 to 10 of a-z and 0-9.');
  return text;
}

/** A path, or the `unix:///path` form of SPIFFE_ENDPOINT_SOCKET. */
export function socketPath(text: string): string {
  const path = text.replace(/^unix:(\/\/)?(?=\/)/, '');
  if (!path.startsWith('/')) throw new InvalidArgumentError('An absolute path or unix:///path is expected.');
  return path;
}

/** For options that may be given more than once. */
export function collected<T>(
  parse: (text: string) => T,
): (text: string, former: readonly T[] | undefined) => readonly T[] {
  return (text, former) => [...(former ?? []), parse(text)];
}

export function oneOf<W extends string>(words: readonly W[]): (text: string) => W {
  return (text) => {
    const found = words.find((word) => word === text);
    if (found === undefined) throw new InvalidArgumentError(`One of ${words.join(', ')} is expected.`);
    return found;
  };
}

const UNITS: ReadonlyMap<string, number> = new Map([
  ['ms', 1],
  ['s', 1_000],
  ['m', 60_000],
  ['h', 3_600_000],
  ['d', 86_400_000],
]);
