import { generateKeyPairSync, sign, verify } from 'node:crypto';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { nodeCrypto } from '../../src/base/crypto-node.ts';
import { ShellstreamError } from '../errors.ts';
import { hostPrefix } from '../net/prefix.ts';
import {
  boundAudience,
  type ConfirmBody,
  deriveSecrets,
  type Evidence,
  encodeConfirmBody,
  encodeRefused,
  encodeVerifyBody,
  initiate,
  type Offer,
  parseConfirmBody,
  parseVerifyBody,
  reattestPrologue,
  respond,
  sameOffer,
  signedMessage,
  wireguardProof,
  wireguardProofHolds,
} from './index.ts';

const crypto = nodeCrypto;
const offer: Offer = { versions: [1], sessionType: 'mesh', mode: 'overlay' };

describe('handshake', () => {
  it('ends with both sides holding the same hash, keys that work, and verified evidence', () => {
    const { initiator, responder } = handshake();
    expect(responder.established.handshakeHash).toEqual(initiator.established.handshakeHash);
    const text = new TextEncoder().encode('in a session');
    const there = responder.established.receive.open(initiator.established.send.seal(text));
    const back = initiator.established.receive.open(responder.established.send.seal(text));
    expect([there, back].map((plaintext) => new TextDecoder().decode(plaintext))).toEqual([
      'in a session',
      'in a session',
    ]);
    expect(sameOffer(responder.confirm.offer, parseConfirmBody(responder.confirm.evidence.body).offer)).toBe(true);
  });

  it('gives both ends the same session secrets, and others to every other handshake', () => {
    const [first, second] = [handshake(), handshake()];
    const secrets = (hash: Uint8Array) => deriveSecrets(crypto, hash, bytes(32, 1), bytes(32, 2));
    expect(secrets(first.initiator.established.handshakeHash)).toEqual(
      secrets(first.responder.established.handshakeHash),
    );
    expect(secrets(first.initiator.established.handshakeHash)).not.toEqual(
      secrets(second.initiator.established.handshakeHash),
    );
  });

  it('lets each end check that the other holds the WireGuard key it names', () => {
    const { initiator, responder } = handshake();
    const wireguard = crypto.x25519Generate();
    const proofOf = (key: typeof wireguard) =>
      wireguardProof(crypto, key.dh(initiator.verify.ephemeralKey) ?? new Uint8Array(32), initiator.verify.transcript);
    const holds = (proof: Uint8Array) =>
      wireguardProofHolds(
        crypto,
        responder.confirm.wireguardShared(wireguard.publicKey),
        responder.confirm.transcript,
        proof,
      );
    expect(holds(proofOf(wireguard))).toBe(true);
    expect(holds(proofOf(crypto.x25519Generate()))).toBe(false);
  });

  it('attack: evidence reflected to its sender does not verify, since the role is signed', () => {
    const { initiator } = handshake();
    const context = {
      transcript: initiator.verify.responderTranscript,
      staticKey: initiator.verify.responderStaticKey,
    };
    const { signature, body } = initiator.verify.evidence;
    expect(svid.verify(signedMessage(crypto, { role: 'responder', ...context }, body), signature)).toBe(true);
    expect(svid.verify(signedMessage(crypto, { role: 'initiator', ...context }, body), signature)).toBe(false);
  });

  it('attack: evidence relayed into another handshake does not verify, since the transcript is signed', () => {
    const [victim, relay] = [handshake(), handshake()];
    const { signature, body } = victim.responder.confirm.evidence;
    const { transcript, staticKey } = relay.responder.confirm;
    expect(svid.verify(signedMessage(crypto, { role: 'initiator', transcript, staticKey }, body), signature)).toBe(
      false,
    );
  });

  it('attack: a bound audience of one handshake is none of another', () => {
    const [one, other] = [handshake(), handshake()];
    const audience = (run: typeof one) =>
      boundAudience(crypto, 'spiffe://site-b/gateway', run.initiator.verify.transcript);
    expect(audience(one)).toMatch(/^spiffe:\/\/site-b\/gateway#[A-Za-z0-9_-]{43}$/);
    expect(audience(one)).not.toBe(audience(other));
  });

  it('attack: any changed bit of message 2 or 3 ends the handshake', () => {
    fc.assert(
      fc.property(fc.nat(), fc.integer({ min: 0, max: 7 }), fc.boolean(), (at, bit, second) => {
        const flip = (record: Uint8Array): Uint8Array => {
          const changed = record.slice();
          const index = at % changed.length;
          changed[index] = (changed[index] ?? 0) ^ (1 << bit);
          return changed;
        };
        expect(() => handshake(second ? { message2: flip } : { message3: flip })).toThrow(ShellstreamError);
      }),
      { numRuns: 60 },
    );
  });

  it('attack: random bytes at any step are refused with a reason and never anything else', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 400 }), fc.constantFrom(1, 2, 3, 4, 16, 255), (content, type) => {
        const record = Uint8Array.of(type, ...content);
        expect(() => respond({ crypto, staticKey: crypto.x25519Generate() }).readInit(record)).toThrow(
          ShellstreamError,
        );
        expect(() => initiate({ crypto, staticKey: crypto.x25519Generate() }, offer).next.readVerify(record)).toThrow(
          ShellstreamError,
        );
      }),
      { numRuns: 100 },
    );
  });

  it('a REFUSED ends the attempt with the reason it names', () => {
    const { next } = initiate({ crypto, staticKey: crypto.x25519Generate() }, offer);
    expect(() => next.readVerify(encodeRefused('OVERLOADED'))).toThrow(/OVERLOADED/);
  });

  it('attack: a re-attestation without the session’s secret fails', () => {
    const prologues = [reattestPrologue(bytes(32, 7)), reattestPrologue(bytes(32, 8))] as const;
    expect(() => handshake({ prologues: [prologues[0], prologues[0]] })).not.toThrow();
    expect(() => handshake({ prologues })).toThrow(/DECRYPT_FAILED/);
  });
});

describe('bodies', () => {
  it('survive encoding', () => {
    const body = confirmBody(bytes(32, 3));
    expect(parseConfirmBody(encodeConfirmBody(body))).toEqual(body);
    const verifyBody = { version: 1, nonce: bytes(32, 4), freshSat: true, denial: 301 };
    expect(parseVerifyBody(encodeVerifyBody(verifyBody))).toEqual(verifyBody);
    const named = { ...verifyBody, wireguardHash: bytes(32, 5) };
    expect(parseVerifyBody(encodeVerifyBody(named))).toEqual(named);
  });

  it('attack: a mesh session without a WireGuard key, or another type with one, is malformed', () => {
    const { wireguard, ...bare } = confirmBody(bytes(32, 3));
    expect(wireguard).toBeDefined();
    expect(() => parseConfirmBody(encodeConfirmBody(bare))).toThrow(/MALFORMED/);
    const operator: ConfirmBody = { ...confirmBody(bytes(32, 3)), offer: { ...offer, sessionType: 'operator' } };
    expect(() => parseConfirmBody(encodeConfirmBody(operator))).toThrow(/MALFORMED/);
  });

  it('the largest request and the largest offer go together', () => {
    const targets = Array.from({ length: 256 }, (_, port) => ({
      prefix: hostPrefix(bytes(16, 9)),
      protocol: 6,
      port: 65_000 + port,
    }));
    const whole = confirmBody(bytes(32, 3));
    const body = { ...whole, sat: 'x'.repeat(8_192), request: { ...whole.request, targets }, offered: targets };
    expect(parseConfirmBody(encodeConfirmBody(body))).toEqual(body);
    const more = { ...body, offered: [...targets, ...targets.slice(0, 1)] };
    expect(() => parseConfirmBody(encodeConfirmBody(more))).toThrow(/MALFORMED/);
  });

  it('attack: an offer in a session that is no mesh session is malformed', () => {
    const { wireguard: _, ...bare } = confirmBody(bytes(32, 3));
    const operator: ConfirmBody = { ...bare, offer: { ...offer, sessionType: 'operator' } };
    expect(parseConfirmBody(encodeConfirmBody(operator))).toEqual(operator);
    const offered = [{ prefix: hostPrefix(bytes(4, 10)), protocol: 6, port: 22 }];
    expect(() => parseConfirmBody(encodeConfirmBody({ ...operator, offered }))).toThrow(/MALFORMED/);
  });

  it('attack: a posture level outside 1 to 5 is malformed, not lockdown', () => {
    const body = { ...confirmBody(bytes(32, 3)), postureLevel: 0 as unknown as 1 };
    expect(() => parseConfirmBody(encodeConfirmBody(body))).toThrow(/MALFORMED/);
  });

  it('attack: a short nonce or secret is malformed', () => {
    expect(() => parseConfirmBody(encodeConfirmBody(confirmBody(bytes(31, 3))))).toThrow(/MALFORMED/);
    expect(() => parseConfirmBody(encodeConfirmBody({ ...confirmBody(bytes(32, 3)), secret: bytes(16, 1) }))).toThrow(
      /MALFORMED/,
    );
  });
});

const svid = (() => {
  const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  return {
    chain: [publicKey.export({ type: 'spki', format: 'der' })],
    sign: (message: Uint8Array): Uint8Array => new Uint8Array(sign('sha256', message, privateKey)),
    verify: (message: Uint8Array, signature: Uint8Array): boolean => verify('sha256', message, publicKey, signature),
  };
})();

interface Tampering {
  readonly message2?: (record: Uint8Array) => Uint8Array;
  readonly message3?: (record: Uint8Array) => Uint8Array;
  readonly prologues?: readonly [Uint8Array, Uint8Array];
}

/** A whole handshake between two sides that sign with one development key. */
function handshake(tampering: Tampering = {}) {
  const options = (side: 0 | 1) => ({
    crypto,
    staticKey: crypto.x25519Generate(),
    ...(tampering.prologues === undefined ? {} : { prologue: tampering.prologues[side] }),
  });
  const evidence = (context: Parameters<typeof signedMessage>[1], body: Uint8Array): Evidence => ({
    chain: svid.chain,
    signature: svid.sign(signedMessage(crypto, context, body)),
    body,
  });

  const first = initiate(options(0), offer);
  const init = respond(options(1)).readInit(first.record);
  const nonce = crypto.randomBytes(32);
  const verifyBody = encodeVerifyBody({ version: 1, nonce, freshSat: false });
  const second = init.writeVerify(
    evidence({ role: 'responder', transcript: init.transcript, staticKey: init.staticKey }, verifyBody),
  );
  const verify = first.next.readVerify((tampering.message2 ?? same)(second.record));
  const third = verify.writeConfirm(
    evidence(
      { role: 'initiator', transcript: verify.transcript, staticKey: verify.staticKey },
      encodeConfirmBody(confirmBody(nonce)),
    ),
  );
  const confirm = second.next.readConfirm((tampering.message3 ?? same)(third.record));
  return {
    initiator: { verify, established: third.next },
    responder: { confirm, established: confirm.establish() },
  };
}

function confirmBody(nonce: Uint8Array): ConfirmBody {
  return {
    offer,
    nonce,
    responderId: 'spiffe://site-b/gateway',
    sat: 'header.payload.signature',
    postureLevel: 5,
    postureEpoch: 12n,
    request: {
      capabilities: ['OBSERVE', 'CONNECT'],
      targets: [{ prefix: { address: Uint8Array.of(10, 2, 0, 10), length: 32 }, protocol: 6, port: 443 }],
      advertise: [{ address: Uint8Array.of(10, 1, 0, 0), length: 16 }],
    },
    wireguard: { publicKey: bytes(32, 5), proof: bytes(32, 6), port: 51840, addresses: [Uint8Array.of(10, 99, 0, 1)] },
    secret: bytes(32, 9),
  };
}

function bytes(length: number, value: number): Uint8Array {
  return new Uint8Array(length).fill(value);
}

function same(record: Uint8Array): Uint8Array {
  return record;
}
