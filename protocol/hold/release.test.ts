import { describe, expect, it, test } from 'vitest';
import { nobleEd25519 } from '../evidence/ed25519.ts';
import { signer } from '../evidence/fixtures.ts';
import { parseNote, signNote } from '../evidence/note.ts';
import { parseSpiffeId, type SpiffeId } from '../identity/spiffe-id.ts';
import type { Hold } from './hold.ts';
import {
  judgeRelease,
  LONGEST_RELEASE_MS,
  parseRelease,
  type Release,
  type ReleaseWorld,
  signRelease,
} from './release.ts';

const NOW = 1_795_000_000_000;
const OWNER = signer('log', 'owner.home.test', 7);
const STRANGER = signer('log', 'owner.home.test', 8);

const HOLD: Hold = {
  id: '0123456789abcdef0123456789abcdef',
  peer: id('spiffe://home.test/gateway'),
  anchor: id('spiffe://anchor.test/gateway'),
  cause: 'drain',
  epoch: 5n,
  sinceMs: NOW - 1_000,
  reason: 'posture level 1',
};
const RELEASE: Release = { hold: HOLD.id, peer: HOLD.peer, anchor: HOLD.anchor, level: 5, expiresAtMs: NOW + 60_000 };
const WORLD: ReleaseWorld = { ed25519: nobleEd25519, now: NOW, standing: HOLD, keys: [OWNER], isSpent: false };

test('what was signed is what is read, and releases', () => {
  expect(judged(RELEASE)).toBe('released');
  expect(parseRelease(signRelease(RELEASE, OWNER)).release).toEqual(RELEASE);
});

describe('a release is refused', () => {
  it.each<readonly [string, Partial<Release>, Partial<ReleaseWorld>, string]>([
    ['past its expiry', { expiresAtMs: NOW }, {}, 'RELEASE_EXPIRED'],
    ['good for ever', { expiresAtMs: NOW + LONGEST_RELEASE_MS + 1 }, {}, 'RELEASE_EXPIRED'],
    ['of a site that is at level 1 still', { level: 1 }, {}, 'RELEASE_LEVEL'],
    ['used before', {}, { isSpent: true }, 'RELEASE_SPENT'],
    ['of another hold', { hold: 'f'.repeat(32) }, {}, 'RELEASE_MISMATCH'],
    ['where nothing is held', {}, { standing: undefined }, 'RELEASE_MISMATCH'],
    ['of another site', { peer: id('spiffe://other.test/gateway') }, {}, 'RELEASE_MISMATCH'],
    ['for another anchor', { anchor: id('spiffe://other.test/gateway') }, {}, 'RELEASE_MISMATCH'],
    ['without any key configured', {}, { keys: [] }, 'RELEASE_UNTRUSTED'],
    ['of a key of the same name', {}, { keys: [STRANGER] }, 'RELEASE_UNTRUSTED'],
  ])('%s', (_what, release, world, reason) => {
    expect(judged({ ...RELEASE, ...release }, world)).toBe(reason);
  });

  it('whose lines were changed after it was signed', () => {
    const changed = Buffer.from(signRelease({ ...RELEASE, level: 1 }, OWNER))
      .toString()
      .replace('level 1', 'level 5');
    const { release, note } = parseRelease(Buffer.from(changed));
    expect(() => judgeRelease(release, note, WORLD)).toThrow(/^RELEASE_UNTRUSTED/);
  });
});

describe('a document is MALFORMED', () => {
  const good = Buffer.from(signRelease(RELEASE, OWNER)).toString();

  it.each<readonly [string, string]>([
    ['of another kind', good.replace('shellstream/1 release', 'shellstream/1 hold')],
    ['with a line more', good.replace('level 5\n', 'level 5\nlevel 4\n')],
    ['with lines in another order', good.replace(/(level 5\n)(expires \d+\n)/, '$2$1')],
    ['of level 0', good.replace('level 5', 'level 0')],
    ['of level 6', good.replace('level 5', 'level 6')],
    ['with an identity that is none', good.replace('spiffe://home.test/gateway', 'spiffe://HOME.test/gateway')],
    ['with a number that begins with 0', good.replace('expires ', 'expires 0')],
    ['with a hold in capitals', good.replace(HOLD.id, HOLD.id.toUpperCase())],
    ['without a signature', `${good.split('\n\n')[0]}\n`],
    ['that is empty', ''],
    ['that is too long', `${good}${' '.repeat(9_000)}`],
  ])('%s', (_what, text) => {
    expect(() => parseRelease(Buffer.from(text))).toThrow(/^MALFORMED/);
  });

  it('also where its signature is good, when the signed lines are not a release', () => {
    const { text } = signNote('anchor.test/evidence\n12\nroot\n', [OWNER]);
    expect(parseNote(signRelease(RELEASE, OWNER)).text).not.toBe(text);
    expect(() => parseRelease(Buffer.from(`${text}\n${good.split('\n\n')[1]}`))).toThrow(/^MALFORMED/);
  });
});

function judged(release: Release, world: Partial<ReleaseWorld> = {}): string {
  const document = parseRelease(signRelease(release, OWNER));
  try {
    judgeRelease(document.release, document.note, { ...WORLD, ...world });
    return 'released';
  } catch (error) {
    return error instanceof Error ? (/^[A-Z_]+/.exec(error.message)?.[0] ?? '') : '';
  }
}

function id(text: string): SpiffeId {
  const parsed = parseSpiffeId(text);
  if (parsed === undefined) throw new Error(text);
  return parsed;
}
