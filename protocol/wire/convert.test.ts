import { create } from '@bufbuild/protobuf';
import { describe, expect, it } from 'vitest';
import { CAPABILITIES, MODES, SESSION_TYPES, type SessionRequest } from '../capability/model.ts';
import { reasonOf } from '../errors.ts';
import { PrefixSchema, RequestSchema, TargetSchema } from '../gen/shellstream/wire/v1/wire_pb.ts';
import {
  capabilitiesFromWire,
  capabilitiesToWire,
  modeFromWire,
  modeToWire,
  prefixFromWire,
  requestFromWire,
  requestToWire,
  sessionTypeFromWire,
  sessionTypeToWire,
  targetFromWire,
} from './convert.ts';

describe('words of the model survive the wire', () => {
  it('session types, modes and capabilities', () => {
    expect(SESSION_TYPES.map((type) => sessionTypeFromWire(sessionTypeToWire(type)))).toEqual(SESSION_TYPES);
    expect(MODES.map((mode) => modeFromWire(modeToWire(mode)))).toEqual(MODES);
    expect(capabilitiesFromWire(capabilitiesToWire(CAPABILITIES))).toEqual(CAPABILITIES);
  });

  it('a request with targets and prefixes of both families', () => {
    const request: SessionRequest = {
      capabilities: ['CONNECT', 'OBSERVE'],
      targets: [
        { prefix: { address: Uint8Array.of(10, 1, 2, 3), length: 32 }, protocol: 6, port: 443 },
        { prefix: { address: new Uint8Array(16), length: 0 }, protocol: 58, port: 0 },
      ],
      advertise: [{ address: Uint8Array.of(10, 1, 0x80, 0), length: 17 }],
    };
    expect(requestFromWire(requestToWire(request))).toEqual(request);
  });

  it('a prefix is a copy: later writes into the record do not move it', () => {
    // A Buffer too, whose own `slice` would be a view.
    for (const record of [Uint8Array.of(10, 0, 0, 0), Buffer.of(10, 0, 0, 0)]) {
      const prefix = prefixFromWire(create(PrefixSchema, { address: record, length: 8 }));
      record[0] = 99;
      expect(prefix.address[0]).toBe(10);
    }
  });
});

describe('the wire may not say', () => {
  const v4 = { address: Uint8Array.of(10, 0, 0, 0), length: 8 };
  const refusals: ReadonlyArray<readonly [string, () => unknown]> = [
    ['an unspecified session type', () => sessionTypeFromWire(0)],
    ['a session type of the future', () => sessionTypeFromWire(7)],
    ['an unspecified mode', () => modeFromWire(0)],
    ['an unspecified capability', () => capabilitiesFromWire([0])],
    ['a capability twice', () => capabilitiesFromWire([1, 1])],
    ['more capabilities than there can be', () => capabilitiesFromWire([...Array(17).keys()])],
    ['an address of 5 bytes', () => prefixFromWire(create(PrefixSchema, { address: new Uint8Array(5), length: 1 }))],
    ['an empty address', () => prefixFromWire(create(PrefixSchema, {}))],
    ['a /33 of IPv4', () => prefixFromWire(create(PrefixSchema, { ...v4, length: 33 }))],
    ['a /129 of IPv6', () => prefixFromWire(create(PrefixSchema, { address: new Uint8Array(16), length: 129 }))],
    [
      'host bits, by which two spellings would name one prefix',
      () => prefixFromWire(create(PrefixSchema, { address: Uint8Array.of(10, 0, 0, 1), length: 31 })),
    ],
    ['a target without a prefix', () => targetFromWire(create(TargetSchema, { protocol: 6 }))],
    ['protocol 256', () => targetFromWire(create(TargetSchema, { prefix: v4, protocol: 256 }))],
    ['port 65,536', () => targetFromWire(create(TargetSchema, { prefix: v4, protocol: 6, port: 65_536 }))],
    [
      '257 targets',
      () => requestFromWire(create(RequestSchema, { targets: Array(257).fill({ prefix: v4, protocol: 6 }) })),
    ],
    ['65 prefixes', () => requestFromWire(create(RequestSchema, { advertise: Array(65).fill(v4) }))],
  ];
  it.each(refusals)('%s', (_name, action) => {
    expect(reasonThrownBy(action)).toBe('MALFORMED');
  });
});

function reasonThrownBy(action: () => unknown): string | undefined {
  try {
    action();
    return undefined;
  } catch (error) {
    return reasonOf(error);
  }
}
