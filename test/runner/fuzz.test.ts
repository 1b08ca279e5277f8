import { describe, expect, test } from 'vitest';
import { readReplay } from './fuzz.ts';

describe('the output of the fuzzer’s replay', () => {
  test('is counted, with the names of what broke and of what the host cannot run', () => {
    const output = [
      '  accord: 52 inputs in 1973 ms',
      '✗ crashes/logger/name-that-is-a-token',
      '    Error: a secret in the log',
      '- packets: needs root (running as uid 1000)',
      '',
      '51 passed, 1 failed, 1 skipped',
    ].join('\n');
    expect(readReplay(output)).toEqual({
      passed: 51,
      failed: [{ name: 'crashes/logger/name-that-is-a-token', why: 'Error: a secret in the log' }],
      skipped: [{ name: 'packets', why: 'needs root (running as uid 1000)' }],
    });
  });

  test('counts as nothing when it ended before its last line', () => {
    expect(readReplay('✗').passed).toBe(0);
  });
});
