import { expect, test } from 'vitest';
import { sleep, systemClock } from '../base/clock.ts';
import { type FlowScene, SECOND } from './flows.contract.scene.ts';
import type { LevelSeen } from './ports.ts';

/** Levels as packets met them. */
export function levelContract(scene: FlowScene): void {
  test('a level is told once, by the first packet that met it, with its time and who held it there', async () => {
    const { on } = scene;
    const told: LevelSeen[] = [];
    using _ = on.flows.onLevelSeen((seen) => told.push(...seen));
    await scene.granted();
    const meet = async (count: number) => {
      const isTold = async () => {
        await on.judge(scene.request());
        return told.length >= count;
      };
      await until('the level was told', isTold);
      await on.pass(SECOND);
    };
    const began = on.now();
    await on.flows.setPosture(4);
    await until('the kernel’s own packets met what was before', async () => {
      await on.judge(scene.request());
      return told.at(-1)?.level === 4;
    });
    told.splice(0, told.length - 1);
    await meet(1);
    await on.flows.setPosture(3);
    await meet(2);
    // By another program, which tells nobody.
    await on.setExternal(2);
    await meet(3);
    await on.setExternal(0);
    await meet(4);
    await meet(4);
    const first = told[0]?.number ?? 0n;
    expect(told).toMatchObject([
      { level: 4, heldBy: 'own' },
      { from: 4, level: 3, heldBy: 'own', number: first + 1n },
      { from: 3, level: 2, heldBy: 'external', number: first + 2n },
      { from: 2, level: 1, heldBy: 'external', number: first + 3n },
    ]);
    for (const { atBootNs } of told) {
      expect(atBootNs).toBeGreaterThanOrEqual(began);
      expect(atBootNs).toBeLessThanOrEqual(on.now());
    }
  });

  test('attack: levels that are written faster than anybody can read are told as often as the bound lets', async () => {
    const { on } = scene;
    const told: LevelSeen[] = [];
    using _ = on.flows.onLevelSeen((seen) => told.push(...seen));
    const began = on.now();
    for (let i = 0; i < 200; i += 1) {
      await on.setExternal(i % 2 === 0 ? 4 : 3);
      await on.judge(scene.request());
    }
    await on.pass(SECOND);
    await on.setExternal(2);
    const isTold = async () => {
      await on.judge(scene.request());
      return told.at(-1)?.level === 2;
    };
    await until('what was written last', isTold);
    expect(BigInt(told.length)).toBeLessThanOrEqual((on.now() - began) / 1_000_000n + 2n);
  });
}

/** The kernel lets a millisecond pass between two events. */
async function until(what: string, check: () => Promise<boolean>): Promise<void> {
  for (let left = PATIENCE; left > 0; left -= 1) {
    if (await check()) return;
    await sleep(systemClock, 2);
  }
  throw new Error(`not seen: ${what}`);
}

const PATIENCE = 2_000;
