import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { parseUniqueJson } from './unique-json.ts';

describe('JSON with unique names', () => {
  test.each([
    ['two members of one name', '{"aud":"a","aud":"b"}'],
    ['the same name spelled with an escape', '{"aud":"a","\\u0061ud":"b"}'],
    ['two members deep inside', '{"x":[{"y":{"z":1,"q":{},"z":2}}]}'],
    ['two members with space before the colon', '{"a" :1,"a"\n:2}'],
    ['17 levels', `${'['.repeat(17)}${']'.repeat(17)}`],
    ['no JSON', '{"a":1}}'],
  ])('refuses %s', (_why, text) => expect(() => parseUniqueJson(text)).toThrow('MALFORMED'));

  test.each(['{"a":{"b":1},"b":{"a":1}}', '[{"a":1},{"a":2}]', '{"a":"\\"a\\":1,{[","b":"}"}', '"x:y"', '3'])(
    'takes %s',
    (text) => expect(parseUniqueJson(text)).toEqual(JSON.parse(text)),
  );

  test('takes whatever JSON.stringify writes', () => {
    fc.assert(
      fc.property(fc.jsonValue({ maxDepth: 6 }), fc.constantFrom(undefined, 1, '\t'), (value, indent) => {
        const text = JSON.stringify(value, undefined, indent);
        expect(parseUniqueJson(text)).toEqual(JSON.parse(text));
      }),
    );
  });
});
