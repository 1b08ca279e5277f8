import { describe, expect, it, test } from 'vitest';
import { sha256 } from '../evidence/fixtures.ts';
import { parseSpiffeId, type SpiffeId } from '../identity/spiffe-id.ts';
import { covers, drainHoldId, makesHold, type ReceivedDrain } from './hold.ts';

const DRAIN: ReceivedDrain = {
  reason: 'POSTURE_ISOLATED',
  level: 1,
  epoch: 8n,
  sessionType: 'mesh',
  attestedEpoch: 7n,
};

describe('a hold is made', () => {
  it('by a DRAIN to level 1 of a mesh session', () => {
    expect(makesHold(DRAIN)).toBe(true);
  });

  it.each<readonly [string, Partial<ReceivedDrain>]>([
    ['a drain of an operator', { reason: 'OPERATOR_DRAIN' }],
    ['a shutdown', { reason: 'SHUTTING_DOWN', level: undefined }],
    ['posture 2', { level: 2 }],
    ['a drain for posture that says no level', { level: undefined }],
    ['attack: a replayed DRAIN, of the epoch that was attested since', { epoch: 7n }],
    ['attack: an older one', { epoch: 6n }],
    ['attack: an operator session of the site', { sessionType: 'operator' }],
    ['attack: a management session of the site', { sessionType: 'management' }],
  ])('not by %s', (_what, change) => {
    expect(makesHold({ ...DRAIN, ...change })).toBe(false);
  });
});

test('a hold covers the whole site, but of our own site only the one gateway', () => {
  const [peer, anchor] = [id('spiffe://home.test/gateway'), id('spiffe://anchor.test/gateway')];
  expect(covers({ peer, anchor }, peer)).toBe(true);
  expect(covers({ peer, anchor }, id('spiffe://home.test/people/alice'))).toBe(true);
  expect(covers({ peer, anchor }, id('spiffe://home.test.evil/gateway'))).toBe(false);
  expect(covers({ peer, anchor }, id('spiffe://third.test/gateway'))).toBe(false);
  const sibling = id('spiffe://anchor.test/second');
  expect(covers({ peer: sibling, anchor }, sibling)).toBe(true);
  expect(covers({ peer: sibling, anchor }, id('spiffe://anchor.test/people/alice'))).toBe(false);
});

test('the id of a hold follows from both identities and the epoch, as the specification has it', () => {
  const one = drainHoldId(sha256, 'spiffe://a.test/gateway', 'spiffe://b.test/gateway', 1_795_000_000_001n);
  expect(one).toBe('2e997730368807ea7d1b2413619d91a3');
  expect(drainHoldId(sha256, 'spiffe://b.test/gateway', 'spiffe://a.test/gateway', 1_795_000_000_001n)).not.toBe(one);
  expect(drainHoldId(sha256, 'spiffe://a.test/gateway', 'spiffe://b.test/gateway', 1_795_000_000_002n)).not.toBe(one);
});

function id(text: string): SpiffeId {
  const parsed = parseSpiffeId(text);
  if (parsed === undefined) throw new Error(text);
  return parsed;
}
