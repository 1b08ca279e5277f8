import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it, test } from 'vitest';
import { signer } from '../../protocol/evidence/fixtures.ts';
import { drainHoldId, type Hold, type ReceivedDrain, type Release, signRelease } from '../../protocol/hold/index.ts';
import { parseSpiffeId, type SpiffeId } from '../../protocol/identity/spiffe-id.ts';
import { nodeCrypto } from '../base/crypto-node.ts';
import { silentLogger } from '../base/logger.ts';
import { SimulatedClock } from '../base/simulated-clock.ts';
import { nodeEd25519 } from '../evidence/ed25519.ts';
import { type HoldStore, NOTHING_HELD, openHoldStore } from './hold-store.ts';
import { Holds } from './holds.ts';

const OWNER = signer('log', 'owner.home.test', 7);
const [HOME, ANCHOR, ALICE, THIRD] = [
  id('spiffe://home.test/gateway'),
  id('spiffe://anchor.test/gateway'),
  id('spiffe://home.test/people/alice'),
  id('spiffe://third.test/gateway'),
];
const DRAIN: ReceivedDrain = {
  reason: 'POSTURE_ISOLATED',
  level: 1,
  epoch: 8n,
  sessionType: 'mesh',
  attestedEpoch: 7n,
};
const ID = drainHoldId(nodeCrypto.sha256, HOME, ANCHOR, DRAIN.epoch);

let folder: string;
let clock: SimulatedClock;

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'shs-holds-'));
  clock = new SimulatedClock();
});

afterEach(() => rm(folder, { recursive: true, force: true }));

describe('a DRAIN to level 1', () => {
  it('holds the site at once, and after a restart', async () => {
    const holds = await opened();
    expect(holds.drained(HOME, DRAIN)).toBe(true);
    expect([holds.isHeld(HOME), holds.isHeld(ALICE), holds.isHeld(THIRD)]).toEqual([true, true, false]);
    await holds.settled();
    const after = await opened();
    expect(after.of(HOME)).toMatchObject({ id: ID, cause: 'drain', epoch: 8n, peer: HOME, anchor: ANCHOR });
  });

  it.each<readonly [string, SpiffeId, Partial<ReceivedDrain>]>([
    ['of an identity that is no mesh peer', ALICE, {}],
    ['that was said before the last attestation', HOME, { epoch: 7n }],
    ['of an operator’s session', HOME, { sessionType: 'operator' }],
  ])('%s holds nobody', async (_what, identity, change) => {
    const holds = await opened();
    expect(holds.drained(identity, { ...DRAIN, ...change })).toBe(false);
    expect(holds.all).toEqual([]);
  });

  it('of a later lockdown takes the place of the former: its release is of no use any more', async () => {
    const holds = await held();
    holds.drained(HOME, { ...DRAIN, epoch: 9n });
    expect(holds.all).toHaveLength(1);
    await expect(holds.deliver(document())).rejects.toThrow('RELEASE_MISMATCH');
  });
});

describe('the console', () => {
  it('holds and releases a peer by its name, whatever held it', async () => {
    const holds = await held();
    await holds.hold('home', 'drill');
    expect(holds.all.map(({ cause }) => cause)).toEqual(['drain', 'console']);
    expect(await holds.release('home')).toBe(true);
    expect(await holds.release('home')).toBe(false);
    expect((await opened()).all).toEqual([]);
    await expect(holds.hold('nobody', 'drill')).rejects.toThrow('MALFORMED');
  });

  it('is told of each hold and release', async () => {
    const holds = await opened();
    const told: string[] = [];
    holds.onChange(({ kind, hold }) => told.push(`${kind} ${hold.cause}`));
    holds.drained(HOME, DRAIN);
    await holds.release('home');
    expect(told).toEqual(['held drain', 'released drain']);
  });
});

describe('a signed release', () => {
  it('counts once, also over a restart', async () => {
    const holds = await held();
    const told: Hold = await holds.deliver(document());
    expect([told.id, holds.isHeld(HOME)]).toEqual([ID, false]);
    await expect(holds.deliver(document())).rejects.toThrow('RELEASE_SPENT');
    const after = await opened();
    // Attack: a peer whose clock was put back counts the same epoch again, and an old release of it is kept by somebody.
    after.drained(HOME, DRAIN);
    await expect(after.deliver(document())).rejects.toThrow('RELEASE_SPENT');
    expect(after.isHeld(HOME)).toBe(true);
  });

  it('delivered twice at once counts once', async () => {
    const holds = await held();
    const results = await Promise.allSettled([holds.deliver(document()), holds.deliver(document())]);
    expect(results.map(({ status }) => status)).toEqual(['fulfilled', 'rejected']);
  });

  it('does not lift what the console holds', async () => {
    const holds = await held();
    await holds.hold('home', 'we do not trust them');
    await holds.deliver(document());
    expect(holds.of(HOME)).toMatchObject({ cause: 'console' });
  });

  it('of a key that is not configured for that peer changes nothing', async () => {
    const holds = await held();
    const forged = signRelease(release(), signer('log', 'owner.home.test', 8));
    await expect(holds.deliver(forged)).rejects.toThrow('RELEASE_UNTRUSTED');
    expect(holds.isHeld(HOME)).toBe(true);
  });

  it('that cannot be made durable releases nobody', async () => {
    const failing: HoldStore = { save: () => Promise.reject(new Error('disk full')) };
    const holds = make({ store: failing, kept: NOTHING_HELD });
    holds.drained(HOME, DRAIN);
    await holds.settled();
    await expect(holds.deliver(document())).rejects.toThrow('disk full');
    expect(holds.isHeld(HOME)).toBe(true);
    expect(holds.problem).toMatch(/cannot be written/);
  });
});

describe('who was named for it', () => {
  it('ends the hold by attesting, and nobody else does', async () => {
    const holds = await held();
    expect([holds.awaitsAttestation, holds.mayAttestRelease(ALICE), holds.mayAttestRelease(HOME)]).toEqual([
      true,
      true,
      false,
    ]);
    await holds.releaseAttested(ALICE);
    expect([holds.isHeld(ALICE), holds.awaitsAttestation]).toEqual([false, false]);
  });

  it('does not end what the console holds', async () => {
    const holds = await opened();
    await holds.hold('home', 'we do not trust them');
    expect(holds.mayAttestRelease(ALICE)).toBe(false);
    holds.drained(HOME, DRAIN);
    await expect(holds.releaseAttested(ALICE)).rejects.toThrow('PEER_HELD');
    expect(holds.of(ALICE)).toMatchObject({ cause: 'console' });
  });
});

test.each<readonly [string, (text: string) => string]>([
  ['a bit that fell over', (text) => text.replace('"epoch": "8"', '"epoch": "9"')],
  ['half of it', (text) => text.slice(0, text.length / 2)],
  ['nothing in it', () => ''],
])('a record with %s holds every peer until the console releases it', async (_what, damage) => {
  await held();
  const path = join(folder, 'holds.json');
  await writeFile(path, damage(await readFile(path, 'utf8')));
  const holds = await opened();
  expect(holds.all.map(({ cause, peer }) => [cause, peer])).toEqual([
    ['record', HOME],
    ['record', THIRD],
  ]);
  await holds.settled();
  const later = await opened();
  expect(later.isHeld(THIRD)).toBe(true);
  await expect(later.deliver(document())).rejects.toThrow('RELEASE_MISMATCH');
  expect(await later.release('home')).toBe(true);
  expect([later.isHeld(HOME), later.isHeld(THIRD)]).toEqual([false, true]);
});

async function opened(): Promise<Holds> {
  return make(await openHoldStore(folder, nodeCrypto.sha256));
}

async function held(): Promise<Holds> {
  const holds = await opened();
  holds.drained(HOME, DRAIN);
  await holds.settled();
  return holds;
}

function make(store: ConstructorParameters<typeof Holds>[0]['opened']): Holds {
  const peers = [
    { name: 'home', spiffeId: HOME, releaseKeys: [OWNER], ceremony: [ALICE] },
    { name: 'third', spiffeId: THIRD, releaseKeys: [], ceremony: [] },
  ];
  const self = (): SpiffeId => ANCHOR;
  return new Holds({ clock, log: silentLogger, crypto: nodeCrypto, ed25519: nodeEd25519, opened: store, peers, self });
}

function release(): Release {
  return { hold: ID, peer: HOME, anchor: ANCHOR, level: 5, expiresAtMs: clock.now() + 60_000 };
}

function document(): Uint8Array {
  return signRelease(release(), OWNER);
}

function id(text: string): SpiffeId {
  const parsed = parseSpiffeId(text);
  if (parsed === undefined) throw new Error(text);
  return parsed;
}
