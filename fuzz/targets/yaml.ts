/** What the targets of documents share. */
import type { Refusals } from '../target.ts';

export const YAML_WORDS: readonly string[] = [
  '&a ',
  '*a',
  '!!binary ',
  '!x ',
  '<<: ',
  '? ',
  '- ',
  ': ',
  '#',
  '|',
  '>',
  '"',
  "'",
  '{',
  '}',
  '[',
  ']',
  '---\n',
  '...',
  '%YAML 1.1\n',
  '__proto__',
  'constructor',
  'prototype',
  'toString',
  'null',
  '~',
  'true',
  '.inf',
  '.nan',
  '0o7',
  '0x1f',
  '1e3',
  '\t',
  '\u00a0',
  '\r',
];

export const KEYS: readonly string[] = [
  'tcp',
  'udp',
  'icmp',
  '0.0.0.0/0',
  '::/0',
  '10.0.0.0/8',
  'spiffe://a/**',
  'any',
  '65535',
  '0',
];

/** A document's errors quote it; they may not multiply it. */
export function yamlErrors(input: Uint8Array): Refusals {
  return { reasons: ['MALFORMED'], longest: 8_192 + 2 * input.length };
}

/** The library composes a tree of objects with many calls for each character, and the schema is large. */
export function yamlSteps(bytes: number): number {
  return 2_000_000 + 4_000 * bytes;
}
