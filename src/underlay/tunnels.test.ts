/** A governed route beside a tunnel's prefix would lead its packets out in the clear: whichever of the two came first. */
import { expect, test } from 'vitest';
import { reasonOf } from '../../protocol/errors.ts';
import { formatPrefix, parsePrefix } from '../../protocol/net/prefix.ts';
import { nodeCrypto } from '../base/crypto-node.ts';
import { createMemoryDataPlane } from '../dataplane/memory/index.ts';
import { type MemberSpec, Overlay } from '../enforcer/overlay.ts';
import { adding, MemoryHost, OWNER, spec } from './fixtures.ts';
import type { GovernedParts, GovernedRoutes } from './governed-routes.ts';
import { NO_WITNESS, type TunnelRoutes } from './ports.ts';

const INSIDE = '10.2.5.0/24';
const AROUND = '10.0.0.0/8';
const ELSEWHERE = '10.9.0.0/24';
const TUNNEL = '10.2.0.0/16';

/** A host with governed routes and an overlay, joined as the gateway joins them. */
async function scene(changes: Partial<GovernedParts> = {}) {
  const dataplane = createMemoryDataPlane();
  const host = await MemoryHost.create(dataplane.network);
  let overlay: Overlay | undefined;
  const tunnels = (): TunnelRoutes | undefined => {
    const tunnel = overlay;
    if (tunnel === undefined) return undefined;
    return {
      prefixes: tunnel.members.flatMap(({ spec: { prefixes } }) => prefixes),
      follow: () => tunnel.followRoutes(),
    };
  };
  const routes = host.start(5, { tunnels, ...changes });
  overlay = await Overlay.open(dataplane, nodeCrypto, {
    interfaceName: 'shsb-0',
    listenPort: 1,
    mtu: 1_420,
    addresses: [parsePrefix('10.99.0.1/32')],
    slots: 8,
    routed: routes.routed,
  });
  await routes.apply(5);
  const tunnel = overlay;
  const add = (destination: string) =>
    routes.change({ change: adding(spec(destination)), owner: OWNER, by: OWNER }).then(() => 'done', reasonOf);
  const lan = await host.link('lan');
  const live = async (): Promise<readonly string[]> =>
    (await host.network.routes())
      .filter(({ ifindex }) => ifindex === lan)
      .map(({ destination }) => formatPrefix(destination))
      .sort();
  /** A tunnel comes up, and the kernel takes its time over that one's routes until it is let go on. */
  const slowJoin = () => {
    const { network } = dataplane;
    const { addRoutes } = network;
    const { promise, resolve } = Promise.withResolvers<void>();
    network.addRoutes = async (added) => {
      if (added.some(({ ifindex }) => ifindex !== lan)) await promise;
      await addRoutes.call(network, added);
    };
    return { joined: tunnel.join(member(TUNNEL)), goOn: resolve };
  };
  return { dataplane, host, overlay, routes, tunnels, add, live, slowJoin };
}

function member(...prefixes: readonly string[]): MemberSpec {
  return {
    spiffeId: 'spiffe://b.test/gateway',
    publicKey: nodeCrypto.x25519Generate().publicKey,
    presharedKey: new Uint8Array(32),
    keepalive: 0,
    prefixes: prefixes.map(parsePrefix),
    hosted: [],
    visited: [],
    level: 5,
    expiresAtBootNs: 2n ** 62n,
  };
}

const told = ({ differences }: GovernedRoutes): readonly string[] =>
  differences.map(({ kind, route }) => `${kind} ${formatPrefix(route.destination)}`);
/** What follows a tunnel runs on its own; nothing here waits for a clock. */
const quiet = (): Promise<void> => new Promise((resolve) => void setImmediate(resolve));

test.each([INSIDE, TUNNEL])('attack: a route to %s of before the tunnel goes when that comes up', async (to) => {
  const { overlay, routes, add, live } = await scene();
  expect([await add(to), await add(ELSEWHERE)]).toEqual(['done', 'done']);
  await overlay.join(member(TUNNEL));
  await quiet();
  expect(await live()).toEqual([ELSEWHERE]);
  expect(told(routes)).toEqual([`tunnelled ${to}`]);
});

test.each([AROUND, '10.2.0.0/15'])(
  'a wider route, to %s, stays: the tunnel’s own packets may leave by it',
  async (to) => {
    const { overlay, routes, add, live } = await scene();
    await add(to);
    await overlay.join(member(TUNNEL));
    await quiet();
    await routes.review();
    expect([await live(), told(routes)]).toEqual([[to], []]);
  },
);

test('a tunnel to elsewhere takes nothing', async () => {
  const { overlay, routes, add, live } = await scene();
  await add(ELSEWHERE);
  await overlay.join(member(TUNNEL));
  await quiet();
  expect([await live(), told(routes)]).toEqual([[ELSEWHERE], []]);
});

test('attack: a tunnel that gets the prefix when it attests anew takes the route away, too', async () => {
  const { overlay, routes, add, live } = await scene();
  await add(INSIDE);
  const first = member('10.99.0.2/32');
  const joined = await overlay.join(first);
  await quiet();
  expect(await live()).toEqual([INSIDE]);
  await overlay.rejoin(joined, { ...first, prefixes: [...first.prefixes, parsePrefix(TUNNEL)] });
  await quiet();
  expect([await live(), told(routes)]).toEqual([[], [`tunnelled ${INSIDE}`]]);
});

test('no transition and no drift check brings it back beside the tunnel', async () => {
  const { host, overlay, routes, add, live } = await scene();
  await add(INSIDE);
  await overlay.join(member(TUNNEL));
  await quiet();
  for (const level of [4, 5] as const) {
    await routes.apply(level);
    expect([level, await live()]).toEqual([level, []]);
  }
  await host.clock.advance(300_000);
  expect([await live(), told(routes)]).toEqual([[], [`tunnelled ${INSIDE}`]]);
  expect((await routes.preview(4)).add).toEqual([]);
});

test('when the tunnel goes it stays away and is told, until it is asked for anew', async () => {
  const { overlay, routes, add, live } = await scene();
  await routes.apply(4);
  await add(INSIDE);
  const joined = await overlay.join(member(TUNNEL));
  await quiet();
  expect(await add(INSIDE)).toBe('PREFIX_OVERLAP');
  await overlay.leave(joined);
  for (const level of [3, 4, 5] as const) {
    await routes.apply(level);
    expect([await live(), told(routes)]).toEqual([[], [`drifted ${INSIDE}`]]);
  }
  expect(await add(INSIDE)).toBe('done');
  expect([await live(), told(routes)]).toEqual([[INSIDE], [`drifted ${INSIDE}`]]);
  await routes.review();
  expect(told(routes)).toEqual([]);
});

test('attack: a run that goes on with its tunnels puts no recorded route beside them', async () => {
  const { host, overlay, routes, add, live, tunnels } = await scene();
  await add(INSIDE);
  await routes[Symbol.asyncDispose]();
  await overlay.join(member(TUNNEL));
  const next = host.start(5, { tunnels });
  await next.apply(5);
  expect([await live(), told(next)]).toEqual([[], [`tunnelled ${INSIDE}`]]);
});

test('before its first transition a run asks for no tunnels: those of a former run are taken back meanwhile', async () => {
  const host = await MemoryHost.create();
  let asked = 0;
  const tunnels = (): undefined => {
    asked += 1;
  };
  host.start(5, { tunnels }).routed(member(TUNNEL));
  await quiet();
  expect(asked).toBe(0);
});

test('attack: a route that the kernel does not let go is told', async () => {
  const { host, overlay, routes, add } = await scene();
  await add(INSIDE);
  host.network.removeRoutes = async () => {
    throw new Error('the kernel says no');
  };
  await overlay.join(member(TUNNEL));
  await quiet();
  expect(told(routes)).toEqual([`tunnelled ${INSIDE}`]);
});

test('a tunnel that could not be put up takes its claim with it: the route is refused no longer', async () => {
  const { dataplane, overlay, add, live } = await scene();
  await add(INSIDE);
  const { addRoutes } = dataplane.network;
  dataplane.network.addRoutes = async () => {
    throw new Error('the kernel says no');
  };
  await expect(overlay.join(member(TUNNEL))).rejects.toThrow('the kernel says no');
  dataplane.network.addRoutes = addRoutes;
  await quiet();
  expect(await live()).toEqual([]);
  expect(await add(INSIDE)).toBe('done');
  expect(await live()).toEqual([INSIDE]);
});

test('attack: a change waits for a tunnel that is halfway up, and is refused beside it', async () => {
  const { add, live, slowJoin } = await scene();
  const { joined, goOn } = slowJoin();
  await quiet();
  const added = add(INSIDE);
  await quiet();
  expect(await live()).toEqual([]);
  goOn();
  await joined;
  expect(await added).toBe('PREFIX_OVERLAP');
  expect(await live()).toEqual([]);
});

test('attack: a tunnel that is halfway up when the intent of a change is kept has it refused', async () => {
  let slow: { readonly joined: Promise<unknown>; goOn(): void } | undefined;
  const intent = async (): Promise<void> => {
    slow = slowJoin();
    await quiet();
  };
  const { add, live, slowJoin } = await scene({ witness: { ...NO_WITNESS, intent } });
  expect(await add(INSIDE)).toBe('PREFIX_OVERLAP');
  slow?.goOn();
  await slow?.joined;
  expect(await live()).toEqual([]);
});

test.each([0, 1, 2, 3, 4, 6, 8, 10, 12, 14, 16, 20, 30, 40])(
  'attack: the tunnel comes up %i turns after the change began: they never stand side by side',
  async (turns) => {
    const { overlay, add, live } = await scene();
    const added = add(INSIDE);
    for (let turn = 0; turn < turns; turn += 1) await undefined;
    await overlay.join(member(TUNNEL));
    await added;
    await quiet();
    expect(await live()).toEqual([]);
    expect(await add(INSIDE)).toBe('PREFIX_OVERLAP');
  },
);

test.each([0, 1, 2, 3, 4, 6, 8, 10, 12, 14, 16, 20, 30, 40])(
  'attack: the change begins %i turns after the tunnel: they never stand side by side',
  async (turns) => {
    const { overlay, add, live } = await scene();
    const joined = overlay.join(member(TUNNEL));
    for (let turn = 0; turn < turns; turn += 1) await undefined;
    await add(INSIDE);
    await joined;
    await quiet();
    expect(await live()).toEqual([]);
  },
);
