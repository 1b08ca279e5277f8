/** SPIFFE IDs and patterns: an ID in the first line, a pattern in the second. */
import {
  matchesSpiffeId,
  parseSpiffeId,
  parseSpiffeIdPattern,
  pathOf,
  type SpiffeId,
  type SpiffeIdPattern,
  trustDomainId,
  trustDomainOf,
} from '../../protocol/identity/spiffe-id.ts';
import { isPatternWithin } from '../../protocol/posture/within.ts';
import { words } from '../formats/lines.ts';
import { holds, type OpenTarget } from '../target.ts';
import { ascii } from './examples.ts';

export const open: OpenTarget = async () => ({
  about: 'SPIFFE IDs and patterns: a URL reader sees the same parts, a regular expression matches the same',
  covers: ['protocol/identity/spiffe-id.ts'],
  maxBytes: 5_000,
  format: words,
  dictionary: ['spiffe://', '/', '//', '/.', '/..', '*', '**', '/**', '%2e', '@', ':80', '?', '#', 'A', '_', '-'],
  seeds: [
    'spiffe://beta.example/gateway\nspiffe://beta.example/**',
    'spiffe://beta.example/a/b/c\nspiffe://beta.example/*/b/**',
    'spiffe://beta.example\nspiffe://beta.example/*\nspiffe://beta.example/**',
    `spiffe://b/${'x/'.repeat(1_000)}y\nspiffe://b/*`,
  ].map(ascii),
  run(input) {
    const [text = '', one = '', other = ''] = Buffer.from(input).toString('latin1').split('\n');
    const id = parseSpiffeId(text);
    if (id !== undefined) checkId(id);
    const pattern = parseSpiffeIdPattern(one);
    const outer = parseSpiffeIdPattern(other);
    const matches = id !== undefined && pattern !== undefined && matchesSpiffeId(pattern, id);
    if (id !== undefined && pattern !== undefined) {
      holds(matches === expression(pattern).test(id), `${one} and ${text} match differently`);
    }
    const isWithin = pattern !== undefined && outer !== undefined && isPatternWithin(pattern, outer);
    if (matches && isWithin && outer !== undefined && id !== undefined) {
      holds(matchesSpiffeId(outer, id), `${one} lies within ${other} and matches more`);
    }
    return [id !== undefined, pattern !== undefined, matches, isWithin].join(' ');
  },
});

function checkId(id: SpiffeId): void {
  holds(id.length <= 2_048, 'a SPIFFE ID over the limit');
  const url = new URL(id);
  holds(url.hostname === trustDomainOf(id), `the trust domain is ${url.hostname} elsewhere`);
  holds(url.pathname === pathOf(id), `the path is ${url.pathname} elsewhere`);
  holds(url.href === id, `${url.href} is the same identity in another spelling`);
  holds(trustDomainId(trustDomainOf(id)) !== undefined, 'a trust domain that is none');
  holds(parseSpiffeIdPattern(id)?.text === id, 'an identity that is no pattern of itself');
}

function expression({ text }: SpiffeIdPattern): RegExp {
  const body = text
    .replace(/[.\\+^$()[\]{}|?]/g, '\\$&')
    .replace(/\*\*$/, '.+')
    .replace(/\/\*(?=\/|$)/g, '/[^/]+');
  return new RegExp(`^${body}$`);
}
