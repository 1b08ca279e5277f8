/** Random values of everything that crosses the border between enforcer and terminators. */
import fc from 'fast-check';
import {
  CAPABILITIES,
  type GrantedTarget,
  MODES,
  type Prefix,
  SESSION_TYPES,
  type SessionRequest,
  TARGET_CLASSES,
  type Target,
  TIERS,
} from '../../protocol/capability/model.ts';
import type { GrantBody } from '../../protocol/channel/index.ts';
import type { Evidence, Offer } from '../../protocol/handshake/index.ts';
import { parseSpiffeId, type SpiffeId, trustDomainOf } from '../../protocol/identity/spiffe-id.ts';
import type { PostureLevel } from '../../protocol/posture/level.ts';
import { REASONS, type Reason } from '../../protocol/reasons.ts';
import type {
  AcceptInput,
  Admission,
  AdmitInput,
  ApproachInput,
  ChallengeInput,
  Connection,
} from '../../src/enforcer/ports.ts';
import type { Approach, DialOrder, StreamState, TerminatorEvent } from '../../src/enforcer/terminator-port.ts';

const bytes = (least: number, most = least): fc.Arbitrary<Uint8Array> =>
  fc.uint8Array({ minLength: least, maxLength: most }).map((array) => new Uint8Array(array));
const key = bytes(32);
const u32 = fc.nat({ max: 0xffff_ffff });
const u64 = fc.bigInt({ min: 0n, max: 2n ** 64n - 1n });
const port = fc.nat({ max: 65_535 });
const milliseconds = fc.integer({ min: 1, max: Number.MAX_SAFE_INTEGER });

export const level = fc.constantFrom<PostureLevel>(1, 2, 3, 4, 5);
export const epoch = u64;
export const reason = fc.constantFrom(...Object.keys(REASONS).filter(isReason));
export const deadlineMs = u32;
export const session = fc.stringMatching(/^[0-9a-f]{32}$/);
export const spiffeId: fc.Arbitrary<SpiffeId> = fc
  .tuple(fc.stringMatching(/^[a-z0-9._-]{1,20}$/), fc.stringMatching(/^[A-Za-z0-9._-]{1,20}$/))
  .map(([domain, path]) => parseSpiffeId(`spiffe://${domain}/${path}`))
  .filter((id) => id !== undefined);

const address = fc.oneof(fc.ipV4(), fc.constantFrom('::1', '2001:db8::1', 'fe80::1'));
const prefix: fc.Arbitrary<Prefix> = fc
  .tuple(fc.constantFrom(4, 16), bytes(16), fc.nat({ max: 128 }))
  .map(([size, raw, wanted]) => {
    const length = wanted % (size * 8 + 1);
    const address = raw
      .slice(0, size)
      .map((byte, at) => byte & (0xff << Math.max(0, Math.min(8, 8 - (length - at * 8)))));
    return { address, length };
  });
const target: fc.Arbitrary<Target> = fc.record({ prefix, protocol: fc.nat({ max: 255 }), port });
const granted: fc.Arbitrary<GrantedTarget> = fc
  .tuple(target, fc.constantFrom(...TARGET_CLASSES), level)
  .map(([base, kind, floor]) => ({ ...base, class: kind, floor }));
const capabilities = fc.uniqueArray(fc.constantFrom(...CAPABILITIES));
const few = <T>(one: fc.Arbitrary<T>): fc.Arbitrary<T[]> => fc.array(one, { maxLength: 4 });

const offer: fc.Arbitrary<Offer> = fc.record({
  versions: fc.array(u32, { minLength: 1, maxLength: 8 }),
  sessionType: fc.constantFrom(...SESSION_TYPES),
  mode: fc.constantFrom(...MODES),
});
const request: fc.Arbitrary<SessionRequest> = fc.record({ capabilities, targets: few(target), advertise: few(prefix) });
export const evidence: fc.Arbitrary<Evidence> = fc.record({
  chain: fc.array(bytes(1, 100), { minLength: 1, maxLength: 8 }),
  signature: bytes(1, 100),
  body: bytes(1, 200),
});
const connection: fc.Arbitrary<Connection> = fc.record({
  localAddress: fc.oneof(address, fc.constant('unix')),
  localPort: port,
  remoteAddress: fc.oneof(address, fc.constant('unix')),
  remotePort: port,
});
const optional = <T>(one: fc.Arbitrary<T>): fc.Arbitrary<T | undefined> => fc.option(one, { nil: undefined });

const grantBody: fc.Arbitrary<GrantBody> = fc
  .record({
    mode: fc.constantFrom(...MODES),
    capabilities,
    targets: few(target),
    advertise: few(prefix),
    reachable: few(prefix),
    lifetimeMs: milliseconds,
    effectiveLevel: level,
    governedBy: fc.constantFrom('both' as const, 'initiator' as const, 'responder' as const),
    postureLevel: level,
    postureEpoch: u64,
    accordHash: key,
    secret: key,
    wireguard: optional(
      fc.record({
        publicKey: key,
        proof: key,
        port,
        addresses: fc.array(fc.oneof(bytes(4), bytes(16)), { minLength: 1, maxLength: 8 }),
      }),
    ),
  })
  .map(withoutUndefined);

export const challengeInput: fc.Arbitrary<ChallengeInput> = fc.record({ offer, transcript: key, staticKey: key });

export const admitInput: fc.Arbitrary<AdmitInput> = fc
  .record({
    offer,
    evidence,
    transcript: key,
    staticKey: key,
    ephemeralKey: key,
    handshakeHash: key,
    connection,
    wireguardShared: optional(key),
    renews: optional(session),
  })
  .map(withoutUndefined);

export const approachInput: fc.Arbitrary<ApproachInput> = fc
  .record({
    offer,
    evidence,
    responderTranscript: key,
    responderStaticKey: key,
    transcript: key,
    staticKey: key,
    ephemeralKey: key,
    expectedId: spiffeId,
    request,
    renews: optional(session),
  })
  .map(withoutUndefined);

export const acceptInput: fc.Arbitrary<AcceptInput> = fc
  .record({
    nonce: key,
    grant: grantBody,
    handshakeHash: key,
    connection,
    wireguardShared: optional(key),
    renews: optional(session),
  })
  .map(withoutUndefined);

export const admission: fc.Arbitrary<Admission> = fc
  .record({
    id: session,
    peer: fc
      .tuple(spiffeId, optional(fc.constantFrom(...TIERS)))
      .map(([id, tier]) => withoutUndefined({ spiffeId: id, trustDomain: trustDomainOf(id), tier })),
    offer,
    grant: fc.record({
      mode: fc.constantFrom(...MODES),
      capabilities,
      targets: few(granted),
      reachable: few(prefix),
      lifetimeMs: milliseconds,
    }),
    effectiveLevel: level,
    governedBy: fc.constantFrom('both' as const, 'initiator' as const, 'responder' as const),
    peerLevel: level,
    peerEpoch: u64,
    toldEpoch: u64,
    expiresAt: milliseconds,
    reattestSecret: key,
    offered: optional(fc.array(granted, { minLength: 1, maxLength: 4 })),
    answer: optional(grantBody),
    tunnelGeneration: optional(fc.integer({ min: 1, max: 0xffff_ffff })),
    carriesPackets: optional(fc.constant(true)),
  })
  .map(withoutUndefined);

export const approach: fc.Arbitrary<Approach> = fc.record({ offer, expectedId: spiffeId, request });
export const dialOrder: fc.Arbitrary<DialOrder> = fc.record({ approach, address, port });
export const streams: fc.Arbitrary<StreamState[]> = fc.array(
  fc.record({
    id: u32,
    address,
    port,
    openedBy: fc.constantFrom('local' as const, 'peer' as const),
    openedAtMs: milliseconds,
    receivedBytes: u64,
    sentBytes: u64,
  }),
  { maxLength: 20 },
);
export const streamTotals = fc.record({ streams: u32, receivedBytes: u64, sentBytes: u64 });
export const lastWord = fc.oneof(
  streamTotals,
  fc.record({
    streams: u32,
    receivedBytes: u64,
    sentBytes: u64,
    frames: fc.record({
      payloadHash: fc.uint8Array({ minLength: 32, maxLength: 32 }),
      headers: fc.uint8Array({ maxLength: 64 }),
    }),
  }),
);
export const load = fc.record({ pendingHandshakes: u32, streams: u32 });
export const event: fc.Arbitrary<TerminatorEvent> = fc.oneof(
  fc.record({
    kind: fc.constant('handshake' as const),
    role: fc.constantFrom('initiator' as const, 'responder' as const),
    outcome: fc.oneof(reason, fc.constant('granted' as const)),
    seconds: u32.map((microseconds) => microseconds / 1_000_000),
  }),
  fc.record({ kind: fc.constant('draining' as const), session }),
  fc.record({
    kind: fc.constant('drain-received' as const),
    session,
    reason,
    level: optional(level),
    epoch: u64,
    deadlineMs: u32,
  }),
);

/** Fields that are left out, as the types want them, instead of given as undefined. */
function withoutUndefined<T extends object>(value: T): { [K in keyof T]: Exclude<T[K], undefined> } {
  const entries = Object.entries(value).filter(([, field]) => field !== undefined);
  return Object.fromEntries(entries) as { [K in keyof T]: Exclude<T[K], undefined> };
}

function isReason(name: string): name is Reason {
  return name in REASONS;
}
