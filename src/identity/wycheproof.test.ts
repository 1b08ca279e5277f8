/** The signature schemes that evidence and tokens may use, beside P-256 in DER (src/base/p256.test.ts) and JWS (jwt-svid.test.ts). */
import { createPublicKey, verify } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { reasonOf } from '../../protocol/errors.ts';
import { verifyEvidenceSignature } from './evidence-signature.ts';
import type { VerifiedSvid } from './x509-svid.ts';

interface Suite {
  readonly numberOfTests: number;
  readonly testGroups: readonly {
    readonly publicKeyDer: string;
    readonly tests: readonly {
      readonly tcId: number;
      readonly msg: string;
      readonly sig: string;
      readonly result: string;
    }[];
  }[];
}

type Judge = (publicKeyDer: Buffer, message: Buffer, signature: Buffer) => boolean;

test('every Wycheproof vector of Ed25519, as evidence of an SVID: malleated, small order, s out of range', () => {
  const judged = judge('ed25519_test.json', (der, message, signature) => {
    const object = createPublicKey({ key: der, format: 'der', type: 'spki' });
    const svid = { publicKey: { type: 'Ed25519', object } } as VerifiedSvid;
    try {
      verifyEvidenceSignature(svid, message, signature);
      return true;
    } catch (error) {
      expect(reasonOf(error)).toBe('SVID_SIGNATURE');
      return false;
    }
  });
  expect(judged).toEqual({ wrong: [], count: 150 });
});

test('every Wycheproof vector of ECDSA with P-256 in the form of JWS (P1363): short, padded, zero, out of range', () => {
  const judged = judge('ecdsa_secp256r1_sha256_p1363_test.json', (der, message, signature) => {
    const key = createPublicKey({ key: der, format: 'der', type: 'spki' });
    // What a token's ES256 asks for: 64 bytes, then node:crypto.
    return signature.length === 64 && verify('sha256', message, { key, dsaEncoding: 'ieee-p1363' }, signature);
  });
  expect(judged).toEqual({ wrong: [], count: 262 });
});

function judge(file: string, accepts: Judge): { readonly wrong: readonly number[]; readonly count: number } {
  const url = new URL(`../../protocol/vectors/wycheproof/${file}`, import.meta.url);
  const suite: Suite = JSON.parse(readFileSync(url, 'utf8'));
  const wrong: number[] = [];
  let count = 0;
  for (const { publicKeyDer, tests } of suite.testGroups) {
    const key = Buffer.from(publicKeyDer, 'hex');
    for (const { tcId, msg, sig, result } of tests) {
      count += 1;
      if (accepts(key, Buffer.from(msg, 'hex'), Buffer.from(sig, 'hex')) !== (result === 'valid')) wrong.push(tcId);
    }
  }
  expect(count).toBe(suite.numberOfTests);
  return { wrong, count };
}
