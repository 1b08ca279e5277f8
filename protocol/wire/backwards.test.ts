import { describe, expect, it } from 'vitest';
import { Backwards } from './backwards.ts';

/** The whole of the memory that the next message stands in. */
function memoryOf(output: Backwards): Uint8Array {
  output.bytes(Uint8Array.of(1));
  return new Uint8Array(output.view().buffer);
}

describe('the memory that messages are written in', () => {
  it('attack: a message that was moved out of it leaves nothing of its secrets there', () => {
    const output = new Backwards();
    output.bytes(new Uint8Array(64).fill(0x5a));
    expect(output.moved()).toEqual(new Uint8Array(64).fill(0x5a));
    expect(memoryOf(output)).not.toContain(0x5a);
  });

  it('nor does one that was given up', () => {
    const output = new Backwards();
    output.bytes(new Uint8Array(64).fill(0x5a));
    output.discard();
    expect(output.size).toBe(0);
    expect(memoryOf(output)).not.toContain(0x5a);
  });

  it('attack: one long message does not keep its memory for good', () => {
    const output = new Backwards();
    const usual = memoryOf(output).length;
    output.bytes(new Uint8Array(10 * usual));
    output.moved();
    expect(memoryOf(output)).toHaveLength(usual);
  });
});
