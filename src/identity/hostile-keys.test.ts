/** SVIDs whose public key is none: an authority that signs what it is sent must not make us compute on it. */
import { createPrivateKey, createPublicKey, generateKeyPairSync, type KeyObject, sign } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { hostile, type TrustDomain } from '../../certs-dev/index.ts';
import { SteppedClock, TemporaryDomains } from '../../certs-dev/testing.ts';
import { ShellstreamError } from '../../protocol/errors.ts';
import { nativeP256, nodeP256 } from '../base/p256.ts';
import { parseX509Bundle } from './bundles.ts';
import { verifySvid } from './x509-svid.ts';

const clock = new SteppedClock();
let domains: TemporaryDomains;
let domain: TrustDomain;

beforeAll(async () => {
  domains = await TemporaryDomains.create(clock);
  domain = await domains.start('a.test');
});
afterAll(() => domains[Symbol.asyncDispose]());

const key = generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey;
const spki = createPublicKey(key).export({ type: 'spki', format: 'der' });
const POINT_BYTES = 65;
const point = spki.subarray(-POINT_BYTES);
const [x, y] = [point.subarray(1, 33), point.subarray(33)];
const P = Buffer.from('ffffffff00000001000000000000000000000000ffffffffffffffffffffffff', 'hex');

describe('a leaf is refused whose P-256 key', () => {
  const forms: readonly (readonly [string, () => Buffer])[] = [
    ['lies on no curve', () => ec(join([4], x, flipped(y)))],
    ['is the point at infinity', () => ec(Buffer.of(0))],
    ['is infinity at full length', () => ec(join([4], Buffer.alloc(64)))],
    ['has a coordinate that is the field’s prime', () => ec(join([4], P, y))],
    ['has a coordinate of ones', () => ec(join([4], Buffer.alloc(32, 0xff), y))],
    ['is cut short', () => ec(join([4], x, y.subarray(0, 31)))],
    ['has a byte more', () => ec(join([4], x, y, [0]))],
    [
      'is in compressed form, which not every reader takes for the same key',
      () => ec(join([2 + ((y[31] ?? 0) & 1)], x)),
    ],
    ['is in hybrid form, which RFC 5480 forbids', () => ec(join([6 + ((y[31] ?? 0) & 1)], x, y))],
    ['is in hybrid form with the wrong parity', () => ec(join([7 - ((y[31] ?? 0) & 1)], x, y))],
    ['is in no form there is', () => ec(join([5], x, y))],
    ['is empty', () => ec(Buffer.alloc(0))],
    ['brings a curve of its own with its own generator (CVE-2020-0601)', () => explicitCurve(point)],
    ['brings the parameters of P-256 instead of its name', () => explicitCurve(G)],
  ];

  test('— and with the key as it was it is taken', () => {
    expect(verdict(leafWith(ec(point)))).toBe('accepted');
  });

  test.each(forms)('%s', (_attack, make) => {
    expect(verdict(leafWith(make()))).toBe('key-allowed');
  });

  test.each([nodeP256, nativeP256()])('and signatures by $name with a good key are judged all the same', (p256) => {
    const message = Buffer.from('m');
    expect(p256.verifier(createPublicKey(key))(message, sign('sha256', message, key))).toBe(true);
  });
});

const G = Buffer.from(
  '046b17d1f2e12c4247f8bce6e563a440f277037d812deb33a0f4a13945d898c2964fe342e2fe1a7f9b8ee7eb4a7c0f9e162bce33576b315ececbb6406837bf51f5',
  'hex',
);
const OID = {
  ecPublicKey: '06072a8648ce3d0201',
  p256: '06082a8648ce3d030107',
  primeField: '06072a8648ce3d0101',
} as const;

function ec(bits: Buffer): Buffer {
  return sequence(sequence(hex(OID.ecPublicKey), hex(OID.p256)), der(0x03, join([0], bits)));
}

/** P-256 spelt out, with any generator: whoever chooses it knows a private key for any public one. */
function explicitCurve(generator: Buffer): Buffer {
  const curve = sequence(
    hex('020101'),
    sequence(hex(OID.primeField), der(0x02, join([0], P))),
    sequence(
      der(0x04, hex('ffffffff00000001000000000000000000000000fffffffffffffffffffffffc')),
      der(0x04, hex('5ac635d8aa3a93e7b3ebbd55769886bc651d06b0cc53b0f63bce3c3e27d2604b')),
    ),
    der(0x04, generator),
    der(0x02, join([0], hex('ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551'))),
    hex('020101'),
  );
  return sequence(sequence(hex(OID.ecPublicKey), curve), der(0x03, join([0], point)));
}

/** A leaf of the domain as its authority signs it, around another public key. */
function leafWith(publicKey: Buffer): Uint8Array {
  const [leaf = new Uint8Array()] = hostile.issueShaped(domain, clock, '/x', {}, key).chain;
  const [tbs, algorithm] = childrenOf(Buffer.from(leaf));
  const body = contentsOf(tbs ?? Buffer.alloc(0));
  const at = body.indexOf(spki);
  const changed = sequence(body.subarray(0, at), publicKey, body.subarray(at + spki.length));
  const signature = sign('sha256', changed, authorityKey());
  return sequence(changed, algorithm ?? Buffer.alloc(0), der(0x03, join([0], signature)));
}

function authorityKey(): KeyObject {
  const { privateKey } = domain.authority.x509;
  return createPrivateKey({ key: privateKey.export({ type: 'pkcs8', format: 'der' }), format: 'der', type: 'pkcs8' });
}

function verdict(leaf: Uint8Array): string {
  const bundle = parseX509Bundle('a.test', domain.authority.x509Bundle, clock.now());
  try {
    verifySvid([leaf], { x509: new Map([['a.test', bundle]]), jwt: new Map() }, clock.now());
    return 'accepted';
  } catch (error) {
    return error instanceof ShellstreamError ? String(error.fields.rule) : 'no refusal of ours';
  }
}

function flipped(bytes: Buffer): Buffer {
  return join(bytes.subarray(0, -1), [(bytes.at(-1) ?? 0) ^ 1]);
}

function sequence(...parts: readonly Uint8Array[]): Buffer {
  return der(0x30, join(...parts));
}

function der(tag: number, contents: Uint8Array): Buffer {
  const { length } = contents;
  const header = length < 128 ? [length] : length < 256 ? [0x81, length] : [0x82, length >> 8, length & 0xff];
  return join([tag, ...header], contents);
}

function contentsOf(element: Buffer): Buffer {
  return element.subarray(headerBytes(element));
}

function childrenOf(element: Buffer): readonly Buffer[] {
  const children: Buffer[] = [];
  for (let rest = contentsOf(element); rest.length > 0; ) {
    const length = headerBytes(rest) + lengthOf(rest);
    children.push(rest.subarray(0, length));
    rest = rest.subarray(length);
  }
  return children;
}

function headerBytes(element: Buffer): number {
  const first = element[1] ?? 0;
  return first < 128 ? 2 : 2 + (first & 0x7f);
}

function lengthOf(element: Buffer): number {
  const first = element[1] ?? 0;
  return first < 128 ? first : element.readUIntBE(2, first & 0x7f);
}

function hex(text: string): Buffer {
  return Buffer.from(text, 'hex');
}

function join(...parts: readonly (Uint8Array | readonly number[])[]): Buffer {
  return Buffer.concat(parts.map((part) => Uint8Array.from(part)));
}
