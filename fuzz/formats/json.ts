/** JSON values: members and items come, go, double, move and change their type. */
import type { Material } from '../engine/byte-mutations.ts';
import { mutateBytes } from '../engine/byte-mutations.ts';
import type { Format } from './format.ts';

export const json: Format = {
  mutate(bytes, material) {
    const value = parsed(bytes);
    if (value === undefined) return undefined;
    return Buffer.from(JSON.stringify(changed(value, parsed(material.donor), material)) ?? 'null');
  },
};

/** What `format` says of each part of a JWS: header and payload are JSON, the signature bytes. */
export const jwt: Format = {
  mutate(bytes, material) {
    const parts = Buffer.from(bytes).toString('latin1').split('.');
    const donor = Buffer.from(material.donor).toString('latin1').split('.');
    const at = material.random.below(3);
    const part = Buffer.from(parts[at] ?? '', 'base64url');
    const inner = { ...material, donor: Buffer.from(donor[at] ?? '', 'base64url') };
    const mutated = (at < 2 ? json.mutate(part, inner) : undefined) ?? mutateBytes(part, inner);
    parts[at] = Buffer.from(mutated).toString('base64url');
    return Buffer.from(parts.join('.'), 'latin1');
  },
};

type Json = unknown;

function parsed(bytes: Uint8Array): Json {
  try {
    return JSON.parse(Buffer.from(bytes).toString('utf8'));
  } catch {
    return undefined;
  }
}

function changed(value: Json, donor: Json, material: Material): Json {
  const { random } = material;
  const inside = typeof value === 'object' && value !== null && Object.keys(value).length > 0;
  if (!inside || random.once(8)) return random.once(3) && donor !== undefined ? donor : leaf(value, material);
  if (Array.isArray(value)) return changedList(value, donor, material);
  const names = Object.keys(value);
  const name = random.pick(names) ?? '';
  const entries = new Map<string, Json>(Object.entries(value));
  switch (random.below(6)) {
    case 0:
      entries.delete(name);
      break;
    case 1:
      entries.set(wordOf(material), entries.get(name));
      break;
    case 2:
      if (typeof donor === 'object' && donor !== null) {
        const other = random.pick(Object.entries(donor));
        if (other !== undefined) entries.set(...other);
      }
      break;
    default:
      entries.set(name, changed(entries.get(name), donor, material));
  }
  return Object.fromEntries(entries);
}

function changedList(list: readonly Json[], donor: Json, material: Material): Json {
  const { random } = material;
  const at = random.below(list.length);
  switch (random.below(5)) {
    case 0:
      return list.toSpliced(at, 1);
    case 1:
      return list.toSpliced(at, 0, ...Array.from({ length: random.once(8) ? 100 : 1 }, () => list[at]));
    case 2:
      return list.toSpliced(at, 0, leaf(list[at], material));
    default:
      return list.with(at, changed(list[at], donor, material));
  }
}

function leaf(value: Json, material: Material): Json {
  const { random } = material;
  if (typeof value === 'string' && !random.once(4)) {
    return Buffer.from(mutateBytes(Buffer.from(value), material)).toString('utf8');
  }
  const kinds: readonly Json[] = [
    null,
    true,
    false,
    0,
    -1,
    1,
    1.5,
    1e308,
    2 ** 53,
    '',
    [],
    {},
    wordOf(material),
    [value],
    { value },
  ];
  return random.pick(kinds);
}

function wordOf({ random, dictionary }: Material): string {
  return Buffer.from(random.pick(dictionary) ?? new Uint8Array()).toString('utf8');
}
