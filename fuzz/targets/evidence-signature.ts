/** Signatures of evidence: `key ‖ message length ‖ message ‖ signature`. */
import { createPrivateKey, generateKeyPairSync, type KeyObject } from 'node:crypto';
import { p256, p384 } from '@noble/curves/nist.js';
import { evidenceSigner, verifyEvidenceSignature } from '../../src/identity/evidence-signature.ts';
import { verifySvid } from '../../src/identity/x509-svid.ts';
import { der } from '../formats/der.ts';
import { behind } from '../formats/sequence.ts';
import { treeFormat } from '../formats/tree.ts';
import { attempt, holds, type OpenTarget } from '../target.ts';
import { ascii, fill } from './examples.ts';
import { bundles, leaf, leafKey, NOW } from './keys.ts';

const MESSAGE = ascii('what was signed');

export const open: OpenTarget = async () => {
  const keys: readonly KeyObject[] = [
    ecKey('P-256', p256.getPublicKey(fill(5), false)),
    ecKey('P-384', p384.getPublicKey(fill(5, 48), false)),
    leafKey,
    generateKeyPairSync('rsa', { modulusLength: 2048 }).privateKey,
  ];
  const svids = keys.map((key) => verifySvid([leaf(key)], bundles, NOW));
  const seeds = keys.map((key, at) => {
    const signature =
      at === 0
        ? p256.sign(MESSAGE, fill(5), { format: 'der', lowS: false })
        : at === 1
          ? p384.sign(MESSAGE, fill(5, 48), { format: 'der', lowS: false })
          : evidenceSigner(key)(MESSAGE);
    return Buffer.concat([Uint8Array.of(at, MESSAGE.length), MESSAGE, signature]);
  });
  return {
    about: 'evidence signatures: nothing but what was signed verifies, and only in one form',
    covers: ['src/identity/evidence-signature.ts'],
    maxBytes: 1_400,
    format: behind(2 + MESSAGE.length, treeFormat(der)),
    dictionary: [
      Buffer.from('ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551', 'hex'),
      fill(0),
      Uint8Array.of(0x02, 0x01, 0x00),
    ],
    seeds,
    run(input) {
      const at = (input[0] ?? 0) % keys.length;
      const length = input[1] ?? 0;
      const [message, signature] = [input.subarray(2, 2 + length), input.subarray(2 + length)];
      const svid = svids[at];
      holds(svid !== undefined, 'a key too few');
      const read = attempt({ reasons: ['SVID_SIGNATURE'] }, () => verifyEvidenceSignature(svid, message, signature));
      if ('refusal' in read) return `${at} refused`;
      holds(Buffer.compare(message, MESSAGE) === 0, 'a forgery verifies');
      if (at > 1)
        holds(Buffer.compare(input.subarray(1), (seeds[at] ?? input).subarray(1)) === 0, 'a second signature verifies');
      else {
        const curve = at === 0 ? p256 : p384;
        const secret = at === 0 ? fill(5) : fill(5, 48);
        const isStrict = curve.verify(signature, message, curve.getPublicKey(secret), { format: 'der', lowS: false });
        holds(isStrict, 'a signature that another verifier refuses');
      }
      return `${at} verified`;
    },
  };
};

function ecKey(crv: 'P-256' | 'P-384', point: Uint8Array): KeyObject {
  const size = (point.length - 1) / 2;
  const part = (bytes: Uint8Array): string => Buffer.from(bytes).toString('base64url');
  const [x, y] = [part(point.subarray(1, 1 + size)), part(point.subarray(1 + size))];
  return createPrivateKey({ key: { kty: 'EC', crv, x, y, d: part(fill(5, size)) }, format: 'jwk' });
}
