/** Prefixes of ours that are others in the tunnel: nobody else may have either, and nobody is granted what is inside. */
import { expect, test } from 'vitest';
import { reasonOf } from '../../protocol/errors.ts';
import { parsePrefix } from '../../protocol/net/prefix.ts';
import { nodeCrypto } from '../base/crypto-node.ts';
import { createMemoryDataPlane } from '../dataplane/memory/index.ts';
import { type MemberSpec, Overlay } from './overlay.ts';

const open = (): Promise<Overlay> =>
  Overlay.open(createMemoryDataPlane(), nodeCrypto, {
    interfaceName: 'shsa-0',
    listenPort: 1,
    mtu: 1_420,
    addresses: [parsePrefix('10.99.0.1/32')],
    slots: 8,
    translations: [{ internal: parsePrefix('192.168.77.0/24'), external: parsePrefix('10.1.77.0/24') }],
  });

/** Somebody behind `prefix` who was granted `target` here. */
function guest(prefix: string, target: string): MemberSpec {
  return {
    spiffeId: 'spiffe://b.test/gateway',
    publicKey: nodeCrypto.x25519Generate().publicKey,
    presharedKey: new Uint8Array(32),
    keepalive: 0,
    prefixes: [parsePrefix(prefix)],
    hosted: [{ prefix: parsePrefix(target), protocol: 6, port: 443, floor: 3 }],
    visited: [],
    level: 5,
    expiresAtBootNs: 2n ** 62n,
  };
}

const outcome = async (spec: MemberSpec): Promise<string> => {
  const overlay = await open();
  return await overlay.join(spec).then(() => 'joins', reasonOf);
};

test('an external target is granted, an internal one or a part of it is not', async () => {
  expect(await outcome(guest('10.2.0.0/24', '10.1.77.10/32'))).toBe('joins');
  expect(await outcome(guest('10.2.0.0/24', '192.168.77.10/32'))).toBe('TARGET_NOT_ALLOWED');
  expect(await outcome(guest('10.2.0.0/24', '192.168.0.0/16'))).toBe('TARGET_NOT_ALLOWED');
});

test.each(['192.168.77.0/25', '10.1.0.0/16'])('a peer behind %s would take our own addresses away', async (prefix) => {
  expect(await outcome(guest(prefix, '10.1.77.10/32'))).toBe('PREFIX_OVERLAP');
});
