/** What of a member's prefixes is routed follows the level: whoever joins, leaves or comes back meanwhile. */
import { expect, test } from 'vitest';
import { formatPrefix, parsePrefix } from '../../protocol/net/prefix.ts';
import { nodeCrypto } from '../base/crypto-node.ts';
import { createMemoryDataPlane } from '../dataplane/memory/index.ts';
import { type MemberSpec, Overlay } from './overlay.ts';

const NARROW = parsePrefix('10.2.0.20/32');

async function scene() {
  const dataplane = createMemoryDataPlane();
  let narrows = false;
  const overlay = await Overlay.open(dataplane, nodeCrypto, {
    interfaceName: 'shsa-0',
    listenPort: 1,
    mtu: 1_420,
    addresses: [parsePrefix('10.99.0.1/32'), parsePrefix('fd99::1/128')],
    slots: 8,
    routed: ({ prefixes }) => (narrows ? [NARROW] : prefixes),
  });
  const routes = async () =>
    (await dataplane.network.routes()).map(({ destination }) => formatPrefix(destination)).sort();
  const narrow = async (is: boolean): Promise<void> => {
    narrows = is;
    await overlay.followRoutes();
  };
  const addresses = () => dataplane.network.addresses(overlay.device.ifindex).map(formatPrefix);
  return { overlay, routes, narrow, addresses };
}

const MEMBER: MemberSpec = {
  spiffeId: 'spiffe://b.test/gateway',
  publicKey: nodeCrypto.x25519Generate().publicKey,
  presharedKey: new Uint8Array(32),
  keepalive: 0,
  prefixes: [parsePrefix('10.2.0.0/24'), parsePrefix('10.99.0.2/32')],
  hosted: [],
  visited: [{ prefix: NARROW, protocol: 6, port: 443, floor: 2, class: 'management' }],
  level: 5,
  expiresAtBootNs: 2n ** 62n,
};
const WHOLE = ['10.2.0.0/24', '10.99.0.2/32'];

test('routes shrink and come back with the level', async () => {
  const { overlay, routes, narrow } = await scene();
  await overlay.join(MEMBER);
  expect(await routes()).toEqual(WHOLE);
  await narrow(true);
  expect(await routes()).toEqual(['10.2.0.20/32']);
  await narrow(false);
  expect(await routes()).toEqual(WHOLE);
});

test('whoever joins at a level has what that leaves, and leaves nothing behind', async () => {
  const { overlay, routes, narrow } = await scene();
  await narrow(true);
  const member = await overlay.join(MEMBER);
  expect(await routes()).toEqual(['10.2.0.20/32']);
  await narrow(false);
  await overlay.leave(member);
  expect(await routes()).toEqual([]);
});

test('a member that outlasts the device’s lockdown has its routes again, though the level rose before it was up', async () => {
  const { overlay, routes, narrow } = await scene();
  await overlay.join(MEMBER);
  await overlay.close();
  await narrow(true);
  expect(await routes()).toEqual([]);
  await narrow(false);
  await overlay.reopen(5);
  expect(await routes()).toEqual(WHOLE);
});

test('after a lockdown the device has its addresses of both families, though Linux takes those of IPv6 from one that is down', async () => {
  const { overlay, addresses } = await scene();
  await overlay.close();
  expect(addresses()).toEqual(['10.99.0.1/32']);
  await overlay.reopen(2);
  expect(addresses()).toEqual(['10.99.0.1/32', 'fd99::1/128']);
});
