/** Whatever one provider says, the others say: the suite that keeps a browser, a laptop and a gateway on one protocol. */
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import type { CryptoProvider } from '../../protocol/noise/crypto.ts';
import { noiseXX } from '../../protocol/noise/index.ts';
import { PROVIDERS } from './crypto-under-test.ts';

const providers = PROVIDERS.map(({ provider }) => provider);
const bytes = (maxLength: number): fc.Arbitrary<Uint8Array> => fc.uint8Array({ maxLength });
const key = fc.uint8Array({ minLength: 32, maxLength: 32 });
const counter = fc.bigInt({ min: 0n, max: 2n ** 64n - 1n });

describe('all providers give the same bytes', () => {
  test('SHA-256 and HMAC, over parts and over their concatenation', () => {
    fc.assert(
      fc.property(fc.array(bytes(200), { maxLength: 5 }), bytes(100), (parts, macKey) => {
        const whole = Buffer.concat(parts);
        expectEqual((provider) => provider.sha256(...parts));
        expectEqual((provider) => provider.hmacSha256(macKey, ...parts));
        for (const provider of providers) {
          expect(hex(provider.sha256(...parts))).toBe(hex(provider.sha256(whole)));
          expect(hex(provider.hmacSha256(macKey, ...parts))).toBe(hex(provider.hmacSha256(macKey, whole)));
        }
      }),
    );
  });

  test('HKDF of any length', () => {
    fc.assert(
      fc.property(bytes(100), bytes(100), bytes(100), fc.integer({ min: 1, max: 8160 }), (salt, ikm, info, length) => {
        expectEqual((provider) => provider.hkdfSha256(salt, ikm, info, length));
      }),
    );
  });

  test('X25519 public keys and shared secrets, of any scalar and any 32 bytes as public key', () => {
    fc.assert(
      fc.property(key, key, (scalar, peer) => {
        expectEqual((provider) => provider.x25519FromPrivate(scalar).publicKey);
        expectEqual((provider) => provider.x25519FromPrivate(scalar).dh(peer));
      }),
      { numRuns: 25 },
    );
  });

  test('ChaCha20-Poly1305, at every counter; each opens what the others sealed and nothing else', () => {
    fc.assert(
      fc.property(key, counter, bytes(80), bytes(3000), (aeadKey, n, ad, plaintext) => {
        const sealed = expectEqual((provider) => provider.aead(aeadKey).seal(n, ad, plaintext));
        expect(sealed).toHaveLength(plaintext.length + 16);
        for (const provider of providers) {
          const own = provider.aead(aeadKey);
          expect(hex(own.open(n, ad, sealed ?? plaintext))).toBe(hex(plaintext));
          expect(own.open(n ^ 1n, ad, sealed ?? plaintext)).toBeUndefined();
          expect(own.open(n, Buffer.concat([ad, ad, Buffer.of(0)]), sealed ?? plaintext)).toBeUndefined();
        }
      }),
    );
  });
});

describe('a handshake between two providers ends in the same hash and keys', () => {
  const pairs = providers.flatMap((initiator) => providers.map((responder) => ({ initiator, responder })));

  test.each(pairs)('initiator $initiator.name, responder $responder.name', ({ initiator, responder }) => {
    const ends = handshake(initiator, responder);
    expect(hex(ends.initiator.handshakeHash)).toBe(hex(ends.responder.handshakeHash));
    const there = ends.initiator.send.seal(Buffer.from('there'));
    expect(hex(ends.responder.receive.open(there))).toBe(hex(Buffer.from('there')));
    const back = ends.responder.send.seal(Buffer.from('back'));
    expect(hex(ends.initiator.receive.open(back))).toBe(hex(Buffer.from('back')));
  });
});

test.each(providers.filter((provider) => provider.symmetricState !== undefined))(
  'the symmetric state of $name is the portable one, byte for byte',
  (provider) => {
    const { symmetricState: _, ...primitives } = provider;
    const fixed = { ephemeral: provider.randomBytes(32), static: provider.randomBytes(32) };
    const [own, portable] = [provider, primitives].map((crypto) => {
      const start = {
        crypto,
        prologue: Buffer.from('p'),
        staticKey: crypto.x25519FromPrivate(fixed.static),
        ephemeralKey: crypto.x25519FromPrivate(fixed.ephemeral),
      };
      const one = noiseXX.initiator(start).writeMessage(Buffer.from('one'));
      const two = noiseXX.responder(start).readMessage(one.message)?.next.writeMessage(Buffer.from('two'));
      const three = two && one.next.readMessage(two.message)?.next.writeMessage(Buffer.from('three'));
      return [one.message, two?.message, three?.message, three?.next.handshakeHash].map(hex);
    });
    expect(own).toEqual(portable);
  },
);

function handshake(initiator: CryptoProvider, responder: CryptoProvider) {
  const prologue = Buffer.from('shellstream/1');
  const one = noiseXX
    .initiator({ crypto: initiator, prologue, staticKey: initiator.x25519Generate() })
    .writeMessage(Buffer.from('one'));
  const readOne = noiseXX
    .responder({ crypto: responder, prologue, staticKey: responder.x25519Generate() })
    .readMessage(one.message);
  const two = readOne?.next.writeMessage(Buffer.from('two'));
  const readTwo = two && one.next.readMessage(two.message);
  const three = readTwo?.next.writeMessage(Buffer.from('three'));
  const readThree = three && two?.next.readMessage(three.message);
  if (three === undefined || readThree === undefined) throw new Error('the handshake was refused');
  return { initiator: three.next.split(), responder: readThree.next.split() };
}

/** Asks every provider, checks that the answers are one, and returns it. */
function expectEqual(ask: (provider: CryptoProvider) => Uint8Array | undefined): Uint8Array | undefined {
  const answers = providers.map(ask);
  const [first] = answers;
  for (const answer of answers) {
    expect(answer === undefined ? undefined : hex(answer)).toBe(first === undefined ? undefined : hex(first));
  }
  return first;
}

function hex(octets: Uint8Array | undefined): string {
  if (octets === undefined) throw new Error('bytes were expected');
  return Buffer.from(octets).toString('hex');
}
