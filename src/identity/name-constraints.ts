import type { NameConstraints, SubjectNames } from './certificate-extensions.ts';

/**
 * Whether names break the constraints of an authority above them (RFC 5280 §4.2.1.10). URI and DNS forms are honoured;
 * a constraint of any other form refuses whatever it could apply to, because passing over it would lift it.
 */
export function violatesNameConstraints(names: SubjectNames, constraints: NameConstraints): boolean {
  const { permitted, excluded } = constraints;
  const other = new Set([...permitted.others, ...excluded.others]);
  return (
    other.has(DIRECTORY_NAME) ||
    names.others.some((form) => other.has(form)) ||
    names.uris.some((uri) => !allows(hostOf(uri), permitted.uris, excluded.uris, matchesUriHost)) ||
    names.dns.some((name) => !allows(name.toLowerCase(), permitted.dns, excluded.dns, matchesDnsName))
  );
}

/** Every certificate has a subject, so a constraint on directory names always applies. */
const DIRECTORY_NAME = 4;

type Matches = (name: string, constraint: string) => boolean;

function allows(name: string, permitted: readonly string[], excluded: readonly string[], matches: Matches): boolean {
  if (excluded.some((constraint) => matches(name, constraint.toLowerCase()))) return false;
  return permitted.length === 0 || permitted.some((constraint) => matches(name, constraint.toLowerCase()));
}

/** With a leading dot: hosts below it; without: this very host. */
function matchesUriHost(host: string, constraint: string): boolean {
  return constraint.startsWith('.') ? host.endsWith(constraint) && host !== constraint : host === constraint;
}

/** The name itself and everything below it. */
function matchesDnsName(name: string, constraint: string): boolean {
  return constraint === '' || name === constraint || name.endsWith(`.${constraint.replace(/^\./, '')}`);
}

function hostOf(uri: string): string {
  return (/^[a-z][a-z0-9+.-]*:\/\/([^/?#]*)/i.exec(uri)?.[1] ?? '').toLowerCase();
}
