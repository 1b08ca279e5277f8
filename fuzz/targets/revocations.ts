/** Statements of revocation and heartbeats, as feeds and consoles hand them in. */
import { id, testIssuer } from '../../protocol/revocation/fixtures.ts';
import {
  MAX_SIGNED_BYTES,
  parseHeartbeat,
  parseStatement,
  RevokedIndex,
  refusalOf,
  signStatement,
} from '../../protocol/revocation/index.ts';
import { protobuf } from '../formats/protobuf.ts';
import { treeFormat } from '../formats/tree.ts';
import { alike, attempt, holds, type OpenTarget } from '../target.ts';

const MALFORMED = { reasons: ['MALFORMED'] } as const;

export const open: OpenTarget = async () => {
  const issuer = testIssuer('spiffe://beta.example/revocation', 1);
  const of = { trustDomain: 'beta.example' };
  const person = id('spiffe://beta.example/person');
  return {
    about: 'revocations: what is taken is bounded, signs again to the same statement, and reaches no other domain',
    covers: ['protocol/revocation/'],
    maxBytes: 9_000,
    format: treeFormat(protobuf),
    dictionary: ['spiffe://beta.example/person', 'beta.example', 'ab'.repeat(16), 'cd'.repeat(32), '\n', '\u202e'],
    seeds: [
      issuer.statement(1, { kind: 'session', session: 'ab'.repeat(16) }),
      issuer.statement(2, { kind: 'identity', identity: person }),
      issuer.statement(3, { kind: 'token', token: 'cd'.repeat(32) }),
      issuer.statement(4, { kind: 'issued-before', timeMs: 5_000, of }),
      issuer.statement(5, { kind: 'issued-before', timeMs: 5_000, of: { identity: person } }),
      issuer.heartbeat(5, 9_000),
    ],
    run(input) {
      const heartbeat = attempt(MALFORMED, () => parseHeartbeat(input));
      const read = attempt(MALFORMED, () => parseStatement(input));
      if ('refusal' in read) return `${'value' in heartbeat} ${read.refusal}`;
      const { content, bytes } = read.value;
      holds(bytes.length <= MAX_SIGNED_BYTES, 'a statement over the limit');
      holds(content.number >= 1 && Number.isSafeInteger(content.number + 1), 'a number that has no next');
      holds(!/\p{C}/u.test(content.reason), 'a reason of more than a line');
      holds(
        alike(parseStatement(signStatement(content, issuer.sign)).content, content),
        'a statement reads back as another',
      );
      const index = new RevokedIndex('alpha.example');
      index.add(content);
      const bystander = { trustDomain: 'gamma.example', spiffeId: 'spiffe://gamma.example/x', issuedAtMs: 0 };
      const isOfGamma =
        content.issuer.startsWith('spiffe://gamma.example') || content.issuer.startsWith('spiffe://alpha.example');
      holds(isOfGamma || index.find(bystander) === undefined, 'a domain that is not the issuer’s was reached');
      return `taken ${content.what.kind} ${refusalOf(content, 10_000)}`;
    },
  };
};
