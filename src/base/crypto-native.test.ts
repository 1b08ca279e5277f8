import { expect, test } from 'vitest';
import { describeWith } from '../../test/support/requirements.ts';
import { loadCryptoProvider } from './crypto.ts';
import { loadAddon, loadNativeCrypto } from './crypto-native.ts';
import { nodeCrypto } from './crypto-node.ts';

const bytes = (length: number): Uint8Array => new Uint8Array(length).fill(7);

describeWith(['addon crypto'], 'the native crypto addon', () => {
  test('is what a gateway gets where it is built', () => {
    expect(loadCryptoProvider().name).toBe('native');
  });

  test('refuses an output of another length than the result, and writes nothing into it', () => {
    const addon = loadAddon();
    const key = addon.X25519Key.generate(bytes(32));
    const aead = addon.AeadKey.fromBytes(bytes(32));
    const calls: ((output: Uint8Array) => unknown)[] = [
      (output) => addon.sha256(output, bytes(1), bytes(1)),
      (output) => addon.hmacSha256(output, bytes(1), bytes(1)),
      (output) => addon.X25519Key.generate(output),
      (output) => key.exportPrivate(output),
      (output) => aead.seal(output, 0n, bytes(0), bytes(40)),
      (output) => addon.NoiseSymmetricState.initialize(bytes(5)).handshakeHash(output),
    ];
    for (const call of calls) {
      for (const length of [0, 31, 33]) {
        const output = bytes(length);
        expect(() => call(output)).toThrow('the output has the wrong length');
        expect(output).toEqual(bytes(length));
      }
    }
    expect(key.dh(bytes(31), nodeCrypto.x25519Generate().publicKey)).toBe(false);
  });

  test('throws on arguments of any other kind; the process lives', () => {
    const addon = loadAddon();
    const odd: unknown[] = [undefined, null, 1, 'text', {}, [], new DataView(new ArrayBuffer(8)), Symbol('x'), () => 1];
    for (const argument of odd) {
      expect(() => Reflect.apply(addon.sha256, addon, [bytes(32), argument, argument])).toThrow();
      expect(() => Reflect.apply(addon.AeadKey.fromBytes, addon.AeadKey, [argument])).toThrow();
      expect(() => Reflect.apply(addon.NoiseSymmetricState.initialize, undefined, [argument])).toThrow();
    }
    for (const counter of [-1n, 2n ** 64n]) {
      expect(() => addon.AeadKey.fromBytes(bytes(32)).seal(bytes(16), counter, bytes(0), bytes(0))).toThrow();
    }
  });

  test('takes an input and an output that are the same memory', () => {
    const addon = loadAddon();
    const both = bytes(32);
    addon.sha256(both, both, bytes(0));
    expect(Buffer.from(both).equals(nodeCrypto.sha256(bytes(32)))).toBe(true);
  });

  test('ends a symmetric state with its split', () => {
    const state = loadAddon().NoiseSymmetricState.initialize(bytes(32));
    state.split();
    expect(() => state.split()).toThrow('after its end');
    expect(() => state.encryptAndHash(bytes(1), bytes(1))).toThrow('after its end');
  });

  test('does not mix in a key pair whose private key another provider holds', () => {
    const state = loadNativeCrypto().symmetricState?.(bytes(32));
    const foreign = nodeCrypto.x25519Generate();
    expect(() => state?.mixDh(foreign, nodeCrypto.x25519Generate().publicKey)).toThrow('another provider');
  });
});
