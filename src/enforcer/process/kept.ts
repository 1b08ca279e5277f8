/** A kept session as bytes. They come from a file of our own, and are parsed like a stranger's all the same. */
import { create, toBinary } from '@bufbuild/protobuf';
import { type Kept, KeptSchema } from '../../../protocol/gen/shellstream/enforcer/v1/enforcer_pb.ts';
import { formatAddress, tryParseAddress } from '../../../protocol/net/address.ts';
import { NORMAL } from '../../../protocol/posture/level.ts';
import { prefixesFromWire, prefixToWire } from '../../../protocol/wire/convert.ts';
import { parseExact } from '../../../protocol/wire/parse.ts';
import type { ControlFlow } from '../../dataplane/ports.ts';
import type { Credentials } from '../credentials.ts';
import type { KeptSession } from '../kept-session.ts';
import type { Member } from '../overlay.ts';
import type { Admission } from '../ports.ts';
import {
  address,
  admissionFrom,
  admissionTo,
  connectionFrom,
  key,
  level,
  malformed,
  port,
  present,
} from './convert.ts';

const MAX_BYTES = 131_072;
const NO_SECRET = new Uint8Array(32);
const TCP = 6;
const MAX_KEEPALIVE = 65_535;

export function encodeKept({ standing, resumeHash }: KeptSession, circumstances: Uint8Array): Uint8Array {
  const { admission, credentials, role, openedAtMs, peerLevel, judgedLevel, attestsByMs, control, member } = standing;
  // The answer was for the peer, and is told.
  const { answer: _, resumeToken: __, ...rest } = admission;
  const kept = create(KeptSchema, {
    circumstances,
    resumeHash,
    admission: admissionTo({ ...rest, reattestSecret: NO_SECRET }),
    initiator: role === 'initiator',
    openedAtMs: BigInt(Math.floor(openedAtMs)),
    peerLevel,
    // While it owes an attestation the next run is to judge the fall again, and to ask for it again.
    judgedLevel: attestsByMs === undefined ? judgedLevel : NORMAL,
    ...(control === undefined ? {} : { connection: connectionOf(control) }),
    member: memberTo(member),
    tokenId: credentials.tokenId ?? '',
    issuedAtMs: BigInt(Math.floor(credentials.issuedAtMs)),
  });
  return toBinary(KeptSchema, kept);
}

/** Undefined when it was kept under other circumstances. @throws ShellstreamError MALFORMED */
export function decodeKept(bytes: Uint8Array, circumstances: Uint8Array): KeptSession | undefined {
  const kept = parseExact(KeptSchema, bytes, MAX_BYTES);
  if (Buffer.compare(key(kept.circumstances), circumstances) !== 0) return undefined;
  const admission = admissionFrom(present('admission', kept.admission));
  const member = memberFrom(kept, admission);
  const control = kept.connection === undefined ? undefined : controlOf(kept.connection);
  return {
    resumeHash: key(kept.resumeHash),
    standing: {
      admission,
      credentials: credentialsFrom(kept),
      role: kept.initiator ? 'initiator' : 'responder',
      openedAtMs: Number(kept.openedAtMs),
      peerLevel: level(kept.peerLevel),
      judgedLevel: level(kept.judgedLevel),
      member,
      ...(control === undefined ? {} : { control }),
    },
  };
}

function credentialsFrom({ tokenId, issuedAtMs }: Kept): Credentials {
  if (!/^([0-9a-f]{64})?$/.test(tokenId)) throw malformed('token', tokenId.length);
  return { issuedAtMs: Number(issuedAtMs), ...(tokenId === '' ? {} : { tokenId }) };
}

function memberTo({ session, spec, generation }: Member) {
  const { sessionSlot, peerSlot, expiresAtBootNs } = session;
  return {
    sessionSlot,
    generation: session.generation,
    peerSlot,
    expiresAtBootNs,
    attestations: generation,
    publicKey: spec.publicKey,
    address: spec.endpoint?.address ?? '',
    port: spec.endpoint?.port ?? 0,
    keepalive: spec.keepalive,
    prefixes: spec.prefixes.map(prefixToWire),
  };
}

function memberFrom(kept: Kept, { peer, grant, offered = [] }: Admission): Member {
  const wire = present('member', kept.member);
  if (wire.keepalive > MAX_KEEPALIVE) throw malformed('keepalive', wire.keepalive);
  const { sessionSlot, generation, peerSlot, expiresAtBootNs } = wire;
  return {
    // Its overlay gives it a number.
    number: 0,
    session: { sessionSlot, generation, peerSlot, expiresAtBootNs },
    generation: wire.attestations,
    spec: {
      spiffeId: peer.spiffeId,
      publicKey: key(wire.publicKey),
      ...(wire.address === '' ? {} : { endpoint: { address: address(wire.address), port: port(wire.port) } }),
      keepalive: wire.keepalive,
      prefixes: prefixesFromWire(wire.prefixes),
      ...(kept.initiator ? { hosted: offered, visited: grant.targets } : { hosted: grant.targets, visited: offered }),
      level: level(kept.peerLevel),
      expiresAtBootNs,
    },
  };
}

function connectionOf({ localAddress, localPort, remoteAddress, remotePort }: ControlFlow) {
  return {
    localAddress: formatAddress(localAddress),
    localPort,
    remoteAddress: formatAddress(remoteAddress),
    remotePort,
  };
}

function controlOf(wire: Kept['connection']): ControlFlow {
  const { localAddress, localPort, remoteAddress, remotePort } = connectionFrom(wire);
  const local = present('address', tryParseAddress(localAddress));
  const remote = present('address', tryParseAddress(remoteAddress));
  return { protocol: TCP, localAddress: local, localPort, remoteAddress: remote, remotePort };
}
