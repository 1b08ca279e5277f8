/**
 * SPIFFE IDs (SPIFFE-ID specification §2) and patterns over them, as configuration and accords use them.
 * Parsing is strict and never normalises: two spellings of one identity would be two keys in every table.
 */

declare const parsed: unique symbol;

/** A workload's or trust domain's URI that `parseSpiffeId` accepted. */
export type SpiffeId = string & { readonly [parsed]: 'SpiffeId' };

/** The identity in `text`, or undefined when it is none: at most 2048 characters, lower-case trust domain, no empty or dot segments. */
export function parseSpiffeId(text: string): SpiffeId | undefined {
  if (text.length > MAX_ID_LENGTH || !text.startsWith(SCHEME)) return undefined;
  const { domain, segments } = split(text);
  return isTrustDomain(domain) && segments.every(isSegment) ? (text as SpiffeId) : undefined;
}

/** Whether `name` may stand between the scheme and the path: 1 to 255 of `a-z 0-9 . - _`. */
export function isTrustDomain(name: string): boolean {
  return name.length <= MAX_DOMAIN_LENGTH && /^[a-z0-9._-]+$/.test(name);
}

export function trustDomainOf(id: SpiffeId): string {
  return split(id).domain;
}

/** The path with its leading slash; empty for the identity of a trust domain itself. */
export function pathOf(id: SpiffeId): string {
  return id.slice(SCHEME.length + trustDomainOf(id).length);
}

/** The identity that names a trust domain, or undefined when the name is none. */
export function trustDomainId(name: string): SpiffeId | undefined {
  return parseSpiffeId(`${SCHEME}${name}`);
}

/**
 * `spiffe://domain/path`, where a segment may be `*` (any one segment) and the last may be `**` (one segment or more).
 * The trust domain is always literal: a pattern never spans domains.
 */
export interface SpiffeIdPattern {
  readonly text: string;
  readonly trustDomain: string;
  readonly segments: readonly string[];
}

/** The pattern in `text`, or undefined when it is none. */
export function parseSpiffeIdPattern(text: string): SpiffeIdPattern | undefined {
  if (text.length > MAX_ID_LENGTH || !text.startsWith(SCHEME)) return undefined;
  const { domain, segments } = split(text);
  const last = segments.length - 1;
  const legal = segments.every((part, at) => part === '*' || (part === '**' && at === last) || isSegment(part));
  return isTrustDomain(domain) && legal ? { text, trustDomain: domain, segments } : undefined;
}

export function matchesSpiffeId(pattern: SpiffeIdPattern, id: SpiffeId): boolean {
  const { domain, segments } = split(id);
  if (domain !== pattern.trustDomain) return false;
  const open = pattern.segments.at(-1) === '**';
  const fixed = open ? pattern.segments.slice(0, -1) : pattern.segments;
  if (open ? segments.length <= fixed.length : segments.length !== fixed.length) return false;
  return fixed.every((part, at) => part === '*' || part === segments[at]);
}

const SCHEME = 'spiffe://';
const MAX_ID_LENGTH = 2048;
const MAX_DOMAIN_LENGTH = 255;

function split(text: string): { readonly domain: string; readonly segments: readonly string[] } {
  const [domain = '', ...segments] = text.slice(SCHEME.length).split('/');
  return { domain, segments };
}

function isSegment(part: string): boolean {
  return /^[a-zA-Z0-9._-]+$/.test(part) && part !== '.' && part !== '..';
}
