import { beforeEach, describe, expect, it } from 'vitest';
import { silentLogger } from '../base/logger.ts';
import { SimulatedClock } from '../base/simulated-clock.ts';
import { createMemoryFlows, type MemoryFlows } from '../dataplane/memory/flows.ts';
import { MemoryNetwork } from '../dataplane/memory/network.ts';
import { Isolation, keepCovered } from './isolation.ts';

let flows: MemoryFlows;
let network: MemoryNetwork;
let isolation: Isolation;

beforeEach(() => {
  flows = createMemoryFlows();
  network = new MemoryNetwork();
  isolation = new Isolation(
    { flows, network },
    { initial: 5, leaseSeconds: 10, isolate: 'all-but-loopback', allowAtLockdown: [] },
  );
});

describe('isolation', () => {
  it('attack: an interface that comes at lockdown is shut like the others, without a change of the level', async () => {
    network.plug('wan');
    await isolation.cover();
    const clock = new SimulatedClock();
    using _ = keepCovered(isolation, { clock, log: silentLogger, posture: { level: 1 } });
    const late = network.plug('late');
    await clock.advance(100);
    expect(flows.attached).toContain(late);
  });

  it('attack: one interface that cannot be had keeps no other open', async () => {
    const broken = network.plug('a');
    const other = network.plug('b');
    const attach = flows.attach.bind(flows);
    flows.attach = async (attachment) => {
      if (attachment.ifindex === broken) throw new Error('no such device');
      await attach(attachment);
    };
    await expect(isolation.cover()).rejects.toThrow('1 interfaces are not isolated');
    expect(flows.attached).toEqual([other]);
    expect(isolation.links.map(({ name }) => name)).toEqual(['b']);
  });
});
