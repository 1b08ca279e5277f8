import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { reasonOf } from '../../protocol/errors.ts';
import { parsePluginData } from './plugin-data.ts';

const SUM = 'a'.repeat(64);

describe('plugin_data is read', () => {
  test.each([
    ['mapping_file = "/etc/tiers.yaml"', '/etc/tiers.yaml'],
    ['"mapping_file"="/a"', '/a'],
    ['\n\t mapping_file\n=\n"/a b"\r\n', '/a b'],
    [
      '# mapping_file = "/no"\n// mapping_file = "/no"\n/* mapping_file = "/no" **/mapping_file = "/a#b//c" # d',
      '/a#b//c',
    ],
    ['mapping_file = "/q\\"\\\\\\u00e4$"', '/q"\\ä$'],
  ])('%j', (text, mappingFile) => {
    expect(parsePluginData(text)).toEqual({ mappingFile, mappingSha256: undefined });
  });

  test('with the hash of the mapping', () => {
    const text = `mapping_sha256 = "${SUM}"\nmapping_file = "/a"`;
    expect(parsePluginData(text)).toEqual({ mappingFile: '/a', mappingSha256: SUM });
  });
});

test.each([
  ['', 'plugin_data:1:1: mapping_file is missing'],
  ['mapping_file = "tiers.yaml"', 'plugin_data:1:16: mapping_file is no absolute path'],
  ['mapping_file = "/a\\u0000"', 'plugin_data:1:16: mapping_file is no absolute path'],
  ['mapping_file = "/a"\nmapping_file = "/b"', 'plugin_data:2:1: mapping_file twice'],
  ['mapping_file = "/a"\n  tier = "master"', 'plugin_data:2:3: no such key: tier'],
  ['/* a\nb */ file = "/a"', 'plugin_data:2:6: no such key: file'],
  [`mapping_file = "/a"\nmapping_sha256 = "${SUM.toUpperCase()}"`, 'plugin_data:2:18: mapping_sha256 is not 64'],
  [`mapping_file = "/a/$${'{'}user}"`, 'plugin_data:1:16: a text with $ and {'],
  ['mapping_file = "/a\\x"', 'plugin_data:1:16: no such escape: \\x'],
  ['mapping_file = "/a', 'plugin_data:1:16: only lines'],
  ['mapping_file = "/a\n"', 'plugin_data:1:16: only lines'],
  ['mapping_file = <<EOF\n/a\nEOF', 'plugin_data:1:16: only lines'],
  ['mapping_file = ["/a"]', 'plugin_data:1:16: only lines'],
  ['mapping_file { }', 'plugin_data:1:14: only lines'],
  ['{"mapping_file": "/a"}', 'plugin_data:1:1: only lines'],
  ['/* open', 'plugin_data:1:1: only lines'],
  ['mapping_file = 5', 'plugin_data:1:16: only lines'],
  ['mapping_file = word', 'plugin_data:1:16: the value of mapping_file is no text in quotes'],
  ['mapping_file "/a"', 'plugin_data:1:14: not mapping_file = "VALUE"'],
  ['mapping_file =', 'plugin_data:1:14: the value of mapping_file is no text in quotes'],
  ['mapping_file', 'plugin_data:1:1: not mapping_file = "VALUE"'],
  ['= "/a"', 'plugin_data:1:1: a key is missing'],
  ['#'.repeat(65_537), 'plugin_data: above 65536 characters'],
])('%j is refused, and where', (text, why) => {
  expect(() => parsePluginData(text)).toThrow(`MALFORMED: ${why}`);
});

test('a text made to be slow to read is refused as fast as any', () => {
  expect(() => parsePluginData(`/*${'*'.repeat(60_000)}`)).toThrow('only lines');
  expect(() => parsePluginData(`"${'\\"'.repeat(30_000)}`)).toThrow('only lines');
});

test('whatever the text, it is read or refused as malformed', () => {
  const piece = fc.constantFrom(
    'mapping_file',
    'mapping_sha256',
    '=',
    '"',
    '\\',
    '/a',
    '\n',
    '#',
    '/*',
    '*/',
    ' ',
    '\0',
    'ä',
  );
  const text = fc.oneof(
    fc.string({ unit: 'binary' }),
    fc.array(piece).map((pieces) => pieces.join('')),
  );
  fc.assert(
    fc.property(text, (given) => {
      try {
        expect(parsePluginData(given).mappingFile).toMatch(/^\//);
      } catch (error) {
        expect(reasonOf(error)).toBe('MALFORMED');
      }
    }),
    { numRuns: 2000 },
  );
});

test('any absolute path comes back as it was written in quotes', () => {
  fc.assert(
    fc.property(fc.string({ unit: 'grapheme' }), (rest) => {
      fc.pre(!/[$\0]/.test(rest));
      const quoted = JSON.stringify(`/${rest}`).replaceAll(/\\./g, (spelled) =>
        /[bfr]/.test(spelled) ? `\\u${code(spelled)}` : spelled,
      );
      expect(parsePluginData(`mapping_file = ${quoted}`).mappingFile).toBe(`/${rest}`);
    }),
  );
});

/** HCL has no \b, \f and \r, which JSON does. */
function code(spelled: string): string {
  return JSON.parse(`"${spelled}"`).charCodeAt(0).toString(16).padStart(4, '0');
}
