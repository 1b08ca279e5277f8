import { describe, expect, it } from 'vitest';
import { reasonOf } from '../errors.ts';
import { nobleEd25519 } from '../evidence/ed25519.ts';
import { id, testIssuer } from './fixtures.ts';
import {
  HEARTBEAT_CONTEXT,
  hasEffect,
  heartbeatRefusal,
  IssuerFeed,
  isSignedBy,
  parseHeartbeat,
  parseStatement,
  type Revoked,
  RevokedIndex,
  refusalOf,
  STATEMENT_CONTEXT,
} from './index.ts';

const alpha = testIssuer('spiffe://alpha.test/revocation', 1);
const beta = testIssuer('spiffe://beta.test/revocation', 2);
const SESSION: Revoked = { kind: 'session', session: 'ab'.repeat(16) };
const TOKEN: Revoked = { kind: 'token', token: 'cd'.repeat(32) };
const PERSON: Revoked = { kind: 'identity', identity: id('spiffe://beta.test/person') };
const before = (timeMs: number, of: Extract<Revoked, { kind: 'issued-before' }>['of']): Revoked => ({
  kind: 'issued-before',
  timeMs,
  of,
});
const OLD = before(5_000, { trustDomain: 'beta.test' });
const OLD_PERSON = before(5_000, { identity: id('spiffe://beta.test/person') });

describe('a statement', () => {
  it.each([SESSION, TOKEN, PERSON, OLD, OLD_PERSON])('reads back as it was signed: $kind', (what) => {
    const document = parseStatement(beta.statement(7, what));
    expect(document.content).toMatchObject({ issuer: beta.issuer, number: 7, reason: 'stolen', what });
    expect(isSignedBy(nobleEd25519, beta.publicKey, STATEMENT_CONTEXT, document)).toBe(true);
  });

  it('of another key, or of a bit more, is not signed', () => {
    const document = parseStatement(beta.statement(1, SESSION));
    expect(isSignedBy(nobleEd25519, alpha.publicKey, STATEMENT_CONTEXT, document)).toBe(false);
    const body = Uint8Array.from(document.body);
    body[body.length - 1] = (body.at(-1) ?? 0) ^ 1;
    expect(isSignedBy(nobleEd25519, beta.publicKey, STATEMENT_CONTEXT, { ...document, body })).toBe(false);
  });

  it('and a heartbeat never pass for each other, though one key signs both', () => {
    const heartbeat = parseHeartbeat(beta.heartbeat(3, 1_000));
    expect(isSignedBy(nobleEd25519, beta.publicKey, HEARTBEAT_CONTEXT, heartbeat)).toBe(true);
    expect(isSignedBy(nobleEd25519, beta.publicKey, STATEMENT_CONTEXT, heartbeat)).toBe(false);
  });

  it.each<[string, () => Uint8Array]>([
    ['a number of 0', () => beta.statement(0, SESSION)],
    ['a session that is none', () => beta.statement(1, { kind: 'session', session: 'AB'.repeat(16) })],
    ['a token that is none', () => beta.statement(1, { kind: 'token', token: 'cd' })],
    [
      'a line break in its reason: it would forge a line of a log',
      () => beta.statement(1, SESSION, { reason: 'a\nb' }),
    ],
    ['a reason of 257 characters', () => beta.statement(1, SESSION, { reason: 'x'.repeat(257) })],
    ['a time after the year 9999', () => beta.statement(1, before(2 ** 52, { trustDomain: 'beta.test' }))],
    ['a trust domain that is none', () => beta.statement(1, before(1, { trustDomain: 'Beta' }))],
  ])('with %s is MALFORMED', (_, make) => expect(refusal(make)).toBe('MALFORMED'));

  it('that is oversized, cut, or has trailing bytes is MALFORMED', () => {
    const whole = beta.statement(1, SESSION);
    expect(refusal(() => parseStatement(new Uint8Array(8_193)))).toBe('MALFORMED');
    expect(refusal(() => parseStatement(whole.subarray(0, -1)))).toBe('MALFORMED');
    expect(refusal(() => parseStatement(Uint8Array.of(...whole, 0)))).toBe('MALFORMED');
  });
});

describe('who may revoke what', () => {
  it.each<[string, Revoked, typeof alpha, boolean]>([
    ['an identity of its own domain', PERSON, beta, true],
    ['an identity of anybody, by the local site', PERSON, alpha, true],
    ['all of its own domain', OLD, beta, true],
    ['a session: its name does not tell whose', SESSION, beta, true],
    ['an identity of a third domain', { kind: 'identity', identity: id('spiffe://gamma.test/x') }, beta, false],
    [
      'an identity of the local site, by another',
      { kind: 'identity', identity: id('spiffe://alpha.test/x') },
      beta,
      false,
    ],
    ['all of the local site, by another', before(1, { trustDomain: 'alpha.test' }), beta, false],
  ])('%s', (_, what, by, expected) => {
    const { content } = parseStatement(by.statement(1, what));
    expect(hasEffect(content, 'alpha.test')).toBe(expected);
    const index = new RevokedIndex('alpha.test');
    index.add(content);
    const named = what.kind === 'identity' ? what.identity : 'spiffe://alpha.test/x';
    const subject = { trustDomain: named.split('/')[2] ?? '', spiffeId: named, issuedAtMs: 0 };
    if (!expected) expect(index.find(subject)).toBeUndefined();
  });

  it('a cut-off later than a minute from now: nobody could ever attest again', () => {
    const cut = (timeMs: number) =>
      parseStatement(beta.statement(1, before(timeMs, { trustDomain: 'beta.test' }))).content;
    expect(refusalOf(cut(70_000), 10_000)).toBeUndefined();
    expect(refusalOf(cut(70_001), 10_000)).toBe('FUTURE_CUT_OFF');
  });

  it('a heartbeat from the future would keep a feed fresh for ever: refused', () => {
    expect(heartbeatRefusal({ issuer: beta.issuer, number: 1, timeMs: 70_000 }, 10_000)).toBeUndefined();
    expect(heartbeatRefusal({ issuer: beta.issuer, number: 1, timeMs: 70_001 }, 10_000)).toBe('FUTURE_HEARTBEAT');
  });
});

describe('the order of an issuer', () => {
  const feed = (...numbers: number[]): IssuerFeed => {
    const made = new IssuerFeed();
    for (const number of numbers) made.append(parseStatement(beta.statement(number, SESSION)));
    return made;
  };

  it('goes by one; what was said before is known', () => {
    const two = feed(1, 2);
    expect(two.succession(parseStatement(beta.statement(3, TOKEN)))).toEqual({ kind: 'next' });
    expect(two.succession(parseStatement(beta.statement(1, SESSION)))).toEqual({ kind: 'known' });
  });

  it('with a number left out is a gap, and the feed is behind until it is filled', () => {
    const one = feed(1);
    expect(one.succession(parseStatement(beta.statement(3, TOKEN)))).toEqual({ kind: 'gap', next: 2 });
    one.hear(parseHeartbeat(beta.heartbeat(1, 1_000)));
    expect(one.staleness(1_000, 10)).toBe('behind');
    one.append(parseStatement(beta.statement(2, SESSION)));
    one.append(parseStatement(beta.statement(3, TOKEN)));
    expect(one.staleness(1_000, 10)).toBeUndefined();
  });

  it('with two statements under one number is forked, for good', () => {
    const one = feed(1);
    expect(one.succession(parseStatement(beta.statement(1, TOKEN)))).toMatchObject({ kind: 'fork' });
    one.hear(parseHeartbeat(beta.heartbeat(1, 1_000)));
    expect(one.staleness(1_000, 10)).toBe('forked');
  });

  it('is silent once its heartbeat is too old, and an old heartbeat played again does not help', () => {
    const one = feed(1);
    expect(one.staleness(0, 1_000)).toBe('silent');
    expect(one.hear(parseHeartbeat(beta.heartbeat(1, 5_000)))).toBe(true);
    expect(one.hear(parseHeartbeat(beta.heartbeat(1, 5_000)))).toBe(false);
    expect(one.hear(parseHeartbeat(beta.heartbeat(1, 4_000)))).toBe(false);
    expect(one.staleness(6_000, 1_000)).toBeUndefined();
    expect(one.staleness(6_001, 1_000)).toBe('silent');
  });

  it('whose heartbeat tells of more than is here is behind: somebody holds statements back', () => {
    const one = feed(1);
    one.hear(parseHeartbeat(beta.heartbeat(2, 1_000)));
    expect(one.staleness(1_000, 1_000)).toBe('behind');
  });
});

describe('what a revocation reaches', () => {
  const peer = { trustDomain: 'beta.test', spiffeId: 'spiffe://beta.test/person' };
  const standing = { ...peer, session: 'ab'.repeat(16), tokenId: 'cd'.repeat(32), issuedAtMs: 4_999 };
  const foreign = { ...standing, trustDomain: 'gamma.test', spiffeId: 'spiffe://gamma.test/person' };

  it.each([SESSION, TOKEN, PERSON, OLD, OLD_PERSON])(
    '$kind: that peer, by its own domain or by the local site',
    (what) => {
      for (const by of [alpha, beta]) {
        const index = new RevokedIndex('alpha.test');
        expect(index.find(standing)).toBeUndefined();
        index.add(parseStatement(by.statement(1, what)).content);
        expect(index.find(standing)?.what).toEqual(what);
      }
    },
  );

  it.each([SESSION, TOKEN])('$kind of another domain’s peer is not the issuer’s to take, whatever it names', (what) => {
    const index = new RevokedIndex('alpha.test');
    index.add(parseStatement(beta.statement(1, what)).content);
    expect(index.find(foreign)).toBeUndefined();
    index.add(parseStatement(alpha.statement(1, what)).content);
    expect(index.find(foreign)).toBeDefined();
  });

  it('leaves what was issued at the cut-off or later; an earlier cut-off after it takes nothing back', () => {
    const index = new RevokedIndex('alpha.test');
    index.add(parseStatement(beta.statement(1, OLD)).content);
    index.add(parseStatement(beta.statement(2, before(1, { trustDomain: 'beta.test' }))).content);
    expect(index.find({ ...peer, issuedAtMs: 5_000 })).toBeUndefined();
    expect(index.find({ ...peer, issuedAtMs: 4_999 })).toBeDefined();
  });
});

function refusal(action: () => unknown): string | undefined {
  try {
    action();
    return undefined;
  } catch (error) {
    return reasonOf(error);
  }
}
