import { readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { parseAccord } from './parse-accord.ts';
import { type AccordTimer, windowEnd } from './timer.ts';

const DEFAULT = readFileSync(new URL('../accords/default.yaml', import.meta.url), 'utf8');
const HEAD = `apiVersion: shellstream.accord/v1
id: over
extends: default
serial: 1
signer: none
minimumVersion: 1
`;
const NIGHT = "timers: [{ name: night, level: 4, daily: { from: '22:00', until: '06:00' } }]\n";
const AUDIT =
  "timers: [{ name: audit, level: 3, once: { from: '2026-12-24T00:00:00Z', until: '2026-12-27T00:00:00Z' } }]\n";

describe('a window', () => {
  test.each([
    ['2026-03-01T21:59:59Z', undefined],
    ['2026-03-01T22:00:00Z', '2026-03-02T06:00:00Z'],
    ['2026-03-02T00:00:00Z', '2026-03-02T06:00:00Z'],
    ['2026-03-02T05:59:59Z', '2026-03-02T06:00:00Z'],
    ['2026-03-02T06:00:00Z', undefined],
  ])('from 22:00 until 06:00 at %s ends at %s', (now, end) => {
    expect(endAt(timers(NIGHT), now)).toBe(end);
  });

  test.each([
    ['2026-12-23T23:59:59Z', undefined],
    ['2026-12-24T00:00:00Z', '2026-12-27T00:00:00Z'],
    ['2026-12-27T00:00:00Z', undefined],
  ])('of some days at %s ends at %s', (now, end) => {
    expect(endAt(timers(AUDIT), now)).toBe(end);
  });
});

describe('a timer is refused', () => {
  test.each([
    ['at level 5, which asks for nothing', "{ name: x, level: 5, daily: { from: '22:00', until: '06:00' } }"],
    ['at a level that is none', "{ name: x, level: 0, daily: { from: '22:00', until: '06:00' } }"],
    ['without a window', '{ name: x, level: 4 }'],
    [
      'with two windows',
      "{ name: x, level: 4, daily: { from: '22:00', until: '06:00' }, once: { from: '2026-12-24T00:00:00Z', until: '2026-12-27T00:00:00Z' } }",
    ],
    ['at an hour that is none', "{ name: x, level: 4, daily: { from: '24:00', until: '06:00' } }"],
    ['that begins when it ends', "{ name: x, level: 4, daily: { from: '06:00', until: '06:00' } }"],
    [
      'that ends before it begins',
      "{ name: x, level: 4, once: { from: '2026-12-27T00:00:00Z', until: '2026-12-24T00:00:00Z' } }",
    ],
    ['in a zone of its own', "{ name: x, level: 4, once: { from: '2026-12-24T00:00:00+01:00', until: never } }"],
    [
      'with a name that a console cannot say',
      "{ name: 'Night Shift', level: 4, daily: { from: '22:00', until: '06:00' } }",
    ],
  ])('%s', (_, text) => {
    expect(() => timers(`timers: [${text}]\n`)).toThrow('MALFORMED');
  });

  test('twice under one name', () => {
    const one = "{ name: x, level: 4, daily: { from: '22:00', until: '06:00' } }";
    expect(() => timers(`timers: [${one}, ${one}]\n`)).toThrow(/one name twice/);
  });
});

describe('over another accord', () => {
  test('timers add up', () => {
    const both = parseAccord(bytes(HEAD + AUDIT), { bases: new Map([['default', whole(NIGHT)]]) });
    expect(both.timers.map(({ name }) => name)).toEqual(['night', 'audit']);
  });

  test('attack: none takes the name of one there, whose word it could take back', () => {
    const bases = new Map([['default', whole(NIGHT)]]);
    expect(() => parseAccord(bytes(HEAD + NIGHT), { bases })).toThrow(/timers\.0\.name: a timer of default/);
  });
});

function whole(text: string) {
  return parseAccord(bytes(DEFAULT + text));
}

function timers(text: string): readonly AccordTimer[] {
  return whole(text).timers;
}

function endAt([timer]: readonly AccordTimer[], now: string): string | undefined {
  const end = timer && windowEnd(timer.window, Date.parse(now));
  return end === undefined ? undefined : new Date(end).toISOString().replace('.000', '');
}

function bytes(text: string): Uint8Array {
  return new TextEncoder().encode(text);
}
