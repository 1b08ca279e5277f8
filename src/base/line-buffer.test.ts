import { describe, expect, it } from 'vitest';
import { LineBuffer } from './line-buffer.ts';
import { createLogger } from './logger.ts';
import { SimulatedClock } from './simulated-clock.ts';

describe('log lines', () => {
  it('of 20 ms leave together, in their order', async () => {
    const { clock, written } = scene();
    const buffer = new LineBuffer(clock, (lines) => written.push(lines));
    buffer.write('one\n');
    await clock.advance(19);
    buffer.write('two\n');
    expect(written).toEqual([]);
    await clock.advance(1);
    expect(written).toEqual(['one\ntwo\n']);
    await clock.advance(100);
    expect(written).toHaveLength(1);
  });

  it('do not pile up under a flood', () => {
    const { clock, written } = scene();
    const buffer = new LineBuffer(clock, (lines) => written.push(lines));
    for (let i = 0; i < 100; i++) buffer.write(`${'x'.repeat(1_000)}\n`);
    expect(written).toHaveLength(1);
  });

  it('leave at once with a warning, and what was said before it with them', () => {
    const { clock, written } = scene();
    const log = createLogger({ clock, destination: { write: (lines: string) => void written.push(lines) } });
    log.info('before');
    expect(written).toEqual([]);
    log.warn('something is wrong');
    expect(written.join('')).toMatch(/before.*\n.*something is wrong/);
  });
});

function scene() {
  const written: string[] = [];
  return { clock: new SimulatedClock(), written };
}
