/** Which identities have which tier, scopes and network policy: the mapping that the composer writes from. */
import { z } from 'zod';
import { TIERS, type Tier } from '../../protocol/capability/model.ts';
import { spiffeIdPatternField } from '../../protocol/document/fields.ts';
import { type ReadDocument, readDocument } from '../../protocol/document/read-document.ts';
import { MAX_SCOPE_LENGTH, MAX_SCOPES } from '../../protocol/identity/claims.ts';
import { matchesSpiffeId, type SpiffeId, type SpiffeIdPattern } from '../../protocol/identity/spiffe-id.ts';

/** What an identity's tokens say. A member is undefined when no entry gives it, and then no claim says it either. */
export interface Rights {
  readonly tier: Tier | undefined;
  readonly scopes: readonly string[] | undefined;
  /** SHA-256 of the policy's bytes, lower-case hex. */
  readonly networkPolicy: string | undefined;
}

export interface Mapping {
  readonly size: number;
  rightsOf(id: SpiffeId): Rights;
}

/**
 * A mapping for one trust domain from its YAML bytes (at most 256 KiB). `name` stands in front of each error.
 *
 * Where several entries match an identity, the lowest tier holds, and of the scopes those that all of them give, as in
 * an accord: an entry more never gives more to who had something. Two policies for one identity have no lower one, so
 * entries that could clash are refused. Throws MALFORMED with line and column.
 */
export function parseMapping(name: string, bytes: Uint8Array, trustDomain: string): Mapping {
  const document = readDocument(name, bytes, () => mappingSchema);
  const entries = document.value.identities;
  refuseMisplaced(document, trustDomain);
  refuseClashing(document);
  const exact = new Map(
    entries.filter(({ identity }) => !isOpen(identity)).map((entry) => [entry.identity.text, entry]),
  );
  const open = entries.filter(({ identity }) => isOpen(identity));
  return {
    size: entries.length,
    rightsOf: (id) => {
      const own = exact.get(id);
      const matching = open.filter(({ identity }) => matchesSpiffeId(identity, id));
      return combine(own === undefined ? matching : [own, ...matching]);
    },
  };
}

function combine(entries: readonly Entry[]): Rights {
  const tiers = entries.map(({ tier }) => tier);
  const scopes = entries.flatMap((entry) => (entry.scopes === undefined ? [] : [entry.scopes]));
  const [first, ...others] = scopes;
  return {
    tier: TIERS.find((tier) => tiers.includes(tier)),
    scopes: first?.filter((scope) => others.every((list) => list.includes(scope))),
    networkPolicy: entries.find(({ networkPolicy }) => networkPolicy !== undefined)?.networkPolicy,
  };
}

function refuseMisplaced({ value: { identities }, refuse }: ReadDocument<Document>, trustDomain: string): void {
  const seen = new Set<string>();
  for (const [at, { identity }] of identities.entries()) {
    const path = ['identities', at, 'identity'];
    // An authority speaks for its own domain only: such an entry would silently do nothing.
    if (identity.trustDomain !== trustDomain) throw refuse(path, `not of this server's trust domain, ${trustDomain}`);
    if (identity.segments.length === 0) throw refuse(path, 'names the trust domain, and no workload');
    if (seen.has(identity.text)) throw refuse(path, 'there already is an entry for it');
    seen.add(identity.text);
  }
}

function refuseClashing({ value: { identities }, refuse }: ReadDocument<Document>): void {
  const open = identities.filter(({ identity }) => isOpen(identity));
  if (open.length > MAX_OPEN) throw refuse(['identities'], `more than ${MAX_OPEN} patterns with * or **`);
  const policed = open.filter(({ networkPolicy }) => networkPolicy !== undefined);
  for (const [at, entry] of identities.entries()) {
    const clash = policed.find((other) => differs(entry, other) && overlap(entry.identity, other.identity));
    if (clash === undefined) continue;
    const text = `an identity could match ${clash.identity.text} too, which names another policy`;
    throw refuse(['identities', at, 'networkPolicy'], text);
  }
}

function differs(one: Entry, other: Entry): boolean {
  return one.networkPolicy !== undefined && one.networkPolicy !== other.networkPolicy;
}

/** Whether some identity matches both. */
export function overlap(one: SpiffeIdPattern, other: SpiffeIdPattern): boolean {
  if (one.trustDomain !== other.trustDomain) return false;
  for (let at = 0; ; at += 1) {
    const [here, there] = [one.segments[at], other.segments[at]];
    if (here === undefined || there === undefined) return here === there;
    if (here === '**' || there === '**') return true;
    if (here !== there && here !== '*' && there !== '*') return false;
  }
}

function isOpen({ segments }: SpiffeIdPattern): boolean {
  return segments.some((part) => part === '*' || part === '**');
}

/** Each call is held against every pattern, and each entry against every pattern at the start. */
const MAX_OPEN = 256;
const MAX_ENTRIES = 4096;
/** A gateway takes tokens of 8 KiB: half of it stays for the audience, the subject, others' claims and the signature. */
const MAX_SCOPE_CHARACTERS = 2048;

const scope = z
  .string()
  .max(MAX_SCOPE_LENGTH)
  .regex(
    /^[A-Za-z0-9][A-Za-z0-9._:/@*+-]*$/,
    'a scope: letters, digits and . _ : / @ * + -, the first one of the former',
  );

const entry = z
  .strictObject({
    identity: spiffeIdPatternField,
    tier: z.enum(TIERS).optional(),
    scopes: z
      .array(scope)
      .max(MAX_SCOPES)
      .refine((list) => new Set(list).size === list.length, 'one of them twice')
      .refine(
        (list) => list.join(' ').length <= MAX_SCOPE_CHARACTERS,
        `above ${MAX_SCOPE_CHARACTERS} characters in all`,
      )
      .optional(),
    networkPolicy: z
      .string()
      .regex(/^[0-9a-f]{64}$/, 'a SHA-256: 64 characters of lower-case hex')
      .optional(),
  })
  .refine(
    ({ tier, scopes, networkPolicy }) => tier ?? scopes ?? networkPolicy,
    'gives nothing: tier, scopes or networkPolicy',
  );
type Entry = z.infer<typeof entry>;

const mappingSchema = z.strictObject({
  apiVersion: z.literal('shellstream.composer/v1'),
  identities: z.array(entry).max(MAX_ENTRIES),
});
type Document = z.infer<typeof mappingSchema>;
