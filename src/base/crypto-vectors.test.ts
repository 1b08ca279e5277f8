import { readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { needs } from '../../test/support/requirements.ts';
import { PROVIDERS } from './crypto-under-test.ts';

test('the native addon is built and is one of three providers', (context) => {
  needs(context, 'addon crypto');
  expect(PROVIDERS.map(({ provider }) => provider.name).sort()).toEqual(['native', 'noble', 'node']);
});

describe.each(PROVIDERS.map((subject) => [subject.provider.name, subject] as const))('%s', (name, subject) => {
  const { provider } = subject;

  test.each([
    ['', 'e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855'],
    ['abc', 'ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad'],
  ])('SHA-256 of %j (FIPS 180-4)', (text, digest) => {
    expect(hex(provider.sha256(ascii(text)))).toBe(digest);
  });

  test.each([
    ['0b'.repeat(20), 'Hi There', 'b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7'],
    ['4a656665', 'what do ya want for nothing?', '5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843'],
    [
      'aa'.repeat(131),
      'Test Using Larger Than Block-Size Key - Hash Key First',
      '60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54',
    ],
  ])('HMAC-SHA-256 with key %s (RFC 4231)', (key, text, mac) => {
    expect(hex(provider.hmacSha256(unhex(key), ascii(text)))).toBe(mac);
  });

  test.each([
    [
      'a546e36bf0527c9d3b16154b82465edd62144c0ac1fc5a18506a2244ba449ac4',
      'e6db6867583030db3594c1a424b15f7c726624ec26b3353b10a903a6d0ab1c4c',
      'c3da55379de9c6908e94ea4df28d084f32eccf03491c71f754b4075577a28552',
    ],
    [
      '4b66e9d4d1b4673c5ad22691957d6af5c11b6421e0ea01d42ca4169e7918ba0d',
      'e5210f12786811d3f4b7959d0538ae2c31dbe7106fc03c3efc4cd549c715a493',
      '95cbde9476e8907d7aade45cb4b873f88b595a68799fa152e6f8f7647aac7957',
    ],
  ])('X25519 with scalar %s (RFC 7748, section 5.2)', (scalar, u, shared) => {
    expect(hex(provider.x25519FromPrivate(unhex(scalar)).dh(unhex(u)))).toBe(shared);
  });

  test('X25519 of the base point with itself (RFC 7748, section 5.2, first iteration)', () => {
    const nine = unhex(`09${'00'.repeat(31)}`);
    const first = provider.x25519FromPrivate(nine).dh(nine);
    expect(hex(first)).toBe('422c8e7a6227d7bca1350b3e2bb7279f7897b87bb6854b783c60e80311ae3079');
  });

  test('every Wycheproof vector of X25519; an all-zero secret is none', () => {
    const cases = wycheproof<{ public: string; private: string; shared: string }>('x25519_test.json', 518);
    let refused = 0;
    for (const { public: peer, private: scalar, shared, tcId } of cases) {
      const result = provider.x25519FromPrivate(unhex(scalar)).dh(unhex(peer));
      if (/^0+$/.test(shared)) {
        expect(result, `${tcId}`).toBeUndefined();
        refused += 1;
      } else {
        expect(hex(result), `${tcId}`).toBe(shared);
      }
    }
    expect(refused).toBe(31);
  });

  test('sealing and opening in place give what sealing and opening elsewhere give', () => {
    const key = unhex('07'.repeat(32));
    const aead = provider.aead(key);
    const nothing = new Uint8Array(0);
    for (const length of [0, 1, 63, 64, 1_000, 32_768]) {
      const plaintext = new Uint8Array(length).map((_, i) => i * 7);
      // Inside a larger buffer, whose other bytes are none of its business.
      const whole = new Uint8Array(length + 32).fill(0xee);
      const bytes = whole.subarray(8, 8 + length + 16);
      bytes.set(plaintext);
      aead.sealInPlace(5n, bytes);
      expect(hex(bytes)).toBe(hex(aead.seal(5n, nothing, plaintext)));
      expect(hex(aead.openInPlace(5n, bytes.slice()))).toBe(hex(plaintext));
      expect([...whole.subarray(0, 8), ...whole.subarray(length + 24)].every((byte) => byte === 0xee)).toBe(true);
    }
  });

  test('opening in place refuses what opening refuses: another counter, a changed byte, less than a tag', () => {
    const aead = provider.aead(unhex('07'.repeat(32)));
    const sealed = aead.seal(5n, new Uint8Array(0), ascii('attack at dawn'));
    expect(aead.openInPlace(6n, sealed.slice())).toBeUndefined();
    for (const at of [0, sealed.length - 1]) {
      const changed = sealed.slice();
      changed[at] = (changed[at] ?? 0) ^ 1;
      expect(aead.openInPlace(5n, changed)).toBeUndefined();
    }
    expect(aead.openInPlace(5n, sealed.slice(0, 15))).toBeUndefined();
  });

  test('every Wycheproof vector of ChaCha20-Poly1305 with a 12-byte nonce', () => {
    const all = wycheproof<AeadCase>('chacha20_poly1305_test.json', 325);
    const cases = all.filter(({ iv }) => iv.length === 24);
    expect(cases).toHaveLength(316);
    for (const { key, iv, aad, msg, ct, tag, result, tcId } of cases) {
      const sealed = unhex(ct + tag);
      const opened = subject.openWithNonce(unhex(key), unhex(iv), unhex(aad), sealed);
      if (result === 'valid') {
        const resealed = subject.sealWithNonce(unhex(key), unhex(iv), unhex(aad), unhex(msg));
        expect(hex(resealed), `${tcId}`).toBe(ct + tag);
        expect(hex(opened), `${tcId}`).toBe(msg);
      } else {
        expect(opened, `${tcId}`).toBeUndefined();
      }
    }
  });

  test('the Wycheproof vectors whose nonce is one of Noise, through the interface', () => {
    const all = wycheproof<AeadCase>('chacha20_poly1305_test.json', 325);
    const cases = all.filter(({ iv }) => iv.length === 24 && iv.startsWith('00000000'));
    expect(cases).toHaveLength(10);
    for (const { key, iv, aad, msg, ct, tag, result, tcId } of cases) {
      const counter = Buffer.from(iv, 'hex').readBigUInt64LE(4);
      const opened = provider.aead(unhex(key)).open(counter, unhex(aad), unhex(ct + tag));
      expect(opened === undefined ? undefined : hex(opened), `${tcId}`).toBe(result === 'valid' ? msg : undefined);
    }
  });

  test('every Wycheproof vector of HKDF-SHA-256; more than 255 blocks are refused', () => {
    const cases = wycheproof<{ ikm: string; salt: string; info: string; size: number; okm: string }>(
      'hkdf_sha256_test.json',
    );
    for (const { ikm, salt, info, size, okm, result, tcId } of cases) {
      const derive = (): Uint8Array => provider.hkdfSha256(unhex(salt), unhex(ikm), unhex(info), size);
      if (result === 'valid') expect(hex(derive()), `${tcId}`).toBe(okm);
      else expect(derive, `${tcId}`).toThrow();
    }
  });

  test('keys of a wrong length are refused', () => {
    const own = provider.x25519Generate();
    for (const length of [0, 31, 33, 64]) {
      expect(() => provider.x25519FromPrivate(new Uint8Array(length).fill(7))).toThrow();
      expect(() => provider.aead(new Uint8Array(length).fill(7))).toThrow();
      expect(own.dh(new Uint8Array(length).fill(9))).toBeUndefined();
    }
  });

  test('every result is a plain Uint8Array: the slice of a Buffer would be a view of a secret, wiped under its user', () => {
    const [own, peer, aead] = [provider.x25519Generate(), provider.x25519Generate(), provider.aead(new Uint8Array(32))];
    const sealed = aead.seal(0n, ascii('ad'), ascii('text'));
    const symmetric = provider.symmetricState?.(ascii('name'));
    const results = [
      provider.randomBytes(8),
      provider.sha256(),
      provider.hmacSha256(ascii('key')),
      provider.hkdfSha256(ascii('salt'), ascii('ikm'), ascii('info'), 32),
      own.publicKey,
      own.exportPrivate(),
      own.dh(peer.publicKey),
      sealed,
      aead.open(0n, ascii('ad'), sealed),
      ...(symmetric === undefined ? [] : [symmetric.handshakeHash(), symmetric.encryptAndHash(ascii('text'))]),
    ];
    for (const result of results) expect(Object.getPrototypeOf(result)).toBe(Uint8Array.prototype);
  });

  test('generated keys differ, agree, and are what their private part says', () => {
    const [a, b] = [provider.x25519Generate(), provider.x25519Generate()];
    expect(hex(a.publicKey)).not.toBe(hex(b.publicKey));
    expect(hex(a.dh(b.publicKey))).toBe(hex(b.dh(a.publicKey)));
    expect(hex(provider.x25519FromPrivate(a.exportPrivate()).publicKey)).toBe(hex(a.publicKey));
    expect(hex(provider.randomBytes(32))).not.toBe(hex(provider.randomBytes(32)));
    expect(provider.name).toBe(name);
  });
});

interface AeadCase {
  readonly key: string;
  readonly iv: string;
  readonly aad: string;
  readonly msg: string;
  readonly ct: string;
  readonly tag: string;
}

type Case<T> = T & { readonly tcId: number; readonly result: 'valid' | 'invalid' | 'acceptable' };

function wycheproof<T>(file: string, count?: number): Case<T>[] {
  const url = new URL(`../../protocol/vectors/wycheproof/${file}`, import.meta.url);
  const suite: { numberOfTests: number; testGroups: { tests: Case<T>[] }[] } = JSON.parse(readFileSync(url, 'utf8'));
  const cases = suite.testGroups.flatMap(({ tests }) => tests);
  expect(cases).toHaveLength(count ?? suite.numberOfTests);
  return cases;
}

function hex(bytes: Uint8Array | undefined): string {
  if (bytes === undefined) throw new Error('bytes were expected');
  return Buffer.from(bytes).toString('hex');
}

function unhex(text: string): Uint8Array {
  return Uint8Array.from(Buffer.from(text, 'hex'));
}

function ascii(text: string): Uint8Array {
  return new TextEncoder().encode(text);
}
