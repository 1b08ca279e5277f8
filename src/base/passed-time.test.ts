import fc from 'fast-check';
import { expect, test } from 'vitest';
import { type PassedMark, PassedTime } from './passed-time.ts';

const DAY = 86_400_000;
const START = 1_800_000_000_000;

/** A machine: its clock can be set, it can sleep by being off, and its uptime cannot be lied about. */
class Machine {
  wall = START;
  uptime = 0;
  boot = 'one';
  passed = this.#open();
  elapsed = 0;

  #open(mark?: PassedMark): PassedTime {
    return new PassedTime(() => this.wall, { boot: this.boot, ms: () => this.uptime }, mark);
  }

  run(ms: number): void {
    this.wall += ms;
    this.uptime += ms;
    this.elapsed += ms;
  }

  restart(): void {
    this.passed = this.#open(this.passed.mark);
  }

  reboot(offMs: number): void {
    const { mark } = this.passed;
    this.boot += '+';
    this.uptime = 0;
    this.wall += offMs;
    this.elapsed += offMs;
    this.passed = this.#open(mark);
  }
}

test('is the wall clock’s while that goes with the machine’s own time, over restarts too', () => {
  const machine = new Machine();
  for (let day = 0; day < 100; day += 1) {
    machine.run(DAY);
    expect(machine.passed.now()).toBe(machine.wall);
    machine.restart();
    machine.run(3_600_000);
  }
  expect(machine.passed.aheadMs).toBe(0);
});

test('attack: a clock set a year ahead moves it by nothing, and by a tenth more than what passes', () => {
  const machine = new Machine();
  machine.run(DAY);
  machine.passed.now();
  machine.wall += 365 * DAY;
  expect(machine.passed.now()).toBe(START + DAY);
  machine.run(10 * DAY);
  expect(machine.passed.now()).toBeCloseTo(START + 12 * DAY, -1);
  machine.wall -= 365 * DAY;
  expect(machine.passed.now()).toBe(machine.wall);
});

test('a clock that is far back for a while, as before the first NTP answer, changes nothing', () => {
  const machine = new Machine();
  machine.run(DAY);
  machine.passed.now();
  machine.reboot(60_000);
  const right = machine.wall;
  machine.wall = 0;
  expect(machine.passed.now()).toBe(0);
  machine.wall = right;
  expect(machine.passed.aheadMs).toBeLessThan(61_000);
});

test('a machine that was off for a month is believed when somebody says so, and caught up with in ten months', () => {
  const machine = new Machine();
  machine.reboot(30 * DAY);
  expect(machine.passed.aheadMs).toBe(30 * DAY);
  const before = machine.passed.mark;
  machine.passed.trust();
  expect(machine.passed.aheadMs).toBe(0);
  machine.passed = new PassedTime(() => machine.wall, { boot: machine.boot, ms: () => machine.uptime }, before);
  machine.run(301 * DAY);
  expect(machine.passed.aheadMs).toBe(0);
});

test('whatever is done to the clock, it is never ahead of it, nor a tenth ahead of real time', () => {
  const step = fc.oneof(
    fc.record({ do: fc.constant('run' as const), ms: fc.nat(10 * DAY) }),
    fc.record({ do: fc.constant('set' as const), ms: fc.integer({ min: -1_000 * DAY, max: 1_000 * DAY }) }),
    fc.record({ do: fc.constant('restart' as const), ms: fc.constant(0) }),
    fc.record({ do: fc.constant('reboot' as const), ms: fc.nat(5 * DAY) }),
  );
  fc.assert(
    fc.property(fc.array(step, { maxLength: 40 }), (steps) => {
      const machine = new Machine();
      for (const { do: what, ms } of steps) {
        if (what === 'run') machine.run(ms);
        else if (what === 'set') machine.wall += ms;
        else if (what === 'restart') machine.restart();
        else machine.reboot(ms);
        const now = machine.passed.now();
        expect(now).toBeLessThanOrEqual(machine.wall);
        expect(now).toBeLessThanOrEqual(START + machine.elapsed * 1.1 + 1);
      }
    }),
  );
});
