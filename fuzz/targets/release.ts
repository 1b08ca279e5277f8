/** Releases of holds, as they come by HTTP or in a file: nothing but what the owner signed, for this hold, releases. */
import { type Hold, judgeRelease, parseRelease, signRelease } from '../../protocol/hold/index.ts';
import { parseSpiffeId, type SpiffeId } from '../../protocol/identity/spiffe-id.ts';
import { nodeCrypto } from '../../src/base/crypto-node.ts';
import { nodeEd25519, noteSigner } from '../../src/evidence/ed25519.ts';
import { lines } from '../formats/lines.ts';
import { attempt, holds, type OpenTarget } from '../target.ts';
import { fill } from './examples.ts';

const NOW = 1_795_000_000_000;

export const open: OpenTarget = async () => {
  const owner = noteSigner(nodeCrypto.sha256, 'owner.home.test', fill(7));
  const stranger = noteSigner(nodeCrypto.sha256, 'owner.home.test', fill(8));
  const standing: Hold = {
    id: '0123456789abcdef0123456789abcdef',
    peer: id('spiffe://home.test/gateway'),
    anchor: id('spiffe://anchor.test/gateway'),
    cause: 'drain',
    epoch: 5n,
    sinceMs: NOW,
    reason: '',
  };
  const { id: hold, peer, anchor } = standing;
  const release = { hold, peer, anchor, level: 5, expiresAtMs: NOW + 60_000 } as const;
  const good = signRelease(release, owner);
  const world = { ed25519: nodeEd25519, now: NOW, standing, keys: [owner], isSpent: false };
  return {
    about: 'releases: nothing but what the owner signed for this hold releases it',
    covers: ['protocol/hold/', 'protocol/evidence/note.ts'],
    maxBytes: 4_096,
    format: lines,
    dictionary: ['shellstream/1 release\n', '\n\n— ', 'level 1', 'level 5', 'expires ', `hold ${hold}`],
    seeds: [
      good,
      signRelease({ ...release, level: 1 }, owner),
      signRelease({ ...release, hold: 'f'.repeat(32) }, owner),
      signRelease(release, stranger),
    ],
    run(input) {
      const reasons = [
        'MALFORMED',
        'RELEASE_UNTRUSTED',
        'RELEASE_EXPIRED',
        'RELEASE_LEVEL',
        'RELEASE_MISMATCH',
      ] as const;
      const read = attempt({ reasons }, () => {
        const document = parseRelease(input);
        judgeRelease(document.release, document.note, world);
        return document;
      });
      if ('refusal' in read) return `refused ${read.refusal}`;
      const goodText = Buffer.from(good).toString().split('\n\n')[0];
      holds(read.value.note.text === `${goodText}\n`, 'a text that was never signed releases');
      return 'released';
    },
  };
};

function id(text: string): SpiffeId {
  const parsed = parseSpiffeId(text);
  if (parsed === undefined) throw new Error(text);
  return parsed;
}
