/** Texts of people: lines with their indentation (YAML), and words in one line. */
import { type Material, mutateBytes } from '../engine/byte-mutations.ts';
import type { Random } from '../engine/random.ts';
import type { Format } from './format.ts';

export const lines: Format = {
  mutate(bytes, material) {
    const { random } = material;
    const list = text(bytes).split('\n');
    const donor = text(material.donor).split('\n');
    const at = random.below(list.length);
    const line = list[at] ?? '';
    switch (random.below(9)) {
      case 0:
        list.splice(at, 1 + random.below(3));
        break;
      case 1:
        list.splice(at, 0, ...list.slice(at, at + 1 + random.below(4)));
        break;
      case 2:
        list.splice(at, 1);
        list.splice(random.below(list.length + 1), 0, line);
        break;
      case 3: {
        const from = random.below(donor.length);
        list.splice(at, random.below(2), ...donor.slice(from, from + 1 + random.below(6)));
        break;
      }
      case 4:
        list[at] = random.once(2) ? `  ${line}` : line.replace(/^ {1,2}/, '');
        break;
      default:
        list[at] = changedLine(line, material);
    }
    return Buffer.from(list.join('\n'), 'latin1');
  },
};

/** For short texts without lines: one word of them at a time. */
export const words: Format = {
  mutate: (bytes, material) => Buffer.from(changedLine(text(bytes), material), 'latin1'),
};

function changedLine(line: string, material: Material): string {
  const { random } = material;
  const parts = line.split(/([^a-zA-Z0-9_-]+)/);
  const at = random.below(parts.length);
  const part = parts[at] ?? '';
  switch (random.below(6)) {
    case 0:
      parts[at] = text(random.pick(material.dictionary) ?? new Uint8Array());
      break;
    case 1:
      parts[at] = number(part, random);
      break;
    case 2:
      parts.splice(at, 0, ...parts.slice(at, at + 1 + random.below(4)));
      break;
    case 3:
      parts.splice(at, 1 + random.below(2));
      break;
    case 4:
      parts[at] = random.pick(text(material.donor).split(/([^a-zA-Z0-9_-]+)/)) ?? '';
      break;
    default:
      parts[at] = text(mutateBytes(Buffer.from(part, 'latin1'), material));
  }
  return parts.join('');
}

function number(part: string, random: Random): string {
  const value = Number.parseInt(part, 10);
  const near = String((Number.isNaN(value) ? 0 : value) + random.below(5) - 2);
  return (
    random.pick([
      near,
      '0',
      '-1',
      '1',
      '65535',
      '65536',
      '4294967296',
      '9007199254740993',
      '1e9',
      '0x10',
      '010',
      '.5',
    ]) ?? '0'
  );
}

/** Latin 1 keeps every byte. */
function text(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString('latin1');
}
