import { describe, expect, test } from 'vitest';
import { readCargoTest } from './cargo.ts';
import { judge, lastLine, sum, type Tally } from './tally.ts';

const skip: Tally = { passed: 2, failed: [], skipped: [{ name: 'wg', why: 'needs root' }] };

describe('judge', () => {
  test('a skip is a failure where skips are not allowed, and keeps its reason', () => {
    const { failed, skipped } = judge('system', skip, false);
    expect(skipped).toEqual([]);
    expect(failed).toEqual([{ name: 'wg', why: 'skipped, which CI does not allow: needs root' }]);
  });

  test('a skip stays one where it is allowed', () => {
    expect(judge('system', skip, true)).toBe(skip);
  });

  test('a suite that ran nothing has failed, whether skips are allowed or not', () => {
    const nothing: Tally = { passed: 0, failed: [], skipped: [] };
    for (const allowed of [true, false]) expect(judge('unit', nothing, allowed).failed).toHaveLength(1);
  });
});

test('the last line names skips only where they are allowed', () => {
  expect(lastLine(skip, true)).toBe('2 passed, 0 failed, 1 skipped');
  expect(lastLine(judge('system', skip, false), false)).toBe('2 passed, 1 failed');
});

test('suites add up', () => {
  expect(sum([skip, { passed: 3, failed: [{ name: 'a', why: 'b' }], skipped: [] }])).toEqual({
    passed: 5,
    failed: [{ name: 'a', why: 'b' }],
    skipped: skip.skipped,
  });
});

describe('the output of cargo test', () => {
  test('counts over all binaries, with the names of what failed or was ignored', () => {
    const output = [
      'running 3 tests',
      'test aead::opens ... ok',
      'test aead::refuses ... FAILED',
      'test gpu::slow ... ignored, needs a GPU',
      'test result: FAILED. 1 passed; 1 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.00s',
      'test result: ok. 4 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.00s',
    ].join('\n');
    expect(readCargoTest(output)).toEqual({
      passed: 5,
      failed: [{ name: 'aead::refuses', why: 'see above' }],
      skipped: [{ name: 'gpu::slow', why: 'needs a GPU' }],
    });
  });

  test('a failure whose line is torn counts all the same', () => {
    const output = 'test a ... some output\nFAILED\ntest result: FAILED. 0 passed; 1 failed; 0 ignored; 0 measured';
    expect(readCargoTest(output).failed).toEqual([{ name: 'a Rust test', why: 'see above' }]);
  });
});
