import { createPublicKey, generateKeyPairSync } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { nativeP256, nodeP256 } from './p256.ts';

interface Group {
  readonly publicKeyDer: string;
  readonly tests: readonly {
    readonly tcId: number;
    readonly msg: string;
    readonly sig: string;
    readonly result: string;
  }[];
}

const vectors = new URL('../../protocol/vectors/wycheproof/ecdsa_secp256r1_sha256_test.json', import.meta.url);
const groups: readonly Group[] = JSON.parse(readFileSync(vectors, 'utf8')).testGroups;
const bytes = (hex: string): Uint8Array => Buffer.from(hex, 'hex');

describe.each([nativeP256(), nodeP256])('P-256 by $name', (p256) => {
  it('judges every Wycheproof signature right: malleated, padded, in BER, out of range', () => {
    const wrong: number[] = [];
    let judged = 0;
    for (const { publicKeyDer, tests } of groups) {
      const verify = p256.verifier(
        createPublicKey({ key: Buffer.from(publicKeyDer, 'hex'), format: 'der', type: 'spki' }),
      );
      for (const { tcId, msg, sig, result } of tests) {
        judged += 1;
        if (verify(bytes(msg), bytes(sig)) !== (result === 'valid')) wrong.push(tcId);
      }
    }
    expect(wrong).toEqual([]);
    expect(judged).toBeGreaterThan(400);
  });

  it('signs what the other one verifies, and nothing else', () => {
    const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
    const other = p256.name === 'native' ? nodeP256 : nativeP256();
    const message = new TextEncoder().encode('evidence');
    const signature = p256.signer(privateKey)(message);
    expect(other.verifier(publicKey)(message, signature)).toBe(true);
    expect(other.verifier(publicKey)(message.slice(1), signature)).toBe(false);
  });
});

it('the native keys refuse another curve', () => {
  const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-384' });
  expect(() => nativeP256().signer(privateKey)).toThrow('P-256');
  expect(() => nativeP256().verifier(publicKey)).toThrow('P-256');
});
