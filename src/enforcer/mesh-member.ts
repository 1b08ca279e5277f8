/** What of a mesh session goes into the overlay, at either end: a grant, and in the other direction an offer. */
import { type Grant, type GrantedTarget, mayAdvertise, type Prefix } from '../../protocol/capability/index.ts';
import type { GrantBody } from '../../protocol/channel/grant.ts';
import { ShellstreamError } from '../../protocol/errors.ts';
import { equalBytes, wireguardKeyHash, wireguardProofHolds } from '../../protocol/handshake/index.ts';
import { hostPrefix, prefixesEqual } from '../../protocol/net/prefix.ts';
import type { CryptoProvider } from '../../protocol/noise/crypto.ts';
import type { Accord } from '../../protocol/posture/index.ts';
import { MAX_PREFIXES } from '../../protocol/wire/convert.ts';
import type { Judged } from './admit.ts';
import type { Approached } from './approach.ts';
import type { MemberSpec } from './member.ts';
import type { AcceptInput, Connection } from './ports.ts';

export interface TunnelTerms {
  readonly presharedKey: Uint8Array;
  readonly expiresAtBootNs: bigint;
}

/** At the responder: the initiator's site behind our tunnel. Undefined where the session is no mesh session. */
export function initiatorAsMember(
  { body, peer, grant, offered }: Judged,
  { remoteAddress }: Connection,
  terms: TunnelTerms,
): MemberSpec | undefined {
  const { wireguard } = body;
  if (wireguard === undefined) return undefined;
  return {
    ...terms,
    spiffeId: peer.spiffeId,
    publicKey: wireguard.publicKey,
    ...(wireguard.port === 0 ? {} : { endpoint: { address: remoteAddress, port: wireguard.port } }),
    keepalive: 0,
    prefixes: distinct(grant.reachable),
    hosted: grant.targets,
    visited: offered,
    level: body.postureLevel,
  };
}

/** At the responder, for GRANT: where its targets are, and where it comes from, when it was offered anything. */
export function advertisedBy(
  { peer, grant, offered }: Judged,
  advertiseTo: (spiffeId: string) => readonly Prefix[] = () => [],
): readonly Prefix[] {
  const own = offered.length === 0 ? [] : advertiseTo(peer.spiffeId);
  const all = distinct([...grant.targets.map(({ prefix }) => prefix), ...own]);
  // A grant that says more would not parse.
  if (all.length > MAX_PREFIXES) throw new ShellstreamError('PREFIX_NOT_ALLOWED', `${all.length} prefixes in a grant`);
  return all;
}

export interface ResponderParts {
  readonly crypto: CryptoProvider;
  readonly accord: Accord;
  /** Seconds between keepalives in its tunnel; 0: none. */
  readonly keepaliveOf: (spiffeId: string) => number;
}

/**
 * At the initiator: the responder's site behind our tunnel, as far as our own accord lets it be there. Undefined where the
 * session is no mesh session. @throws ShellstreamError MALFORMED, WIREGUARD_PROOF, PREFIX_NOT_ALLOWED
 */
export function responderAsMember(
  { crypto, accord, keepaliveOf }: ResponderParts,
  { offer, peer, offered, wireguardHash }: Approached,
  granted: Grant,
  { grant: answer, connection, wireguardShared, handshakeHash }: AcceptInput,
  terms: TunnelTerms,
): MemberSpec | undefined {
  if (offer.sessionType !== 'mesh') return undefined;
  const { wireguard } = answer;
  if (wireguard === undefined) throw new ShellstreamError('MALFORMED', 'a mesh grant without a WireGuard key');
  // GRANT is under keys that our own terminator holds. One that was taken over must not stand at the end of this tunnel.
  const isSigned =
    wireguardHash !== undefined && equalBytes(wireguardKeyHash(crypto, wireguard.publicKey), wireguardHash);
  if (!isSigned || !wireguardProofHolds(crypto, wireguardShared, handshakeHash, wireguard.proof)) {
    throw new ShellstreamError('WIREGUARD_PROOF');
  }
  const prefixes = prefixesOf(answer, offered, wireguard.addresses);
  for (const prefix of prefixes) {
    if (!mayAdvertise(accord, peer.spiffeId, prefix)) throw new ShellstreamError('PREFIX_NOT_ALLOWED');
  }
  return {
    ...terms,
    spiffeId: peer.spiffeId,
    publicKey: wireguard.publicKey,
    ...(wireguard.port === 0 ? {} : { endpoint: { address: connection.remoteAddress, port: wireguard.port } }),
    keepalive: keepaliveOf(peer.spiffeId),
    prefixes,
    hosted: offered,
    visited: granted.targets,
    level: answer.postureLevel,
  };
}

/** Who was offered nothing comes from nowhere: what it advertises besides its targets is not looked at. */
function prefixesOf(
  { targets, advertise }: GrantBody,
  offered: readonly GrantedTarget[],
  addresses: readonly Uint8Array[],
): readonly Prefix[] {
  return distinct([
    ...targets.map(({ prefix }) => prefix),
    ...(offered.length === 0 ? [] : advertise),
    ...addresses.map(hostPrefix),
  ]);
}

function distinct(prefixes: readonly Prefix[]): readonly Prefix[] {
  return prefixes.filter((prefix, at) => prefixes.findIndex((other) => prefixesEqual(other, prefix)) === at);
}
