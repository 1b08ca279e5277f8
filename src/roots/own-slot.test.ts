import { expect, it } from 'vitest';
import type { PostureLevel } from '../../protocol/posture/index.ts';
import { silentLogger } from '../base/logger.ts';
import { SimulatedClock } from '../base/simulated-clock.ts';
import { createMemoryFlows } from '../dataplane/memory/flows.ts';
import { guardOwnSlot } from './own-slot.ts';

it('attack: a looser number in our own slot is put back, a stricter one is a change under way', async () => {
  const clock = new SimulatedClock();
  const flows = createMemoryFlows();
  const posture: { level: PostureLevel } = { level: 1 };
  const own = async (): Promise<number> => (await flows.posture()).own;
  using _ = guardOwnSlot({ clock, log: silentLogger, flows, posture });
  await flows.setPosture(5);
  await clock.advance(1_000);
  expect(await own()).toBe(1);
  posture.level = 5;
  await clock.advance(5_000);
  expect(await own()).toBe(1);
});
