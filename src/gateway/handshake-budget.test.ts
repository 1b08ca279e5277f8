/** What a flood of valid ATTEST-INITs may take of the thread, and what stays for the mesh. Here work takes simulated time. */
import { describe, expect, it } from 'vitest';
import { SimulatedClock } from '../base/simulated-clock.ts';
import { type Claimant, HandshakeBudget } from './handshake-budget.ts';

function budget() {
  const clock = new SimulatedClock();
  return { clock, of: new HandshakeBudget(clock, { millisecondsPerSecond: 100, meshPercent: 20 }) };
}

/** How many handshakes of `ms` each are let begin in a row. */
function begun(of: HandshakeBudget, claimant: Claimant, ms: number): number {
  let count = 0;
  while (count < 1_000 && of.hasRoom(claimant)) {
    of.spend(claimant, ms);
    count += 1;
  }
  return count;
}

describe('attack: a flood of valid ATTEST-INITs', () => {
  it('gets what is the strangers’ of a second, and the same of every further one', async () => {
    const { of, clock } = budget();
    expect(begun(of, 'stranger', 1)).toBe(80);
    await clock.advance(500);
    expect(begun(of, 'stranger', 1)).toBe(40);
    await clock.advance(60_000);
    expect(begun(of, 'stranger', 1)).toBe(80);
  });

  it('leaves the mesh its share; and a mesh that floods has no more than everything', () => {
    const { of } = budget();
    begun(of, 'stranger', 1);
    expect(begun(of, 'mesh', 1)).toBe(20);
    expect(begun(budget().of, 'mesh', 1)).toBe(100);
  });

  it('that finds a dear handshake pays for it: what it costs is measured, and later seconds pay debts', async () => {
    const { of, clock } = budget();
    expect(begun(of, 'stranger', 70)).toBe(2);
    await clock.advance(700);
    expect(of.hasRoom('stranger')).toBe(false);
    await clock.advance(100);
    expect(of.hasRoom('stranger')).toBe(true);
  });

  it('of a process that stood still is not charged for longer than a second', async () => {
    const { of, clock } = budget();
    of.spend('stranger', 3_600_000);
    await clock.advance(1_000);
    expect(of.hasRoom('stranger')).toBe(false);
    await clock.advance(100);
    expect(of.hasRoom('stranger')).toBe(true);
  });
});

describe('work', () => {
  it('is charged while it has the thread, and not while it waits', async () => {
    const { of, clock } = budget();
    const work = of.work('stranger');
    work.run();
    work.run();
    await clock.advance(30);
    work.rest();
    work.rest();
    await clock.advance(1_000);
    work.run();
    await clock.advance(79);
    work.rest();
    // Filled up again while it waited.
    expect(begun(of, 'stranger', 1)).toBe(1);
  });

  it('of many whose answers come together is charged once, as a stranger’s if one is among them', async () => {
    const { of, clock } = budget();
    const works = [of.work('mesh'), of.work('stranger'), of.work('stranger')];
    for (const work of works) work.run();
    await clock.advance(40);
    for (const work of works) work.rest();
    expect(begun(of, 'stranger', 1)).toBe(40);
    expect(begun(of, 'mesh', 1)).toBe(20);
  });
});
