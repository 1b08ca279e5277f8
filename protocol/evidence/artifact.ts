/**
 * Records: artifacts as the bytes that are stored, hashed and shown. Parsed by auditors too, from files that somebody else
 * gives them, so all of it is bounded and every field checked.
 */
import type { MessageInitShape } from '@bufbuild/protobuf';
import type { Prefix } from '../capability/model.ts';
import { ShellstreamError } from '../errors.ts';
import {
  type Artifact,
  ArtifactSchema,
  CountedBy,
  type Counters,
  type ForensicSnapshotPart,
  MutationKind,
  type NetworkMutationArtifact,
  Observer,
  Phase,
  type PostureForensicSnapshot,
  type Route,
  type SessionTransitArtifact,
  Tier,
} from '../gen/shellstream/evidence/v1/evidence_pb.ts';
import { isPostureLevel } from '../posture/level.ts';
import type { Backwards } from '../wire/backwards.ts';
import {
  capabilitiesFromWire,
  modeFromWire,
  prefixFromWire,
  sessionTypeFromWire,
  targetsFromWire,
} from '../wire/convert.ts';
import { parseExact } from '../wire/parse.ts';
import { writeMessage, writeMessageTo } from '../wire/write.ts';
import { fromHex } from './bytes.ts';

export type ArtifactKind = NonNullable<Artifact['body']['case']>;
export type ArtifactInit = MessageInitShape<typeof ArtifactSchema>;

/** A record longer than this is cut into several by who writes it; a snapshot has parts for that. */
export const MAX_RECORD_BYTES = 262_144;
const MAX_TEXT = 2_048;
const MAX_FRAME_HEADERS = 65_536;
const MAX_PARTS = 1_024;
const MAX_ROUTES = 512;
const MAX_STATES = 256;
const MAX_STATEMENT = 65_536;
const MAX_SIGNATURE = 1_024;
const MAX_CHAIN = 8;
const MAX_CERTIFICATE = 16_384;
const HASH = 32;
const ID = 16;

/** @param output where many are written together; the record is a view then */
export function encodeArtifact(artifact: ArtifactInit, output?: Backwards): Uint8Array {
  const record =
    output === undefined ? writeMessage(ArtifactSchema, artifact) : writeMessageTo(output, ArtifactSchema, artifact);
  if (record.length > MAX_RECORD_BYTES) throw new ShellstreamError('INTERNAL', `a record of ${record.length} bytes`);
  return record;
}

/** @throws ShellstreamError MALFORMED */
export function parseArtifact(record: Uint8Array): Artifact {
  const artifact = parseExact(ArtifactSchema, record, MAX_RECORD_BYTES);
  if (!isPostureLevel(artifact.postureLevel)) throw malformed('posture level', artifact.postureLevel);
  const { body } = artifact;
  switch (body.case) {
    case 'sessionTransit':
      checkTransit(body.value);
      return artifact;
    case 'networkMutation':
      checkMutation(body.value);
      return artifact;
    case 'postureChange': {
      const { fromLevel, toLevel, observer, source, failedSteps } = body.value;
      if (!isPostureLevel(fromLevel) || !isPostureLevel(toLevel))
        throw malformed('posture change', `${fromLevel} to ${toLevel}`);
      oneOf('observer', observer, Observer);
      texts([source, ...atMost('failed steps', failedSteps, MAX_STATES)]);
      return artifact;
    }
    case 'forensicSnapshot':
      checkSnapshot(body.value);
      return artifact;
    case 'snapshotPart':
      checkPart(body.value);
      return artifact;
    case 'consoleUse':
      texts([body.value.verb]);
      size('arguments hash', body.value.argumentsHash, [HASH]);
      size('payload hash', body.value.payloadHash, [0, HASH]);
      headers(body.value.frameHeaders);
      return artifact;
    case 'enforcementReceipt': {
      const { statement, signature, chain } = body.value;
      const isTooLong = statement.length > MAX_STATEMENT || signature.length > MAX_SIGNATURE;
      if (isTooLong) throw malformed('receipt', `${statement.length} bytes, signature ${signature.length}`);
      for (const certificate of atMost('chain', chain, MAX_CHAIN))
        if (certificate.length > MAX_CERTIFICATE) throw malformed('certificate', `${certificate.length} bytes`);
      return artifact;
    }
    case 'holdChange':
      texts([body.value.holdId, body.value.peerId, body.value.cause, body.value.reason]);
      return artifact;
    case 'revocation':
      texts([body.value.subject, body.value.kind]);
      size('document hash', body.value.documentHash, [0, HASH]);
      return artifact;
    case undefined:
      throw malformed('artifact', 'without a body');
  }
}

/** An identifier of a session as the daemon spells it, 32 hex digits, as 16 bytes. */
export function sessionIdBytes(id: string): Uint8Array {
  if (!/^[0-9a-f]{32}$/.test(id)) throw new ShellstreamError('INTERNAL', 'a session’s id has 32 hex digits');
  return fromHex(id);
}

function checkTransit(transit: SessionTransitArtifact): void {
  oneOf('phase', transit.phase, Phase);
  size('session id', transit.sessionId, [ID]);
  if (!isPostureLevel(transit.postureLevelAtTransit))
    throw malformed('level at transit', transit.postureLevelAtTransit);
  size('accord hash', transit.accordHash, [HASH]);
  texts([transit.initiatorId, transit.responderId]);
  if (transit.tier !== 0) oneOf('tier', transit.tier, Tier);
  sessionTypeFromWire(transit.sessionType);
  modeFromWire(transit.mode);
  capabilitiesFromWire(transit.capabilities);
  targetsFromWire(transit.targets);
  targetsFromWire(transit.offered);
  checkCounters(transit.counters);
  size('payload hash', transit.payloadHash, [0, HASH]);
  headers(transit.frameHeaders);
}

function checkCounters(counters: readonly Counters[]): void {
  const by = counters.map(({ countedBy }) => countedBy);
  if (new Set(by).size < by.length) throw malformed('counters', 'told twice');
  for (const one of by) if (one !== CountedBy.UNSPECIFIED) oneOf('who counted', one, CountedBy);
}

function checkMutation(mutation: NetworkMutationArtifact): void {
  oneOf('phase', mutation.phase, Phase);
  oneOf('kind', mutation.kind, MutationKind);
  size('mutation id', mutation.mutationId, [ID]);
  size('session id', mutation.sessionId, [0, ID]);
  size('accord hash', mutation.accordHash, [HASH]);
  size('hash before', mutation.beforeHash, [0, HASH]);
  size('hash after', mutation.afterHash, [0, HASH]);
  texts([mutation.actorId]);
  checkRoutes(mutation.routes);
}

function checkSnapshot({ snapshotId, parts }: PostureForensicSnapshot): void {
  size('snapshot id', snapshotId, [ID]);
  for (const part of atMost('parts', parts, MAX_PARTS)) size('hash of a part', part, [HASH]);
}

function checkPart({ snapshotId, number, peers, tunnels, routes, sessions }: ForensicSnapshotPart): void {
  size('snapshot id', snapshotId, [ID]);
  if (number >= MAX_PARTS) throw malformed('part number', number);
  texts(atMost('peers', peers, MAX_STATES).map(({ peerId }) => peerId));
  for (const { interface: name, publicKey, endpoint } of atMost('tunnels', tunnels, MAX_STATES)) {
    texts([name]);
    size('public key', publicKey, [HASH]);
    size('endpoint', endpoint, ADDRESS_OR_NONE);
  }
  checkRoutes(routes);
  for (const { sessionId, peerId, tier } of atMost('sessions', sessions, MAX_STATES)) {
    size('session id', sessionId, [0, ID]);
    texts([peerId]);
    if (tier !== 0) oneOf('tier', tier, Tier);
  }
}

function checkRoutes(routes: readonly Route[]): readonly Prefix[] {
  return atMost('routes', routes, MAX_ROUTES).map(({ destination, interface: name, gateway }) => {
    texts([name]);
    size('gateway', gateway, ADDRESS_OR_NONE);
    if (destination === undefined) throw malformed('route', 'without a destination');
    return prefixFromWire(destination);
  });
}

const ADDRESS_OR_NONE = [0, 4, 16];

function oneOf(what: string, value: number, words: Readonly<Record<string, string | number>>): void {
  if (value === 0 || !Object.values(words).includes(value)) throw malformed(what, value);
}

function texts(all: readonly string[]): void {
  for (const text of all) if (text.length > MAX_TEXT) throw malformed('text', `${text.length} characters`);
}

function headers(bytes: Uint8Array): void {
  if (bytes.length > MAX_FRAME_HEADERS) throw malformed('frame headers', bytes.length);
}

function size(what: string, bytes: Uint8Array, sizes: readonly number[]): void {
  if (!sizes.includes(bytes.length)) throw malformed(what, `${bytes.length} bytes`);
}

function atMost<T>(what: string, list: readonly T[], most: number): readonly T[] {
  if (list.length > most) throw malformed(what, `${list.length}, at most ${most}`);
  return list;
}

function malformed(what: string, got: unknown): ShellstreamError {
  return new ShellstreamError('MALFORMED', `artifact: ${what}: ${String(got)}`);
}
