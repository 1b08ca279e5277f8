import { ShellstreamError } from '../../protocol/errors.ts';
import { contextTag, type DerElement, DerReader, TAG } from './der.ts';

/** The extensions an SVID verifier judges (RFC 5280 §4.2). */
export interface Extensions {
  readonly basicConstraints: { readonly ca: boolean; readonly pathLength: number | undefined } | undefined;
  readonly keyUsage: ReadonlySet<KeyUsage> | undefined;
  /** Object identifiers. */
  readonly extendedKeyUsage: readonly string[] | undefined;
  readonly names: SubjectNames;
  readonly nameConstraints: NameConstraints | undefined;
  /** Object identifiers of critical extensions that are not understood. */
  readonly unknownCritical: readonly string[];
}

export type KeyUsage = 'digitalSignature' | 'keyCertSign' | 'cRLSign' | 'other';

/** Subject alternative names. `others` counts those of other forms, by their tag number. */
export interface SubjectNames {
  readonly uris: readonly string[];
  readonly dns: readonly string[];
  readonly others: readonly number[];
}

export interface NameConstraints {
  readonly permitted: SubjectNames;
  readonly excluded: SubjectNames;
}

export function parseExtensions(explicit: DerElement | undefined): Extensions {
  const found: { -readonly [K in keyof Extensions]: Extensions[K] } = {
    basicConstraints: undefined,
    keyUsage: undefined,
    extendedKeyUsage: undefined,
    names: NO_NAMES,
    nameConstraints: undefined,
    unknownCritical: [],
  };
  if (explicit === undefined) return found;
  const wrapper = explicit.children();
  const list = wrapper.expect(TAG.sequence).children();
  wrapper.end();

  const seen = new Set<string>();
  while (!list.atEnd) {
    const { id, critical, value } = parseExtension(list.expect(TAG.sequence));
    // RFC 5280 §4.2: one of a kind. With two, which one counts depends on who reads.
    if (seen.has(id)) throw refused('extensions-unique', `extension ${id} twice`);
    if (seen.size === MAX_EXTENSIONS) throw refused('extensions-count', `more than ${MAX_EXTENSIONS} extensions`);
    seen.add(id);
    const reader = new DerReader(value);
    switch (id) {
      case OID.basicConstraints:
        found.basicConstraints = parseBasicConstraints(reader);
        break;
      case OID.keyUsage:
        found.keyUsage = parseKeyUsage(reader);
        break;
      case OID.extendedKeyUsage:
        found.extendedKeyUsage = parseExtendedKeyUsage(reader);
        break;
      case OID.subjectAltName:
        found.names = parseNames(reader.expect(TAG.sequence).children());
        break;
      case OID.nameConstraints:
        found.nameConstraints = parseNameConstraints(reader);
        break;
      default:
        if (critical) found.unknownCritical = [...found.unknownCritical, id];
        continue;
    }
    reader.end();
  }
  return found;
}

const OID = {
  keyUsage: '2.5.29.15',
  subjectAltName: '2.5.29.17',
  basicConstraints: '2.5.29.19',
  nameConstraints: '2.5.29.30',
  extendedKeyUsage: '2.5.29.37',
} as const;

const MAX_EXTENSIONS = 32;
const MAX_NAMES = 64;
const NO_NAMES: SubjectNames = { uris: [], dns: [], others: [] };
const DNS_FORM = contextTag(2, 'primitive');
const URI_FORM = contextTag(6, 'primitive');
/** GeneralName (RFC 5280 §4.2.1.6): strings and bytes are primitive, structures constructed. */
const NAME_TAGS: ReadonlySet<number> = new Set([
  ...[1, 2, 6, 7, 8].map((form) => contextTag(form, 'primitive')),
  ...[0, 3, 4, 5].map((form) => contextTag(form, 'constructed')),
]);
const KEY_USAGE_BITS: ReadonlyMap<number, KeyUsage> = new Map([
  [0, 'digitalSignature'],
  [5, 'keyCertSign'],
  [6, 'cRLSign'],
]);

function parseExtension(element: DerElement): { id: string; critical: boolean; value: Uint8Array } {
  const reader = element.children();
  const id = reader.expect(TAG.oid).oid();
  const flag = reader.optional(TAG.boolean)?.boolean();
  if (flag === false) throw refused('strict-der', 'a default value that is written out');
  const value = reader.expect(TAG.octetString).contents;
  reader.end();
  return { id, critical: flag === true, value };
}

function parseBasicConstraints(reader: DerReader): Extensions['basicConstraints'] {
  const fields = reader.expect(TAG.sequence).children();
  const flag = fields.optional(TAG.boolean)?.boolean();
  if (flag === false) throw refused('strict-der', 'a default value that is written out');
  const pathLength = fields.optional(TAG.integer)?.smallInteger();
  fields.end();
  if (pathLength !== undefined && flag !== true) throw refused('basic-constraints', 'a path length without CA');
  return { ca: flag === true, pathLength };
}

function parseKeyUsage(reader: DerReader): ReadonlySet<KeyUsage> {
  const usages = [...reader.expect(TAG.bitString).namedBits()].map((bit) => KEY_USAGE_BITS.get(bit) ?? 'other');
  return new Set<KeyUsage>(usages);
}

function parseExtendedKeyUsage(reader: DerReader): readonly string[] {
  const list = reader.expect(TAG.sequence).children();
  const usages: string[] = [];
  while (!list.atEnd && usages.length < MAX_NAMES) usages.push(list.expect(TAG.oid).oid());
  list.end();
  if (usages.length === 0) throw refused('extended-key-usage', 'an empty list');
  return usages;
}

function parseNames(list: DerReader): SubjectNames {
  const names: DerElement[] = [];
  while (!list.atEnd) names.push(list.next());
  return sortNames(names);
}

/**
 * Names whose form we judge are read as ASCII: RFC 5280 says IA5String, and anything else is a disguise. One tag that no
 * name has makes others read no name at all, where we would see the rest.
 */
function sortNames(names: readonly DerElement[]): SubjectNames {
  if (names.length > MAX_NAMES) throw refused('names-count', `more than ${MAX_NAMES} names`);
  if (!names.every((name) => NAME_TAGS.has(name.tag))) throw refused('strict-der', 'a name of no form that there is');
  const forms = names.map((name) => name.tag & 0x1f);
  return {
    uris: names.filter((name) => name.tag === URI_FORM).map((name) => name.ascii()),
    dns: names.filter((name) => name.tag === DNS_FORM).map((name) => name.ascii()),
    others: forms.filter((_form, at) => names[at]?.tag !== URI_FORM && names[at]?.tag !== DNS_FORM),
  };
}

function parseNameConstraints(reader: DerReader): NameConstraints {
  const fields = reader.expect(TAG.sequence).children();
  const permitted = fields.optional(contextTag(0, 'constructed'));
  const excluded = fields.optional(contextTag(1, 'constructed'));
  fields.end();
  return { permitted: parseSubtrees(permitted), excluded: parseSubtrees(excluded) };
}

/** Minimum and maximum must be absent (RFC 5280 §4.2.1.10), so a subtree is exactly one name. */
function parseSubtrees(element: DerElement | undefined): SubjectNames {
  if (element === undefined) return NO_NAMES;
  const list = element.children();
  const names: DerElement[] = [];
  while (!list.atEnd) {
    const subtree = list.expect(TAG.sequence).children();
    names.push(subtree.next());
    subtree.end();
  }
  return sortNames(names);
}

function refused(rule: string, detail: string): ShellstreamError {
  return new ShellstreamError('SVID_MALFORMED', detail, { fields: { rule } });
}
