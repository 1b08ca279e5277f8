/** Trust bundles, which for federated domains are a stranger's: certificates behind a 0, a JWK set behind a 1. */
import { parseJwtBundle, parseX509Bundle } from '../../src/identity/bundles.ts';
import { keyTypeOf } from '../../src/identity/certificate.ts';
import { der } from '../formats/der.ts';
import type { Format } from '../formats/format.ts';
import { json } from '../formats/json.ts';
import { behind } from '../formats/sequence.ts';
import { treeFormat } from '../formats/tree.ts';
import { attempt, holds, type OpenTarget } from '../target.ts';
import { ascii } from './examples.ts';
import { authorityCertificate, DOMAIN, ed25519, intermediate, NOW, publicKey } from './keys.ts';

const [certificates, keys] = [behind(1, treeFormat(der)), behind(1, json)];
const either: Format = {
  mutate: (bytes, material) => (((bytes[0] ?? 0) & 1) === 0 ? certificates : keys).mutate(bytes, material),
};

export const open: OpenTarget = async () => {
  const jwk = publicKey(ed25519(4)).export({ format: 'jwk' });
  const sets = [
    { keys: [{ ...jwk, kid: 'a', use: 'jwt-svid', alg: 'EdDSA' }] },
    {
      keys: [
        { ...jwk, kid: 'a', use: 'x509-svid' },
        { ...jwk, kid: 'b', key_ops: ['verify'] },
        { kty: 'oct', kid: 'c', k: 'AAAA' },
      ],
    },
    { keys: [{ kty: 'RSA', kid: 'r', n: 'AQAB', e: 'AQAB' }], spiffe_sequence: 1, spiffe_refresh_hint: 60 },
  ];
  return {
    about: 'trust bundles: public keys of kinds that we verify with, and no more of them than the limit',
    covers: ['src/identity/bundles.ts', 'src/identity/unique-json.ts'],
    maxBytes: 8_000,
    format: either,
    dictionary: [
      'kty',
      'oct',
      'RSA',
      'EC',
      'OKP',
      'crv',
      'P-256',
      'X25519',
      'kid',
      'use',
      'sig',
      'enc',
      'key_ops',
      'verify',
      'd',
      '__proto__',
    ],
    seeds: [
      Uint8Array.of(0, ...authorityCertificate),
      Uint8Array.of(0, ...authorityCertificate, ...intermediate()),
      ...sets.map((set) => Uint8Array.of(1, ...ascii(JSON.stringify(set)))),
    ],
    run(input) {
      const rest = input.subarray(1);
      if (((input[0] ?? 0) & 1) === 0) {
        const read = attempt({ reasons: ['SVID_MALFORMED'] }, () => parseX509Bundle(DOMAIN, rest, NOW));
        if ('refusal' in read) return read.refusal;
        holds(read.value.authorities.length <= 64, 'more authorities than the limit');
        return `certificates ${read.value.authorities.length}`;
      }
      const read = attempt({ reasons: ['MALFORMED', 'SAT_INVALID'] }, () => parseJwtBundle(DOMAIN, rest, NOW));
      if ('refusal' in read) return read.refusal;
      for (const { object, type } of read.value.authorities.values()) {
        holds(
          object.type === 'public' && keyTypeOf(object) === type,
          'a key that is secret, or of a kind that may not be',
        );
      }
      holds(read.value.authorities.size <= 64, 'more keys than the limit');
      return `keys ${[...read.value.authorities.values()].map(({ type }) => type).join()}`.slice(0, 40);
    },
  };
};
