/**
 * The vectors of one whole session (protocol/vectors/session), replayed as both roles on every crypto provider: each
 * byte is computed or checked here from the inputs, so a vector with one changed byte fails.
 */
import { readFileSync } from 'node:fs';
import { p256 } from '@noble/curves/nist.js';
import { describe, expect, it } from 'vitest';
import { nodeCrypto } from '../../src/base/crypto-node.ts';
import { PROVIDERS } from '../../src/base/crypto-under-test.ts';
import {
  parseJwtBundle,
  parseX509Bundle,
  type TrustBundles,
  verifyEvidenceSignature,
  verifySvid,
} from '../../src/identity/index.ts';
import { parseJwtSvid } from '../../src/identity/jwt-svid.ts';
import { decodeFrame, encodeFrame, type GrantBody } from '../channel/index.ts';
import type { CryptoProvider } from '../noise/index.ts';
import {
  type AttestationVector,
  type FrameVector,
  hex,
  playSession,
  type SessionInputs,
  type SessionVectors,
  unhex,
} from '../vectors/session/play.ts';
import { PROLOGUE } from './constants.ts';
import {
  boundAudience,
  concat,
  decodeRecord,
  deriveSecrets,
  type Established,
  encodeConfirmBody,
  encodeOffer,
  encodeRecord,
  encodeVerifyBody,
  initiate,
  parseConfirmBody,
  parseOffer,
  parseVerifyBody,
  RECORD,
  respond,
  signedMessage,
  wireguardKeyHash,
  wireguardProof,
  wireguardProofHolds,
} from './index.ts';

const inputs: SessionInputs = read('inputs.json');
const vectors: SessionVectors = read('mesh.json');

describe('the vectors of one whole session', () => {
  it.each(PROVIDERS)('are replayed byte by byte as both roles with $provider.name', ({ provider }) => {
    expect(() => replay(inputs, vectors, provider)).not.toThrow();
  });

  it('are what the generator makes of their inputs', () => {
    expect(playSession(inputs, nodeCrypto)).toEqual(vectors);
  });

  it('one changed byte anywhere fails', () => {
    const survivors = leaves(vectors).filter((path) =>
      survives(() => replay(inputs, changed(vectors, path), nodeCrypto)),
    );
    expect(survivors.map((path) => path.join('.'))).toEqual([]);
  });

  it('one changed byte of the inputs fails', () => {
    const survivors = leaves(inputs).filter((path) =>
      survives(() => replay(changed(inputs, path), vectors, nodeCrypto)),
    );
    expect(survivors.map((path) => path.join('.'))).toEqual([]);
  });

  it('certificates do not verify outside their validity', () => {
    expect(() => replay({ ...inputs, verifyAt: '2036-01-02T00:00:00Z' }, vectors, nodeCrypto)).toThrow(/SVID_EXPIRED/);
  });
});

/** Throws at the first byte that differs from what the rules of protocol/README.md give. */
function replay(given: SessionInputs, { attestations, frames }: SessionVectors, crypto: CryptoProvider): void {
  const [first, second] = attestations;
  if (first === undefined || second === undefined || attestations.length !== 2) throw new Error('two attestations');
  const reattestPrologue = concat(PROLOGUE, new TextEncoder().encode(' reattest'), unhex(first.secrets.reattest));
  const lines = [
    replayAttestation(given, first, 0, PROLOGUE, crypto, grantOf(frames, 0)),
    replayAttestation(given, second, 1, reattestPrologue, crypto, grantOf(frames, 1)),
  ];
  for (const frame of frames) replayFrame(frame, lines[frame.keys], attestations[frame.keys], crypto);
  const inner = frames
    .filter(({ frame }) => frame === 'REATTEST')
    .map(({ plaintext }) => decodeFrame(unhex(plaintext)));
  const records = inner.map((frame) => (frame.type === 'REATTEST' ? hex(frame.record) : ''));
  same('inner records', records.join(' '), [second.init.record, second.verify.record, second.confirm.record].join(' '));
  expectKeyChange(frames);
}

function replayAttestation(
  given: SessionInputs,
  vector: AttestationVector,
  round: 0 | 1,
  prologue: Uint8Array,
  crypto: CryptoProvider,
  grant: GrantBody,
): { readonly initiator: Established; readonly responder: Established } {
  const { initiator, responder } = given;
  const options = (party: SessionInputs['initiator']) => ({
    crypto,
    staticKey: crypto.x25519FromPrivate(unhex(party.noise.staticPrivate)),
    ephemeralKey: crypto.x25519FromPrivate(unhex(party.noise.ephemeralPrivates[round])),
    prologue: unhex(vector.prologue),
  });
  same('prologue', vector.prologue, hex(prologue));

  // Message 1.
  const offer = parseOffer(unhex(vector.init.payload));
  const first = initiate(options(initiator), offer);
  same('ATTEST-INIT', hex(first.record), vector.init.record);
  same('offer', hex(encodeOffer(offer)), vector.init.payload);
  const init = respond(options(responder)).readInit(unhex(vector.init.record));
  same('h1', hex(init.transcript), vector.init.h1);

  // Message 2.
  const verifyBody = parseVerifyBody(unhex(vector.verify.evidence.body));
  same('nonce', hex(verifyBody.nonce), given.nonces[round]);
  same('VerifyBody', hex(encodeVerifyBody(verifyBody)), vector.verify.evidence.body);
  const responderKey = crypto.x25519FromPrivate(unhex(given.responder.wireguard.private)).publicKey;
  const { wireguardHash = new Uint8Array(0) } = verifyBody;
  same('WireGuard hash', hex(wireguardHash), hex(wireguardKeyHash(crypto, responderKey)));
  const second = init.writeVerify(evidenceOf(responder, vector.verify.evidence));
  same('ATTEST-VERIFY', hex(second.record), vector.verify.record);
  const verify = first.next.readVerify(unhex(vector.verify.record));
  same('h2', hex(verify.transcript), vector.verify.h2);
  const asResponder = { role: 'responder', transcript: init.transcript, staticKey: init.staticKey } as const;
  checkEvidence(
    given,
    responder,
    vector.verify.evidence,
    signedMessage(crypto, asResponder, verify.evidence.body),
    verify.evidence.chain,
  );

  // Message 3.
  const bound = boundAudience(crypto, responder.spiffeId, verify.transcript);
  same('bound audience', bound, vector.sat.boundAudience);
  same('audience', vector.sat.audience, verifyBody.freshSat ? bound : responder.spiffeId);
  checkToken(given, vector.sat.token, vector.sat.audience);
  const confirmBody = parseConfirmBody(unhex(vector.confirm.evidence.body));
  same('SAT', confirmBody.sat, vector.sat.token);
  same('responder id', confirmBody.responderId, responder.spiffeId);
  same('r_i', hex(confirmBody.secret), initiator.secrets[round]);
  same('echoed nonce', hex(confirmBody.nonce), given.nonces[round]);
  same('initiator epoch', String(confirmBody.postureEpoch), initiator.postureEpoch);
  same('ConfirmBody', hex(encodeConfirmBody(confirmBody)), vector.confirm.evidence.body);
  const third = verify.writeConfirm(evidenceOf(initiator, vector.confirm.evidence));
  same('ATTEST-CONFIRM', hex(third.record), vector.confirm.record);
  const confirm = second.next.readConfirm(unhex(vector.confirm.record));
  same('h3', hex(confirm.handshakeHash), vector.confirm.h3);
  const asInitiator = { role: 'initiator', transcript: verify.transcript, staticKey: verify.staticKey } as const;
  checkEvidence(
    given,
    initiator,
    vector.confirm.evidence,
    signedMessage(crypto, asInitiator, confirm.evidence.body),
    confirm.evidence.chain,
  );

  // What hangs on it.
  const r_r = unhex(responder.secrets[round]);
  same('r_r', hex(grant.secret), hex(r_r));
  same('accord hash', hex(grant.accordHash), given.accordHash);
  same('responder epoch', String(grant.postureEpoch - BigInt(round)), responder.postureEpoch);
  const secrets = deriveSecrets(crypto, confirm.handshakeHash, confirmBody.secret, r_r);
  same('pre-shared key', hex(secrets.presharedKey), vector.secrets.presharedKey);
  same('session id', hex(secrets.sessionId), vector.secrets.sessionId);
  same('reattest secret', hex(secrets.reattest), vector.secrets.reattest);
  checkWireguard(
    crypto,
    initiator,
    confirmBody.wireguard,
    vector.wireguard.initiator,
    verify.ephemeralKey,
    verify.transcript,
    confirm,
  );
  checkWireguard(
    crypto,
    responder,
    grant.wireguard,
    vector.wireguard.responder,
    confirm.ephemeralKey,
    confirm.handshakeHash,
    third.next,
  );
  return { initiator: third.next, responder: confirm.establish() };
}

/** Its owner computes the shared secret from the WireGuard key, the other end from its Noise ephemeral. */
function checkWireguard(
  crypto: CryptoProvider,
  owner: SessionInputs['initiator'],
  offer: GrantBody['wireguard'],
  vector: AttestationVector['wireguard']['initiator'],
  peerEphemeral: Uint8Array,
  transcript: Uint8Array,
  peer: { wireguardShared(publicKey: Uint8Array): Uint8Array | undefined },
): void {
  const key = crypto.x25519FromPrivate(unhex(owner.wireguard.private));
  const shared = key.dh(peerEphemeral) ?? new Uint8Array(0);
  same('WireGuard key', hex(offer?.publicKey ?? new Uint8Array(0)), hex(key.publicKey));
  same('WireGuard port', offer?.port, owner.wireguard.port);
  same('tunnel address', offer?.addresses[0]?.join('.'), owner.wireguard.address);
  same('WireGuard shared', hex(shared), vector.shared);
  same('WireGuard proof', hex(wireguardProof(crypto, shared, transcript)), vector.proof);
  same('WireGuard proof as sent', hex(offer?.proof ?? new Uint8Array(0)), vector.proof);
  const seen = peer.wireguardShared(key.publicKey);
  if (!wireguardProofHolds(crypto, seen, transcript, unhex(vector.proof))) throw new Error('the proof does not hold');
}

function checkEvidence(
  given: SessionInputs,
  party: SessionInputs['initiator'],
  vector: AttestationVector['verify']['evidence'],
  signed: Uint8Array,
  chain: readonly Uint8Array[],
): void {
  same('signed message', hex(signed), vector.signedMessage);
  const svid = verifySvid(chain, bundles(given), Date.parse(given.verifyAt));
  same('SPIFFE ID', svid.spiffeId, party.spiffeId);
  const publicKey = hex(p256.getPublicKey(unhex(party.svid.privateKey), false));
  if (!hex(chain[0] ?? new Uint8Array(0)).includes(publicKey)) throw new Error('the certificate is of another key');
  verifyEvidenceSignature(svid, signed, unhex(vector.signature));
}

function checkToken(given: SessionInputs, token: string, audience: string): void {
  const { claims, keyId, isSignedBy } = parseJwtSvid(token);
  same('audience of the SAT', claims.audience, audience);
  same('subject of the SAT', claims.subject, given.initiator.spiffeId);
  const authority = bundles(given).jwt.get(given.initiator.trustDomain.name)?.authorities.get(keyId);
  if (authority === undefined || !isSignedBy(authority)) throw new Error('the SAT does not verify');
  const point = Buffer.from(p256.getPublicKey(unhex(given.sat.privateKey), false));
  const [x, y] = [point.subarray(1, 33), point.subarray(33)].map((half) => half.toString('base64url'));
  const published = { kty: 'EC', crv: 'P-256', use: 'jwt-svid', kid: given.sat.keyId, x, y };
  same('JWK set', JSON.stringify(given.sat.jwtBundle), JSON.stringify({ keys: [published] }));
}

/** Opened and sealed by the sessions of both roles, and once more with the raw transport key. */
function replayFrame(
  vector: FrameVector,
  line: { readonly initiator: Established; readonly responder: Established } | undefined,
  attestation: AttestationVector | undefined,
  crypto: CryptoProvider,
): void {
  if (line === undefined || attestation === undefined) throw new Error(`keys ${vector.keys}`);
  if (vector.from !== 'initiator' && vector.from !== 'responder') throw new Error(`from ${String(vector.from)}`);
  const [sender, receiver] =
    vector.from === 'initiator' ? [line.initiator, line.responder] : [line.responder, line.initiator];
  const plaintext = unhex(vector.plaintext);
  const frame = decodeFrame(plaintext);
  same('frame type', frame.type, vector.frame);
  same('frame', hex(encodeFrame(frame)), vector.plaintext);
  same('record', hex(encodeRecord(RECORD.TRANSPORT, sender.send.seal(plaintext))), vector.record);
  const opened = receiver.receive.open(decodeRecord(unhex(vector.record), RECORD.TRANSPORT));
  same('opened', hex(opened ?? new Uint8Array(0)), vector.plaintext);
  const { initiatorToResponder, responderToInitiator } = attestation.transportKeys;
  const key = crypto.aead(unhex(vector.from === 'initiator' ? initiatorToResponder : responderToInitiator));
  const sealed = key.seal(BigInt(vector.counter), new Uint8Array(0), plaintext);
  same('sealed with the raw key', `10${hex(sealed)}`, vector.record);
}

/** §4.4: in each direction one fixed frame is the last under the old keys. */
function expectKeyChange(frames: readonly FrameVector[]): void {
  const lastOld = (from: string): string | undefined =>
    frames.findLast((frame) => frame.from === from && frame.keys === 0)?.frame;
  same('last frame of the initiator under its old key', lastOld('initiator'), 'REATTEST');
  same('last frame of the responder under its old key', lastOld('responder'), 'GRANT');
}

function grantOf(frames: readonly FrameVector[], index: number): GrantBody {
  const grants = frames.filter(({ frame }) => frame === 'GRANT');
  const frame = decodeFrame(unhex(grants[index]?.plaintext));
  if (frame.type !== 'GRANT') throw new Error('no GRANT');
  return frame.grant;
}

function evidenceOf(
  { svid }: SessionInputs['initiator'],
  { signature, body }: AttestationVector['verify']['evidence'],
) {
  return { chain: svid.chain.map(unhex), signature: unhex(signature), body: unhex(body) };
}

function bundles({ initiator, responder, sat, verifyAt }: SessionInputs): TrustBundles {
  const { name } = initiator.trustDomain;
  const now = Date.parse(verifyAt);
  const parties = [initiator, responder];
  return {
    x509: new Map(
      parties.map(({ trustDomain: { name, x509Authorities } }) => [
        name,
        parseX509Bundle(name, Buffer.from(x509Authorities.join(''), 'hex'), now),
      ]),
    ),
    jwt: new Map([[name, parseJwtBundle(name, Buffer.from(JSON.stringify(sat.jwtBundle)), now)]]),
  };
}

function same(what: string, got: unknown, expected: unknown): void {
  if (got !== expected) throw new Error(`${what}: ${String(got)}, the vectors say ${String(expected)}`);
}

type Path = readonly (string | number)[];

function leaves(value: unknown, path: Path = []): Path[] {
  if (typeof value !== 'object' || value === null) return [path];
  return Object.entries(value).flatMap(([key, inner]) => leaves(inner, [...path, key]));
}

/** A copy in which one digit in the middle of the value at `path` is another. */
function changed<T>(whole: T, path: Path): T {
  const copy = structuredClone(whole);
  let place: unknown = copy;
  for (const key of path.slice(0, -1)) place = Reflect.get(Object(place), key);
  const key = path.at(-1) ?? '';
  const value: unknown = Reflect.get(Object(place), key);
  Reflect.set(Object(place), key, typeof value === 'number' ? value + 1 : flipped(String(value)));
  return copy;
}

function flipped(text: string): string {
  const at = Math.floor(text.length / 2);
  return `${text.slice(0, at)}${text[at] === '1' ? '2' : '1'}${text.slice(at + 1)}`;
}

function survives(action: () => void): boolean {
  try {
    action();
    return true;
  } catch {
    return false;
  }
}

function read(name: string) {
  return JSON.parse(readFileSync(new URL(`../vectors/session/${name}`, import.meta.url), 'utf8'));
}
