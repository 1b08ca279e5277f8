/**
 * Plays one whole mesh session from fixed keys and writes down everything that a second implementation could stumble
 * over. Deterministic: ECDSA nonces are RFC 6979's, everything else that is random comes from `inputs.json`.
 */
import { p256 } from '@noble/curves/nist.js';
import { Channel, type ChannelEvent, encodeFrame, type Frame, type GrantBody } from '../../channel/index.ts';
import { ShellstreamError } from '../../errors.ts';
import {
  boundAudience,
  type ConfirmBody,
  decodeRecord,
  deriveSecrets,
  type Established,
  type Evidence,
  encodeConfirmBody,
  encodeRecord,
  encodeVerifyBody,
  initiate,
  type Offer,
  RECORD,
  reattestPrologue,
  respond,
  type Role,
  type SessionSecrets,
  signedMessage,
  type WireguardOffer,
  wireguardKeyHash,
  wireguardProof,
} from '../../handshake/index.ts';
import { parseAddress } from '../../net/address.ts';
import { parsePrefix } from '../../net/prefix.ts';
import type { CryptoProvider, X25519KeyPair } from '../../noise/index.ts';
import type { PostureLevel } from '../../posture/level.ts';

export interface PartyInputs {
  readonly spiffeId: string;
  readonly trustDomain: {
    readonly name: string;
    readonly x509Authorities: readonly string[];
  };
  readonly svid: { readonly chain: readonly string[]; readonly privateKey: string };
  readonly noise: { readonly staticPrivate: string; readonly ephemeralPrivates: readonly string[] };
  readonly wireguard: { readonly private: string; readonly port: number; readonly address: string };
  readonly secrets: readonly string[];
  readonly postureEpoch: string;
}

export interface SessionInputs {
  readonly verifyAt: string;
  readonly nonces: readonly string[];
  readonly accordHash: string;
  /** What signs the initiator's tokens, and the JWK set that its trust domain publishes. */
  readonly sat: { readonly keyId: string; readonly privateKey: string; readonly jwtBundle: object };
  readonly initiator: PartyInputs;
  readonly responder: PartyInputs;
}

/** What one Noise message, its evidence and what hangs on it came to. Bytes are in hex. */
export interface EvidenceVector {
  readonly signedMessage: string;
  readonly signature: string;
  readonly body: string;
}

export interface AttestationVector {
  readonly prologue: string;
  readonly init: { readonly record: string; readonly payload: string; readonly h1: string };
  readonly verify: { readonly record: string; readonly evidence: EvidenceVector; readonly h2: string };
  readonly sat: { readonly audience: string; readonly boundAudience: string; readonly token: string };
  readonly confirm: { readonly record: string; readonly evidence: EvidenceVector; readonly h3: string };
  readonly wireguard: {
    readonly initiator: { readonly shared: string; readonly proof: string };
    readonly responder: { readonly shared: string; readonly proof: string };
  };
  readonly secrets: { readonly presharedKey: string; readonly sessionId: string; readonly reattest: string };
  readonly transportKeys: { readonly initiatorToResponder: string; readonly responderToInitiator: string };
}

export interface FrameVector {
  readonly from: Role;
  readonly frame: string;
  /** Which attestation's transport keys, 0 or 1, and the counter under that key. */
  readonly keys: number;
  readonly counter: number;
  readonly plaintext: string;
  readonly record: string;
}

export interface SessionVectors {
  readonly attestations: readonly AttestationVector[];
  readonly frames: readonly FrameVector[];
}

const TARGET = { prefix: parsePrefix('10.2.0.10/32'), protocol: 6, port: 8080 };
const OFFER: Offer = { versions: [1], sessionType: 'mesh', mode: 'overlay' };
const PING_MS = 20_000;
const ROOM = 65_536;

/** `crypto` must be a provider without a symmetric state of its own: the transport keys are taken from its `aead`. */
export function playSession(inputs: SessionInputs, crypto: CryptoProvider): SessionVectors {
  const stage = new Stage(inputs, crypto);
  stage.attestFirst();
  const { initiator, responder } = stage.channels;

  initiator.send({ type: 'TUNNEL', state: 'ready', generation: 1 });
  responder.send({ type: 'TUNNEL', state: 'ready', generation: 1 });
  stage.settle();

  const stream = initiator.open(TARGET);
  stage.settle();
  responder.accept(stream);
  stage.settle();
  initiator.write(stream, ascii('hello from the initiator\n'));
  stage.settle();
  responder.write(stream, ascii('hello from the responder\n'));
  stage.settle();
  initiator.ping(0);
  stage.settle();

  // The responder's site tightens to level 3: the initiator attests again, now with a token bound to the handshake.
  responder.send({ type: 'POSTURE', level: 3, epoch: BigInt(inputs.responder.postureEpoch) + 1n });
  stage.settle();
  stage.attestAgain(() => {
    initiator.write(stream, ascii('under the new key of this direction\n'));
    responder.write(stream, ascii('still under the old key of this one\n'));
  });
  initiator.send({ type: 'TUNNEL', state: 'ready', generation: 2 });
  responder.send({ type: 'TUNNEL', state: 'ready', generation: 2 });
  stage.settle();

  initiator.finish(stream);
  stage.settle();
  responder.finish(stream);
  stage.settle();
  const { postureEpoch } = inputs.responder;
  responder.drain(0, { reason: 'POSTURE_DRAIN', level: 3, epoch: BigInt(postureEpoch) + 1n, deadlineMs: 4_000 });
  stage.settle();
  return stage.vectors();
}

class Stage {
  readonly channels = {
    initiator: new Channel({ role: 'initiator', pingMs: PING_MS }, 0),
    responder: new Channel({ role: 'responder', pingMs: PING_MS }, 0),
  };
  readonly #inputs: SessionInputs;
  readonly #crypto: CryptoProvider;
  readonly #tapped: Uint8Array[] = [];
  readonly #attestations: AttestationVector[] = [];
  readonly #frames: FrameVector[] = [];
  readonly #lines = new Map<Role, { send: Established['send']; receive: Established['receive']; counter: number }>();
  readonly #keys: Record<Role, number> = { initiator: 0, responder: 0 };
  #reattest: Uint8Array = new Uint8Array(0);

  constructor(inputs: SessionInputs, crypto: CryptoProvider) {
    this.#inputs = inputs;
    this.#crypto = tapping(crypto, (key) => this.#tapped.push(key));
  }

  attestFirst(): void {
    const attempt = this.#attest(0, undefined, { level: 5, epoch: 0n });
    this.#lines.set('initiator', { ...attempt.initiator, counter: 0 });
    this.#lines.set('responder', { ...attempt.responder, counter: 0 });
    this.#record('responder', { type: 'GRANT', grant: attempt.grant });
  }

  /** `between`: what both ends send after ATTEST-CONFIRM and before the responder's GRANT. */
  attestAgain(between: () => void): void {
    const { initiator, responder } = this.channels;
    const attempt = this.#attest(1, this.#reattest, { level: 3, epoch: 1n });
    const [init, verify, confirm] = attempt.records;
    initiator.send({ type: 'REATTEST', record: init });
    this.#flush('initiator');
    responder.send({ type: 'REATTEST', record: verify });
    this.#flush('responder');
    initiator.send({ type: 'REATTEST', record: confirm });
    this.#flush('initiator');
    this.#rekey('initiator', attempt.initiator.send, attempt.responder.receive);
    between();
    this.#flush('initiator');
    this.#flush('responder');
    responder.send({ type: 'GRANT', grant: attempt.grant });
    this.#flush('responder');
    this.#rekey('responder', attempt.responder.send, attempt.initiator.receive);
  }

  /** Until neither end has anything to say. The responder speaks last, as the one that answers. */
  settle(): void {
    while (this.#flush('initiator') || this.#flush('responder'));
  }

  vectors(): SessionVectors {
    return { attestations: this.#attestations, frames: this.#frames };
  }

  #attest(round: 0 | 1, reattest: Uint8Array | undefined, posture: { level: PostureLevel; epoch: bigint }) {
    const { initiator, responder, nonces, accordHash } = this.#inputs;
    const crypto = this.#crypto;
    const options = (party: PartyInputs) => ({
      crypto,
      staticKey: this.#key(party.noise.staticPrivate),
      ephemeralKey: this.#key(party.noise.ephemeralPrivates[round]),
      ...(reattest === undefined ? {} : { prologue: reattestPrologue(reattest) }),
    });
    const fresh = posture.level <= 3;

    const first = initiate(options(initiator), OFFER);
    const init = respond(options(responder)).readInit(first.record);
    const wireguardHash = wireguardKeyHash(crypto, this.#key(responder.wireguard.private).publicKey);
    const verifyBody = encodeVerifyBody({ version: 1, nonce: unhex(nonces[round]), freshSat: fresh, wireguardHash });
    const verifyContext = { role: 'responder', transcript: init.transcript, staticKey: init.staticKey } as const;
    const verifyEvidence = this.#evidence(responder, verifyContext, verifyBody);
    const second = init.writeVerify(verifyEvidence.evidence);
    const verify = first.next.readVerify(second.record);

    const bound = boundAudience(crypto, responder.spiffeId, verify.transcript);
    const audience = fresh ? bound : responder.spiffeId;
    const token = this.#token(initiator, audience);
    const guest = this.#offer(initiator, verify.ephemeralKey, verify.transcript);
    const confirmBody = encodeConfirmBody(this.#confirm(round, token, guest.offer));
    const confirmContext = { role: 'initiator', transcript: verify.transcript, staticKey: verify.staticKey } as const;
    const confirmEvidence = this.#evidence(initiator, confirmContext, confirmBody);
    const third = verify.writeConfirm(confirmEvidence.evidence);
    const confirm = second.next.readConfirm(third.record);

    const secrets = deriveSecrets(
      crypto,
      confirm.handshakeHash,
      unhex(initiator.secrets[round]),
      unhex(responder.secrets[round]),
    );
    this.#reattest = secrets.reattest;
    const host = this.#offer(responder, confirm.ephemeralKey, confirm.handshakeHash);
    const grant: GrantBody = {
      mode: 'overlay',
      capabilities: ['OBSERVE', 'CONNECT'],
      targets: [TARGET],
      advertise: [TARGET.prefix],
      reachable: [parsePrefix('10.1.0.0/24'), parsePrefix(`${initiator.wireguard.address}/32`)],
      lifetimeMs: 3_600_000,
      effectiveLevel: posture.level,
      governedBy: posture.level === 5 ? 'both' : 'responder',
      postureLevel: posture.level,
      postureEpoch: BigInt(responder.postureEpoch) + posture.epoch,
      accordHash: unhex(accordHash),
      wireguard: host.offer,
      secret: unhex(responder.secrets[round]),
    };
    this.#tapped.length = 0;
    const established = confirm.establish();
    // Split makes the two keys in this order, at either end.
    const [initiatorToResponder, responderToInitiator] = this.#tapped;
    this.#attestations.push({
      prologue: hex(reattest === undefined ? ascii('shellstream/1') : reattestPrologue(reattest)),
      init: { record: hex(first.record), payload: hex(first.record.subarray(33)), h1: hex(init.transcript) },
      verify: { record: hex(second.record), evidence: verifyEvidence.vector, h2: hex(verify.transcript) },
      sat: { audience, boundAudience: bound, token },
      confirm: { record: hex(third.record), evidence: confirmEvidence.vector, h3: hex(confirm.handshakeHash) },
      wireguard: { initiator: guest.vector, responder: host.vector },
      secrets: hexSecrets(secrets),
      transportKeys: {
        initiatorToResponder: hex(present(initiatorToResponder)),
        responderToInitiator: hex(present(responderToInitiator)),
      },
    });
    return {
      records: [first.record, second.record, third.record] as const,
      initiator: third.next,
      responder: established,
      grant,
    };
  }

  #confirm(round: 0 | 1, sat: string, wireguard: WireguardOffer): ConfirmBody {
    const { initiator, responder, nonces } = this.#inputs;
    return {
      offer: OFFER,
      nonce: unhex(nonces[round]),
      responderId: responder.spiffeId,
      sat,
      postureLevel: 5,
      postureEpoch: BigInt(initiator.postureEpoch),
      request: {
        capabilities: ['OBSERVE', 'CONNECT'],
        targets: [TARGET],
        advertise: [parsePrefix('10.1.0.0/24')],
      },
      wireguard,
      secret: unhex(initiator.secrets[round]),
    };
  }

  #evidence(
    party: PartyInputs,
    context: Parameters<typeof signedMessage>[1],
    body: Uint8Array,
  ): { readonly evidence: Evidence; readonly vector: EvidenceVector } {
    const message = signedMessage(this.#crypto, context, body);
    const signature = p256.sign(message, unhex(party.svid.privateKey), { format: 'der', lowS: false });
    return {
      evidence: { chain: party.svid.chain.map(unhex), signature, body },
      vector: { signedMessage: hex(message), signature: hex(signature), body: hex(body) },
    };
  }

  #token(party: PartyInputs, audience: string): string {
    const { keyId, privateKey } = this.#inputs.sat;
    const issuedAt = Date.parse(this.#inputs.verifyAt) / 1000 - 10;
    const head = base64url(JSON.stringify({ alg: 'ES256', kid: keyId, typ: 'JWT' }));
    const claims = { aud: [audience], exp: issuedAt + 300, iat: issuedAt, sub: party.spiffeId, tier: 'master' };
    const input = `${head}.${base64url(JSON.stringify(claims))}`;
    const signature = p256.sign(ascii(input), unhex(privateKey), { format: 'compact', lowS: false });
    return `${input}.${base64url(signature)}`;
  }

  #offer(party: PartyInputs, ephemeralKey: Uint8Array, transcript: Uint8Array) {
    const key = this.#key(party.wireguard.private);
    const shared = present(key.dh(ephemeralKey));
    const proof = wireguardProof(this.#crypto, shared, transcript);
    const { port, address } = party.wireguard;
    return {
      offer: { publicKey: key.publicKey, proof, port, addresses: [parseAddress(address)] },
      vector: { shared: hex(shared), proof: hex(proof) },
    };
  }

  #key(privateKey: string | undefined): X25519KeyPair {
    return this.#crypto.x25519FromPrivate(unhex(privateKey));
  }

  /** Whether anything left. */
  #flush(from: Role): boolean {
    let sent = false;
    for (;;) {
      const frame = this.channels[from].pull(0, ROOM);
      if (frame === undefined) return sent;
      this.channels[other(from)].receiveBytes(0, this.#record(from, frame));
      this.#consume(other(from));
      sent = true;
    }
  }

  /** The frame's plaintext as the other end opened it. */
  #record(from: Role, frame: Frame): Uint8Array {
    const line = present(this.#lines.get(from));
    const plaintext = encodeFrame(frame);
    const record = encodeRecord(RECORD.TRANSPORT, line.send.seal(plaintext));
    this.#frames.push({
      from,
      frame: frame.type,
      keys: this.#keys[from],
      counter: line.counter,
      plaintext: hex(plaintext),
      record: hex(record),
    });
    line.counter += 1;
    return present(present(this.#lines.get(other(from))).receive.open(decodeRecord(record, RECORD.TRANSPORT)));
  }

  /** The application reads whatever came. */
  #consume(side: Role): void {
    const channel = this.channels[side];
    for (let event = channel.poll(); event !== undefined; event = channel.poll()) {
      refuseFailure(event);
      if (event.type !== 'stream-readable') continue;
      for (let bytes = channel.read(event.stream); bytes !== undefined; bytes = channel.read(event.stream)) {
        channel.consumed(event.stream, bytes.length);
      }
    }
  }

  #rekey(from: Role, send: Established['send'], receive: Established['receive']): void {
    const line = present(this.#lines.get(from));
    line.send = send;
    line.counter = 0;
    this.#keys[from] += 1;
    present(this.#lines.get(other(from))).receive = receive;
  }
}

/** The same provider with a look at the keys it is given, and without a symmetric state that would hide them. */
function tapping(crypto: CryptoProvider, onKey: (key: Uint8Array) => void): CryptoProvider {
  return {
    name: crypto.name,
    randomBytes: (length) => crypto.randomBytes(length),
    x25519Generate: () => crypto.x25519Generate(),
    x25519FromPrivate: (key) => crypto.x25519FromPrivate(key),
    sha256: (...parts) => crypto.sha256(...parts),
    hmacSha256: (key, ...parts) => crypto.hmacSha256(key, ...parts),
    hkdfSha256: (salt, ikm, info, length) => crypto.hkdfSha256(salt, ikm, info, length),
    aead: (key) => {
      onKey(Uint8Array.from(key));
      return crypto.aead(key);
    },
  };
}

function refuseFailure(event: ChannelEvent): void {
  const isOrderly = event.type !== 'closed' || event.reason === 'POSTURE_DRAIN';
  if (!isOrderly) throw new ShellstreamError('INTERNAL', `the session played itself to ${event.reason}`);
}

function hexSecrets({ presharedKey, sessionId, reattest }: SessionSecrets): AttestationVector['secrets'] {
  return { presharedKey: hex(presharedKey), sessionId: hex(sessionId), reattest: hex(reattest) };
}

function other(role: Role): Role {
  return role === 'initiator' ? 'responder' : 'initiator';
}

function present<T>(value: T | undefined): T {
  if (value === undefined) throw new ShellstreamError('INTERNAL', 'a part of the session is missing');
  return value;
}

function ascii(text: string): Uint8Array {
  return new TextEncoder().encode(text);
}

function base64url(content: string | Uint8Array): string {
  return Buffer.from(content).toString('base64url');
}

export function hex(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString('hex');
}

export function unhex(text: string | undefined): Uint8Array {
  return Uint8Array.from(Buffer.from(present(text), 'hex'));
}
