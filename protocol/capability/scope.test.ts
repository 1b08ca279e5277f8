import { readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { parsePrefix } from '../net/prefix.ts';
import { parseAccord } from '../posture/parse-accord.ts';
import { targetFloor } from './scope.ts';

const SITE = parseAccord(read('example-site.yaml'), {
  bases: new Map([['default', parseAccord(read('default.yaml'))]]),
});

describe('a target that the other end hosts', () => {
  test('is ordinary unless our own accord names it', () => {
    expect(targetFloor(SITE, 'mesh', target('192.0.2.1', 7844))).toEqual({ class: 'ordinary', floor: 3 });
  });

  test('has the class that our accord gives it', () => {
    expect(targetFloor(SITE, 'mesh', target('10.1.1.10', 7844))).toEqual({ class: 'management', floor: 2 });
  });

  test('is lifted by no session type', () => {
    expect(targetFloor(SITE, 'management', target('10.1.0.1', 443))).toEqual({ class: 'ordinary', floor: 3 });
    expect(targetFloor(SITE, 'operator', target('10.1.1.10', 7844))).toEqual({ class: 'ordinary', floor: 3 });
  });
});

function target(prefix: string, port: number) {
  return { prefix: parsePrefix(prefix), protocol: 6, port };
}

function read(name: string): Uint8Array {
  return readFileSync(new URL(`../accords/${name}`, import.meta.url));
}
