/** What every driver of links and routes must do: run on the memory driver and on Linux. */
import { describe, expect, test } from 'vitest';
import { parseAddress } from '../../protocol/net/address.ts';
import { parseInterfaceAddress, parsePrefix } from '../../protocol/net/prefix.ts';
import type { Link, NetworkLinks, Route } from './ports.ts';
import { routeText } from './route-rules.ts';

export interface NetworkWorld extends AsyncDisposable {
  readonly network: NetworkLinks;
  /** A link that is down. */
  readonly ifindex: number;
  /** Another one. */
  readonly otherIfindex: number;
  /** Puts a route there as another program would. */
  addForeignRoute(route: Route): Promise<void>;
  /** Of all programs: the routes to exactly this destination in the main table, as link numbers. */
  linksTowards(destination: string): Promise<readonly number[]>;
  /** A further link that is down, as another program makes it; its number. */
  addLink(name: string): Promise<number>;
  removeLink(ifindex: number): Promise<void>;
  /** Sets `ifindex` down and up hundreds of times, while nothing else of this process gets to run. It is up in the end. */
  storm(): void;
}

export function networkContract(makeWorld: () => Promise<NetworkWorld>): void {
  describe('links', () => {
    test('go up and down, and a link that is not there is an error', async () => {
      await using world = await makeWorld();
      const isUp = async (): Promise<boolean | undefined> =>
        (await world.network.links()).find((link) => link.ifindex === world.ifindex)?.up;
      expect(await isUp()).toBe(false);
      await world.network.setUp(world.ifindex);
      await world.network.setUp(world.ifindex);
      expect(await isUp()).toBe(true);
      await world.network.setDown(world.ifindex);
      expect(await isUp()).toBe(false);
      await expect(world.network.setUp(4_000_000)).rejects.toMatchObject({ reason: 'DATAPLANE_FAILED' });
    });

    test('tell the loopback from the others', async () => {
      await using world = await makeWorld();
      const links = await world.network.links();
      expect(links.filter((link) => link.loopback).map((link) => link.name)).toEqual(['lo']);
    });

    test('take addresses of both families, the same one twice', async () => {
      await using world = await makeWorld();
      for (const text of ['10.9.0.1/24', '10.9.0.1/24', 'fd09::1/64', 'fd09::1/64']) {
        await world.network.addAddress(world.ifindex, parseInterfaceAddress(text));
      }
      const sound = parseInterfaceAddress('10.9.0.1/24');
      const refused = [
        [4_000_000, sound],
        [world.ifindex, { address: new Uint8Array(5), length: 8 }],
        [world.ifindex, { address: new Uint8Array(4), length: 33 }],
      ] as const;
      for (const [ifindex, address] of refused) {
        await expect(world.network.addAddress(ifindex, address)).rejects.toMatchObject({ reason: 'DATAPLANE_FAILED' });
      }
    });
  });

  describe('routes', () => {
    test('of both families, with gateway, metric and table, are read back as they were added', async () => {
      await using world = await makeUp();
      const routes: Route[] = [
        route(world, '10.1.0.0/16'),
        { ...route(world, '10.1.0.0/16'), metric: 50 },
        { ...route(world, '10.2.0.0/16'), gateway: parseAddress('192.0.2.1') },
        { ...route(world, '10.3.0.0/16'), table: 1000 },
        { ...route(world, '0.0.0.0/0'), table: 1000 },
        route(world, 'fd01::/32'),
        { ...route(world, 'fd02::/32'), gateway: parseAddress('fe80::1'), metric: 7 },
        { ...route(world, '::/0'), table: 1000 },
      ];
      await world.network.addRoutes(routes);
      expect(texts(await world.network.routes())).toEqual(texts(routes));
    });

    test('are removed exactly: another metric, link or gateway is another route', async () => {
      await using world = await makeUp();
      const kept = { ...route(world, '10.1.0.0/16'), metric: 50 };
      await world.network.addRoutes([kept]);
      await world.network.removeRoutes([
        route(world, '10.1.0.0/16'),
        { ...kept, ifindex: world.otherIfindex },
        { ...kept, gateway: parseAddress('192.0.2.1') },
        route(world, '10.99.0.0/16'),
      ]);
      expect(texts(await world.network.routes())).toEqual(texts([kept]));
      await world.network.removeRoutes([kept]);
      await world.network.removeRoutes([kept]);
      expect(await world.network.routes()).toEqual([]);
    });

    test('are replaced in their place, by the latest', async () => {
      await using world = await makeUp();
      for (const destination of ['10.1.0.0/16', 'fd01::/32']) {
        const first = route(world, destination);
        const second = { ...first, ifindex: world.otherIfindex };
        await world.network.addRoutes([first]);
        await world.network.addRoutes([first]);
        await world.network.addRoutes([second]);
        expect(await world.linksTowards(destination)).toEqual([world.otherIfindex]);
      }
      expect(await world.network.routes()).toHaveLength(2);
    });

    test('of another program are neither listed, replaced nor removed, and none of the batch stays', async () => {
      await using world = await makeUp();
      for (const destination of ['10.1.0.0/16', 'fd01::/32']) {
        const foreign = route(world, destination);
        await world.addForeignRoute(foreign);
        const ours = { ...foreign, ifindex: world.otherIfindex };
        const batch = [route(world, '10.7.0.0/16'), ours, route(world, 'fd07::/32')];
        await expect(world.network.addRoutes(batch)).rejects.toMatchObject({ reason: 'DATAPLANE_FAILED' });
        await world.network.removeRoutes([foreign]);
        expect(await world.network.routes()).toEqual([]);
        expect(await world.linksTowards(destination)).toEqual([world.ifindex]);
      }
    });

    test('that fail are named, and none of the batch stays', async () => {
      await using world = await makeUp();
      const wrong = { ...route(world, '10.5.0.0/16'), ifindex: 4_000_000 };
      await expect(world.network.addRoutes([route(world, '10.4.0.0/16'), wrong])).rejects.toThrow(
        /10\.5\.0\.0\/16.*4000000|4000000/,
      );
      expect(await world.network.routes()).toEqual([]);
    });

    test('with host bits, a gateway of the other family or numbers out of range are refused', async () => {
      await using world = await makeUp();
      const sound = route(world, '10.1.0.0/16');
      const refused: Route[] = [
        { ...sound, destination: parseInterfaceAddress('10.1.2.3/16') },
        { ...sound, gateway: parseAddress('fe80::1') },
        { ...sound, table: 0 },
        { ...sound, metric: -1 },
        { ...sound, ifindex: 0 },
      ];
      for (const wrong of refused) {
        await expect(world.network.addRoutes([wrong])).rejects.toMatchObject({ reason: 'DATAPLANE_FAILED' });
      }
    });

    test('need a link that is up, and go with it', async () => {
      await using world = await makeWorld();
      const wanted = [route(world, '10.1.0.0/16'), route(world, 'fd01::/32')];
      for (const one of wanted) {
        await expect(world.network.addRoutes([one])).rejects.toMatchObject({ reason: 'DATAPLANE_FAILED' });
      }
      await world.network.setUp(world.ifindex);
      await world.network.addRoutes(wanted);
      await world.network.setDown(world.ifindex);
      expect(await world.network.routes()).toEqual([]);
    });

    test('by the ten thousand are one batch, also when all are replaced', async () => {
      await using world = await makeUp();
      const routes = Array.from({ length: 10_000 }, (_, n) => route(world, `10.${n >> 8}.${n & 255}.0/24`));
      await world.network.addRoutes(routes);
      expect(await world.network.routes()).toHaveLength(10_000);
      const moved = routes.map((one) => ({ ...one, ifindex: world.otherIfindex }));
      await world.network.addRoutes(moved);
      expect(texts(await world.network.routes())).toEqual(texts(moved));
      await world.network.removeRoutes(moved);
      expect(await world.network.routes()).toEqual([]);
    });
  });

  describe('a watch of links', () => {
    test('tells of one that comes, is set up, is set down, and goes', async () => {
      await using world = await makeWorld();
      using watch = new WatchedLinks(world.network);
      const ifindex = await world.addLink('late');
      await watch.shows((links) => stateOf(links, ifindex) === 'down');
      await world.network.setUp(ifindex);
      await watch.shows((links) => stateOf(links, ifindex) === 'up');
      await world.network.setDown(ifindex);
      await watch.shows((links) => stateOf(links, ifindex) === 'down');
      await world.removeLink(ifindex);
      await watch.shows((links) => stateOf(links, ifindex) === 'gone');
    });

    test('attack: a storm is told in a few calls, and the last one sees how it ended', async () => {
      await using world = await makeWorld();
      using watch = new WatchedLinks(world.network);
      world.storm();
      await watch.shows((links) => stateOf(links, world.ifindex) === 'up');
      // By the time that a later change is told of, nothing of the storm is still on its way.
      const late = await world.addLink('late');
      await watch.shows((links) => stateOf(links, late) === 'down');
      expect(watch.calls).toBeLessThan(20);
    });

    test('tells nothing after its end, which may come twice; others go on', async () => {
      await using world = await makeWorld();
      using other = new WatchedLinks(world.network);
      let calls = 0;
      const ended = world.network.watchLinks({
        changed: () => {
          calls += 1;
        },
        ended: (problem) => expect.fail(problem),
      });
      ended[Symbol.dispose]();
      ended[Symbol.dispose]();
      await world.network.setUp(world.ifindex);
      await other.shows((links) => stateOf(links, world.ifindex) === 'up');
      expect(calls).toBe(0);
    });
  });

  async function makeUp(): Promise<NetworkWorld> {
    const world = await makeWorld();
    await world.network.setUp(world.ifindex);
    await world.network.setUp(world.otherIfindex);
    return world;
  }
}

const MAIN_TABLE = 254;

/** Looks whenever it is told to. */
class WatchedLinks implements Disposable {
  calls = 0;
  readonly #watch: Disposable;
  #told = Promise.withResolvers<void>();
  readonly #network: NetworkLinks;

  constructor(network: NetworkLinks) {
    this.#network = network;
    this.#watch = network.watchLinks({
      changed: () => {
        this.calls += 1;
        this.#told.resolve();
      },
      ended: (problem) => this.#told.reject(new Error(problem)),
    });
  }

  /** Resolves when what is seen after a call is so. */
  async shows(isSo: (links: readonly Link[]) => boolean): Promise<void> {
    do {
      await this.#told.promise;
      this.#told = Promise.withResolvers();
    } while (!isSo(await this.#network.links()));
  }

  [Symbol.dispose](): void {
    this.#watch[Symbol.dispose]();
  }
}

function stateOf(links: readonly Link[], ifindex: number): 'up' | 'down' | 'gone' {
  const link = links.find((one) => one.ifindex === ifindex);
  if (link === undefined) return 'gone';
  return link.up ? 'up' : 'down';
}

function route(world: NetworkWorld, destination: string): Route {
  return { destination: parsePrefix(destination), ifindex: world.ifindex, table: MAIN_TABLE };
}

function texts(routes: readonly Route[]): string[] {
  return routes.map(routeText).sort();
}
