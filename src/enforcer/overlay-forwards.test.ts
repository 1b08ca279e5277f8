/** Who may reach whom through us: while both are members, and no later. */
import { expect, test } from 'vitest';
import { reasonOf, ShellstreamError } from '../../protocol/errors.ts';
import { parsePrefix } from '../../protocol/net/prefix.ts';
import { nodeCrypto } from '../base/crypto-node.ts';
import { createMemoryDataPlane } from '../dataplane/memory/index.ts';
import type { Forward } from '../dataplane/ports.ts';
import { type MemberSpec, Overlay } from './overlay.ts';

const [A, B] = ['spiffe://a.test/gateway', 'spiffe://b.test/gateway'];

async function scene() {
  const dataplane = createMemoryDataPlane();
  let inKernel: readonly Forward[] = [];
  let isBroken = false;
  const setForwards = dataplane.flows.setForwards.bind(dataplane.flows);
  dataplane.flows.setForwards = async (forwards) => {
    if (isBroken && forwards.length > 0) throw new ShellstreamError('DATAPLANE_FULL');
    await setForwards(forwards);
    inKernel = forwards;
  };
  const overlay = await Overlay.open(dataplane, nodeCrypto, {
    interfaceName: 'shsa-0',
    listenPort: 1,
    mtu: 1_420,
    addresses: [parsePrefix('10.99.0.1/32')],
    slots: 8,
    forwards: [{ from: A, to: B }],
  });
  const breaks = (is: boolean): void => {
    isBroken = is;
  };
  return { dataplane, overlay, inKernel: () => inKernel, breaks };
}

function member(spiffeId: string, prefix: string, direction: 'hosted' | 'visited'): MemberSpec {
  return {
    spiffeId,
    publicKey: nodeCrypto.x25519Generate().publicKey,
    presharedKey: new Uint8Array(32),
    keepalive: 0,
    prefixes: [parsePrefix(prefix)],
    hosted: [],
    visited: [],
    [direction]: [{ prefix: parsePrefix('10.2.0.10/32'), protocol: 6, port: 443, floor: 3 }],
    level: 5,
    expiresAtBootNs: 2n ** 62n,
  };
}

const specA = () => member(A, '10.1.0.0/24', 'hosted');
const specB = () => member(B, '10.2.0.0/24', 'visited');

test('only while both are there, in that direction, and for nobody else', async () => {
  const { overlay, inKernel } = await scene();
  await overlay.join(member('spiffe://c.test/gateway', '10.3.0.0/24', 'hosted'));
  const a = await overlay.join(specA());
  expect(inKernel()).toEqual([]);
  const b = await overlay.join(specB());
  const both = [{ from: a.session.peerSlot, to: b.session.peerSlot }];
  expect(inKernel()).toEqual(both);
  const again = await overlay.rejoin(b, { ...b.spec, level: 4 });
  expect(inKernel()).toEqual(both);
  await overlay.leave(again);
  expect(inKernel()).toEqual([]);
});

test('whoever gets the place of one that left does not get what that one was allowed', async () => {
  const { overlay, inKernel } = await scene();
  const a = await overlay.join(specA());
  await overlay.join(specB());
  await overlay.leave(a);
  const c = await overlay.join(member('spiffe://c.test/gateway', '10.1.0.0/24', 'hosted'));
  expect(c.session.peerSlot).toBe(a.session.peerSlot);
  expect(inKernel()).toEqual([]);
});

test('a member whose forwards cannot be written does not join, and leaves nothing', async () => {
  const { dataplane, overlay, inKernel, breaks } = await scene();
  await overlay.join(specA());
  const before = dataplane.flows.entries;
  breaks(true);
  await expect(overlay.join(specB()).catch((error: unknown) => reasonOf(error))).resolves.toBe('DATAPLANE_FULL');
  expect(overlay.members.map(({ spec }) => spec.spiffeId)).toEqual([A]);
  expect([dataplane.flows.entries, inKernel()]).toEqual([before, []]);
  breaks(false);
  await overlay.join(specB());
  expect(inKernel()).toHaveLength(1);
});
