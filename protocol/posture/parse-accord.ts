import { readDocument } from '../document/read-document.ts';
import type { Accord } from './accord.ts';
import { accordProblems } from './accord-rules.ts';
import {
  type ExtendingAccordDocument,
  extendingAccordSchema,
  type WholeAccordDocument,
  wholeAccordSchema,
} from './accord-schema.ts';
import { tighten } from './tighten.ts';

export interface ParseAccordOptions {
  /** Stands in front of each error, as a file's name does; `accord` unless told. */
  readonly name?: string;
  /** Accords that the document may extend, by their id. */
  readonly bases?: ReadonlyMap<string, Accord>;
}

/**
 * An accord from its YAML bytes (at most 256 KiB). A document with `extends` is laid over the base of that id and may
 * only tighten it. Throws MALFORMED with line and column: of the syntax, an unknown key, a rule that is looser than
 * the level, tier or base above it.
 */
export function parseAccord(bytes: Uint8Array, options: ParseAccordOptions = {}): Accord {
  const document = readDocument<WholeAccordDocument | ExtendingAccordDocument>(
    options.name ?? 'accord',
    bytes,
    (plain) => (isExtending(plain) ? extendingAccordSchema : wholeAccordSchema),
  );
  const { value } = document;
  let accord: Accord;
  if ('extends' in value) {
    const base = options.bases?.get(value.extends);
    if (base === undefined) throw document.refuse(['extends'], `no accord ${value.extends} is at hand`);
    const tightened = tighten(base, value);
    if (tightened.kind === 'wider') throw firstOf(document.refuse, tightened.problems);
    accord = tightened.accord;
  } else {
    const { apiVersion: _, drainMilliseconds, sessionTypes, ...rest } = value;
    accord = { ...rest, extends: undefined, drainMs: drainMilliseconds, sessionTypes: inMilliseconds(sessionTypes) };
  }
  const problems = accordProblems(accord);
  if (problems.length > 0) throw firstOf(document.refuse, problems);
  return accord;
}

/** SHA-256 over bytes, from a provider. */
export type Sha256 = (bytes: Uint8Array) => Uint8Array;

/**
 * 32 bytes that name what applies: SHA-256 of the document's bytes as they stand. For a document that extends
 * another, SHA-256(hash of the base ‖ bytes), so that two sites over different bases never look alike.
 */
export function accordHash(sha256: Sha256, bytes: Uint8Array, baseHash?: Uint8Array): Uint8Array {
  if (baseHash === undefined) return sha256(bytes);
  const both = new Uint8Array(baseHash.length + bytes.length);
  both.set(baseHash);
  both.set(bytes, baseHash.length);
  return sha256(both);
}

function isExtending(plain: unknown): boolean {
  return typeof plain === 'object' && plain !== null && 'extends' in plain;
}

function firstOf(
  refuse: (path: readonly PropertyKey[], text: string) => Error,
  problems: readonly { readonly path: readonly PropertyKey[]; readonly text: string }[],
): Error {
  const [first] = problems;
  return refuse(first?.path ?? [], first?.text ?? 'refused');
}

function inMilliseconds(rules: WholeAccordDocument['sessionTypes']): Accord['sessionTypes'] {
  const of = ({ modes, lifetimeSeconds, allow }: (typeof rules)['mesh']): Accord['sessionTypes']['mesh'] => ({
    modes,
    lifetimeMs: lifetimeSeconds * 1000,
    allow,
  });
  return {
    management: of(rules.management),
    'incident-response': of(rules['incident-response']),
    'health-monitoring': of(rules['health-monitoring']),
    operator: of(rules.operator),
    workload: of(rules.workload),
    mesh: of(rules.mesh),
  };
}
