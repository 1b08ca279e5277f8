import { beforeEach, describe, expect, it } from 'vitest';
import { silentLogger } from '../../base/logger.ts';
import { SimulatedClock } from '../../base/simulated-clock.ts';
import { createMemoryFlows, type MemoryFlows } from '../../dataplane/memory/flows.ts';
import { PostureEngine } from '../engine.ts';
import type { KeptPosture } from '../kept.ts';
import { type FollowedMap, followMap } from './posture-map.ts';

let flows: MemoryFlows;
let engine: PostureEngine;
let map: FollowedMap;
let kept: KeptPosture | undefined;

beforeEach(async () => {
  kept = undefined;
  flows = createMemoryFlows();
  await run(false);
});

describe('what the map says', () => {
  it('is followed', async () => {
    await writes(2);
    expect([engine.level, await slots()]).toEqual([2, [2, 2]]);
    await writes(5);
    expect(engine.level).toBe(5);
  });

  it('of before a reboot holds, until something else is said', async () => {
    await writes(1);
    flows = createMemoryFlows();
    await run(false);
    expect(engine.level).toBe(1);
    await writes(4);
    expect(engine.level).toBe(4);
  });

  it('while no gateway ran counts at the start', async () => {
    await writes(2);
    flows.setExternalPosture(5);
    await run(true);
    expect(engine.level).toBe(5);
  });

  it('attack: whoever removes the map while no gateway runs loosens nothing', async () => {
    await writes(1);
    flows = createMemoryFlows();
    await run(true);
    expect(engine.level).toBe(1);
  });

  it.each([
    ['removes the map while no gateway runs', true],
    ['reboots the host', false],
  ])(
    'attack: whoever %s and has the gateway restart again loosens nothing, until the map speaks',
    async (_, isSameBoot) => {
      await writes(1);
      flows = createMemoryFlows();
      await run(isSameBoot);
      for (let again = 0; again < 3; again += 1) {
        await run(true);
        expect([engine.level, await slots()]).toEqual([1, [5, 1]]);
      }
      await writes(4);
      expect(engine.level).toBe(4);
      await run(true);
      expect(engine.level).toBe(4);
    },
  );

  it('of before a reboot can be set aside, and ends when the map says more while no gateway runs', async () => {
    await writes(1);
    flows = createMemoryFlows();
    await run(false);
    map[Symbol.dispose]();
    flows.setExternalPosture(3);
    await run(true);
    expect(engine.level).toBe(3);
    await writes(1);
    flows = createMemoryFlows();
    await run(false);
    await engine.setAside('former-map');
    expect(engine.level).toBe(5);
    await run(true);
    expect(engine.level).toBe(5);
  });
});

describe('a map that a site_owner set aside', () => {
  beforeEach(async () => {
    await writes(2);
    await engine.setAside('map');
  });

  it('is told as what packets go by still, until its writer says more', async () => {
    expect(engine.level).toBe(5);
    expect(map.problems).toEqual([expect.stringContaining('slot 0 still says 2, and packets go by it')]);
    await writes(5);
    expect(map.problems).toEqual([]);
  });

  it('stays aside over a restart, and counts again with its next word', async () => {
    await run(true);
    expect([engine.level, map.problems]).toEqual([5, [expect.stringContaining('slot 0 still says 2')]]);
    await writes(3);
    expect(engine.level).toBe(3);
  });
});

async function writes(raw: number): Promise<void> {
  flows.setExternalPosture(raw);
  await engine.start(steps());
}

async function slots(): Promise<readonly number[]> {
  const { external, own } = await flows.posture();
  return [external, own];
}

/** The next run of the node, over whatever the former one kept and left in the kernel. */
async function run(isSameBoot: boolean): Promise<void> {
  map?.[Symbol.dispose]();
  const store = {
    save: async (posture: KeptPosture) => {
      kept = posture;
    },
  };
  const clock = new SimulatedClock();
  engine = new PostureEngine({ clock, log: silentLogger, store, kept, initial: 5, firstEpoch: 1n });
  map = await followMap({ flows, log: silentLogger, posture: engine, isSameBoot });
  await engine.start(steps());
}

function steps(): Parameters<PostureEngine['start']>[0] {
  return {
    dataPlane: [{ name: 'posture map', apply: (level) => flows.setPosture(level) }],
    admission: { name: 'admission', apply: () => undefined },
    sessionLayer: [],
  };
}
