/** Whoever stands in the middle, whoever's clock is wrong, and what is refused when there is nothing to judge by, or no room. */
import { readFileSync } from 'node:fs';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { hostile } from '../../certs-dev/index.ts';
import { tierPolicyOf } from '../../protocol/capability/index.ts';
import { reasonOf, ShellstreamError } from '../../protocol/errors.ts';
import { initiate, type Offer, respond } from '../../protocol/handshake/index.ts';
import { parseAccord } from '../../protocol/posture/parse-accord.ts';
import {
  attempt,
  establish,
  footprint,
  type MemoryNode,
  MemoryWorld,
  NOTHING,
  REQUEST,
} from '../../test/support/memory-nodes.ts';
import { DEFAULT_ACCORD_FILE } from '../base/accord-file.ts';
import type { Clock } from '../base/clock.ts';
import { nodeCrypto as crypto } from '../base/crypto-node.ts';
import { SpiffeAttestor } from '../identity/attestor.ts';
import { SpireSatVerifier, SvidVerifier } from '../identity/index.ts';
import { LocalEnforcer } from './enforcer.ts';

let world: MemoryWorld;
let a: MemoryNode;
let b: MemoryNode;

beforeEach(async () => {
  world = new MemoryWorld();
  a = await world.node('a');
  b = await world.node('b');
});
afterEach(() => world[Symbol.asyncDispose]());

const OFFER: Offer = { versions: [1], sessionType: 'mesh', mode: 'overlay' };

describe('attack: somebody in the middle', () => {
  it('who ends Noise at both sides and passes evidence on is not believed, and is sent no token', async () => {
    const keys = () => ({ crypto, staticKey: crypto.x25519Generate() });
    const [toGateway, toVictim] = [initiate(keys(), OFFER), respond(keys())];
    const challenged = respond(keys()).readInit(toGateway.record);
    const evidence = await b.enforcer.challenge(challenged);

    const victim = initiate(keys(), OFFER);
    const relayed = toVictim.readInit(victim.record).writeVerify(evidence);
    const met = victim.next.readVerify(relayed.record);
    const approached = a.enforcer.approach({ ...met, offer: OFFER, expectedId: b.spiffeId, request: REQUEST });
    expect(await reason(approached)).toBe('SVID_SIGNATURE');
    expect(a.tokens.minted).toEqual([]);
  });

  it('who takes the older version out of the offer changes what the evidence is signed over', async () => {
    const offered = initiate({ crypto, staticKey: crypto.x25519Generate() }, { ...OFFER, versions: [1, 2] });
    const stripped = offered.record.slice();
    // The last number of the packed list becomes the first one's.
    const at = stripped.lastIndexOf(2, 38);
    stripped[at] = 1;
    const init = respond({ crypto, staticKey: crypto.x25519Generate() }).readInit(stripped);
    expect(init.offer.versions).toEqual([1, 1]);
    const { record } = init.writeVerify(await b.enforcer.challenge(init));
    expect(() => offered.next.readVerify(record)).toThrow('DECRYPT_FAILED');
  });

  it('who answers with a version that was not offered is not followed', async () => {
    const { verify, evidence } = await challengedWith({ ...OFFER, versions: [1] });
    const approached = a.enforcer.approach({
      ...verify,
      evidence,
      offer: { ...OFFER, versions: [2] },
      expectedId: b.spiffeId,
      request: REQUEST,
    });
    expect(await reason(approached)).toBe('NO_COMMON_VERSION');
    expect(a.tokens.minted).toEqual([]);
  });
});

describe('a clock that is wrong', () => {
  const HOUR = 3_600_000;

  it.each([
    ['5 hours ahead', 5 * HOUR],
    ['5 hours behind', -5 * HOUR],
  ])('%s at the responder: the initiator’s SVID is not valid by it, and nothing stands', async (_what, offset) => {
    const { admit } = await attempt(a, b);
    expect(await reason(withClock(b, offset).admit(admit))).toBe('SVID_EXPIRED');
    expect(await footprint(b.dataplane, b.overlay)).toEqual(NOTHING);
  });

  it.each([
    ['5 hours ahead', 5 * HOUR],
    ['5 hours behind', -5 * HOUR],
  ])('%s at the initiator: the responder’s SVID is not valid by it, and no token is minted', async (_what, offset) => {
    const { verify, evidence } = await challengedWith(OFFER);
    const approached = withClock(a, offset).approach({
      ...verify,
      evidence,
      offer: OFFER,
      expectedId: b.spiffeId,
      request: REQUEST,
    });
    expect(await reason(approached)).toBe('SVID_EXPIRED');
    expect(a.tokens.minted).toEqual([]);
  });

  it.each([5_000, -5_000])('%i ms off is no hindrance', async (offset) => {
    const { admit } = await attempt(a, b);
    expect((await withClock(b, offset).admit(admit)).peer.spiffeId).toBe(a.spiffeId);
  });
});

describe('with no trust bundle at all', () => {
  it.each(['responder', 'initiator'] as const)('the %s believes nobody', async (role) => {
    const tried = attempt(a, b);
    const { admit } = await tried;
    const { source } = role === 'responder' ? b : a;
    source.replaceBundles({ x509: new Map(), jwt: new Map() });
    expect(await reason(role === 'responder' ? b.enforcer.admit(admit) : attempt(a, b))).toBe('NO_BUNDLE');
    expect(await footprint(b.dataplane, b.overlay)).toEqual(NOTHING);
  });

  it('of JWT alone, no token can be judged', async () => {
    const { admit } = await attempt(a, b);
    b.source.replaceBundles({ x509: b.source.bundles.x509, jwt: new Map() });
    expect(await reason(b.enforcer.admit(admit))).toBe('SAT_UNVERIFIABLE');
  });
});

describe('a foreign tier', () => {
  it('claimed by a federated domain without a ceiling here is none, whatever the token says', async () => {
    const accord = parseAccord(
      new TextEncoder().encode(`
apiVersion: shellstream.accord/v1
extends: default
serial: 1
signer: none
minimumVersion: 1
id: no-ceilings
`),
      { bases: new Map([[DEFAULT.id, DEFAULT]]) },
    );
    const { admit } = await attempt(a, b, { type: 'operator', request: { ...REQUEST, targets: [] } });
    const strict = again(b, { tiers: tierPolicyOf(accord, 'b.test') });
    expect(await reason(strict.admit(admit))).toBe('TIER_UNKNOWN');
  });
});

describe('a token with its signature malleated', () => {
  it('is the same token: its id is of what is signed, so that a list of revoked ids knows it', async () => {
    const ids: string[] = [];
    const noting = again(b, {
      attestor: {
        self: () => b.attestor.self(),
        verifyPeer: (...input) => b.attestor.verifyPeer(...input),
        mintToken: (...asked) => b.attestor.mintToken(...asked),
        answersFor: (...asked) => b.attestor.answersFor(...asked),
        verifyToken: async (input) => {
          const token = await b.attestor.verifyToken(input);
          ids.push(token.tokenId);
          return token;
        },
      },
    });
    const token = a.entry.identity.jwt([b.spiffeId]);
    for (const presented of [token, hostile.malleate(token)]) {
      a.source.fetchSat = async () => presented;
      await noting.admit((await attempt(a, b)).admit);
    }
    expect(ids).toHaveLength(2);
    expect(new Set(ids).size).toBe(1);
  });
});

describe('attack: full flow tables', () => {
  it('a session that does not fit is refused, holds nothing, and those that stand go on', async () => {
    const { hosted } = await establish(a, b);
    const c = await world.node('c');
    const before = await footprint(b.dataplane, b.overlay);
    const { install } = b.dataplane.flows;
    b.dataplane.flows.install = () => Promise.reject(new ShellstreamError('DATAPLANE_FULL'));
    expect(await reason(establish(c, b))).toBe('DATAPLANE_FULL');
    expect(await footprint(b.dataplane, b.overlay)).toEqual(before);
    b.dataplane.flows.install = install.bind(b.dataplane.flows);
    expect(b.directory.get(hosted.id)).toBeDefined();
    expect(b.directory.size).toBe(1);
    await establish(a, b);
    expect(b.directory.size).toBe(1);
  });
});

const DEFAULT = parseAccord(readFileSync(DEFAULT_ACCORD_FILE));

/** b's honest evidence for a handshake of this offer, and what the initiator has of it. */
async function challengedWith(offer: Offer) {
  const keys = () => ({ crypto, staticKey: crypto.x25519Generate() });
  const first = initiate(keys(), offer);
  const init = respond(keys()).readInit(first.record);
  const verify = first.next.readVerify(init.writeVerify(await b.enforcer.challenge(init)).record);
  return { verify, evidence: verify.evidence };
}

/** The node's enforcer with other parts, over the same data plane, nonces and directory. */
function again(node: MemoryNode, changes: Partial<ConstructorParameters<typeof LocalEnforcer>[0]>): LocalEnforcer {
  return new LocalEnforcer({
    ...node,
    tiers: tierPolicyOf(node.accord, node.source.current().trustDomain),
    keepaliveOf: () => 25,
    intends: () => true,
    ...changes,
  });
}

/** A node whose wall clock, and nothing else of it, is off by so many milliseconds. */
function withClock(node: MemoryNode, offsetMs: number): LocalEnforcer {
  const clock: Clock = {
    now: () => node.clock.now() + offsetMs,
    monotonic: () => node.clock.monotonic(),
    after: (delayMs, action) => node.clock.after(delayMs, action),
  };
  const { source } = node;
  const attestor = new SpiffeAttestor({
    source,
    svids: new SvidVerifier({ bundles: () => source.bundles, clock }),
    sats: new SpireSatVerifier({ source }),
    clock,
  });
  return again(node, { clock, attestor });
}

async function reason(work: Promise<unknown>): Promise<string> {
  return await work.then(() => 'nothing was refused', reasonOf);
}
