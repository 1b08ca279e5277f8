import { beforeEach, describe, expect, it } from 'vitest';
import { MemorySites } from '../../test/support/memory-sites.ts';
import { type Logger, silentLogger } from '../base/logger.ts';
import { SimulatedClock } from '../base/simulated-clock.ts';
import { createMemoryFlows, type MemoryFlows } from '../dataplane/memory/flows.ts';
import { MemoryNetwork } from '../dataplane/memory/network.ts';
import { type CoverParts, Isolation, keepCovered } from './isolation.ts';

let flows: MemoryFlows;
let network: MemoryNetwork;
let isolation: Isolation;
let clock: SimulatedClock;
let parts: CoverParts;
let errors: string[];

beforeEach(() => {
  flows = createMemoryFlows();
  network = new MemoryNetwork();
  isolation = new Isolation(
    { flows, network },
    { initial: 5, leaseSeconds: 10, isolate: 'all-but-loopback', allowAtLockdown: [] },
  );
  clock = new SimulatedClock();
  errors = [];
  const log: Logger = { ...silentLogger, error: (message) => void errors.push(message) };
  parts = { clock, log, network, posture: { level: 1 } };
});

describe('isolation', () => {
  it('attack: one interface that cannot be had keeps no other open', async () => {
    const broken = network.plug('a');
    const other = network.plug('b');
    refuse(broken);
    await expect(isolation.cover()).rejects.toThrow('1 interfaces are not isolated');
    expect(flows.attached).toEqual([other]);
    expect(isolation.links.map(({ name }) => name)).toEqual(['b']);
  });

  it('one that went before it could be had is no failure', async () => {
    const brief = network.plug('brief');
    const other = network.plug('other');
    refuse(brief, () => network.unplug(brief));
    await isolation.cover();
    expect(flows.attached).toEqual([other]);
  });

  it('attack: interfaces that come and go use up no room for others', async () => {
    const kept = network.plug('kept');
    for (let n = 0; n < 10; n++) {
      const brief = network.plug(`brief${n}`);
      await isolation.cover();
      expect(flows.attached).toEqual([kept, brief]);
      network.unplug(brief);
    }
    await isolation.cover();
    expect(flows.attached).toEqual([kept]);
  });
});

describe('isolation of interfaces that come later', () => {
  it('attack: one that comes at lockdown is shut at once, without a change of the level and with no time passing', async () => {
    await using _ = keepCovered(isolation, parts);
    await clock.advance(0);
    const late = network.plug('late');
    await clock.advance(0);
    expect(flows.attached).toEqual([late]);
  });

  it('what came before anybody listened is found when it begins', async () => {
    const early = network.plug('early');
    await using _ = keepCovered(isolation, parts);
    await clock.advance(0);
    expect(flows.attached).toEqual([early]);
  });

  it.each([
    [1, 100],
    [5, 2_000],
  ] as const)(
    'where the kernel does not tell, at %i they are looked for every %i ms, and that is said once',
    async (level, ms) => {
      await using _ = keepCovered(isolation, { ...parts, posture: { level } });
      await clock.advance(0);
      network.endWatches('no buffer');
      const found: number[] = [];
      for (const name of ['one', 'two']) {
        await clock.advance(0);
        found.push(network.plug(name));
        await clock.advance(ms - 1);
        expect(flows.attached).toEqual(found.slice(0, -1));
        await clock.advance(1);
        expect(flows.attached).toEqual(found);
      }
      expect(errors).toEqual(['the kernel does not tell of new interfaces: they are looked for']);
    },
  );

  it('where the kernel never told of one, it is looked for from the beginning', async () => {
    const deaf: CoverParts['network'] = {
      watchLinks(watcher) {
        watcher.ended('not permitted');
        return { [Symbol.dispose]: () => undefined };
      },
    };
    await using _ = keepCovered(isolation, { ...parts, network: deaf });
    await clock.advance(0);
    const late = network.plug('late');
    await clock.advance(100);
    expect(flows.attached).toEqual([late]);
    expect(errors).toHaveLength(1);
  });

  it('they are looked for from time to time though the kernel tells of them', async () => {
    const silent = { watchLinks: () => ({ [Symbol.dispose]: () => undefined }) };
    await using _ = keepCovered(isolation, { ...parts, network: silent });
    await clock.advance(0);
    const late = network.plug('late');
    await clock.advance(2_000);
    expect(flows.attached).toEqual([late]);
    expect(errors).toEqual([]);
  });

  it('one that could not be had at lockdown is tried again soon, and said once', async () => {
    const attach = flows.attach;
    const broken = network.plug('a');
    refuse(broken);
    await using _ = keepCovered(isolation, parts);
    await clock.advance(300);
    expect(errors).toEqual(['not every interface is isolated']);
    flows.attach = attach;
    await clock.advance(100);
    expect(flows.attached).toEqual([broken]);
  });

  it('attack: a storm of changes while it looks is one more look', async () => {
    const slow = new SlowIsolation();
    await using _ = keepCovered(slow, parts);
    for (let n = 0; n < 1_000; n++) network.unplug(network.plug(`storm${n}`));
    await clock.advance(0);
    expect(slow.looks).toBe(1);
    for (let n = 0; n < 1_000; n++) {
      network.unplug(network.plug(`storm${n}`));
      await Promise.resolve();
    }
    slow.finish();
    await clock.advance(0);
    expect(slow.looks).toBe(2);
    slow.finish();
    await clock.advance(1_999);
    expect(slow.looks).toBe(2);
    expect(clock.pending).toEqual([1]);
    slow.finish();
  });

  it('its end waits for the look under way, and nothing begins after it', async () => {
    const slow = new SlowIsolation();
    const covered = keepCovered(slow, parts);
    network.plug('late');
    let isOver = false;
    const over = covered[Symbol.asyncDispose]().then(() => {
      isOver = true;
    });
    await clock.advance(0);
    expect(isOver).toBe(false);
    slow.finish();
    await over;
    await covered[Symbol.asyncDispose]();
    network.plug('later');
    await clock.advance(10_000);
    expect([slow.looks, clock.pending]).toEqual([1, []]);
  });

  it('a gateway listens for them', async () => {
    await using sites = await MemorySites.connected();
    sites.b.dataplane.network.endWatches('for the test');
    expect(sites.b.log.map(({ message }) => message)).toContain(
      'the kernel does not tell of new interfaces: they are looked for',
    );
  });
});

/** The data plane cannot have this interface. */
function refuse(ifindex: number, meanwhile: () => void = () => undefined): void {
  const attach = flows.attach.bind(flows);
  flows.attach = async (attachment) => {
    if (attachment.ifindex !== ifindex) return attach(attachment);
    meanwhile();
    throw new Error('no such device');
  };
}

/** Each look takes until it is told to be over. */
class SlowIsolation {
  looks = 0;
  finish: () => void = () => undefined;

  cover(): Promise<void> {
    this.looks += 1;
    const { promise, resolve } = Promise.withResolvers<void>();
    this.finish = resolve;
    return promise;
  }
}
