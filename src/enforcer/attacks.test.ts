/** What an attacker may try between the messages of a handshake, and what the enforcer says to it. No kernel, no sockets. */
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { reasonOf } from '../../protocol/errors.ts';
import { parseConfirmBody } from '../../protocol/handshake/index.ts';
import { parsePrefix } from '../../protocol/net/prefix.ts';
import {
  type AttemptOptions,
  attempt,
  establish,
  footprint,
  MANAGEMENT,
  type MemoryNode,
  MemoryWorld,
  NOTHING,
  REQUEST,
} from '../../test/support/memory-nodes.ts';

let world: MemoryWorld;
let a: MemoryNode;
let b: MemoryNode;

beforeEach(async () => {
  world = new MemoryWorld();
  a = await world.node('a');
  b = await world.node('b');
});
afterEach(() => world[Symbol.asyncDispose]());

describe('an admission', () => {
  it('stands at both ends with flows, pins, tunnel, route and control flow, and goes with its release', async () => {
    const { hosted, visited } = await establish(a, b);
    expect(hosted.id).toBe(visited.id);
    const stands = { sessions: 1, policies: 1, live: 0, sources: 1, peers: 1, routes: 1 };
    expect(await footprint(b.dataplane, b.overlay)).toEqual(stands);
    // The initiator pins and routes the target and the responder's tunnel address.
    expect(await footprint(a.dataplane, a.overlay)).toEqual({ ...stands, sources: 2, routes: 2 });
    await b.enforcer.release(hosted.id, 'CLOSED');
    await a.enforcer.release(visited.id, 'CLOSED');
    expect(await footprint(b.dataplane, b.overlay)).toEqual(NOTHING);
    expect(await footprint(a.dataplane, a.overlay)).toEqual(NOTHING);
  });
});

describe('attack: evidence', () => {
  it('replayed: the same evidence twice opens one session', async () => {
    const { admit } = await attempt(a, b);
    await b.enforcer.admit(admit);
    expect(await reason(b.enforcer.admit(admit))).toBe('NONCE_UNKNOWN');
    expect(b.dataplane.flows.sessions).toHaveLength(1);
  });

  it('kept for later: a nonce is dead after its lifetime', async () => {
    const { admit } = await attempt(a, b);
    await world.clock.advance(30_001);
    expect(await reason(b.enforcer.admit(admit))).toBe('NONCE_UNKNOWN');
  });

  it('of another session: signed over another transcript', async () => {
    const [one, other] = [await attempt(a, b), await attempt(a, b)];
    const moved = { ...one.admit, transcript: other.admit.transcript, handshakeHash: other.admit.handshakeHash };
    expect(await reason(b.enforcer.admit(moved))).toBe('SVID_SIGNATURE');
  });

  it('of another static key: the one that signed named its own', async () => {
    const [one, other] = [await attempt(a, b), await attempt(a, b)];
    expect(await reason(b.enforcer.admit({ ...one.admit, staticKey: other.admit.staticKey }))).toBe('SVID_SIGNATURE');
  });

  it('with another body: one bit of the request', async () => {
    const { admit } = await attempt(a, b);
    const body = Uint8Array.from(admit.evidence.body);
    const at = body.length - 1;
    body[at] = (body[at] ?? 0) ^ 1;
    expect(await reason(b.enforcer.admit({ ...admit, evidence: { ...admit.evidence, body } }))).toBe('SVID_SIGNATURE');
  });

  it('meant for another responder is not taken by this one', async () => {
    const elsewhere = await world.node('b', { path: '/other' });
    // Relayed by somebody in between: b's nonce, but evidence for b's colleague.
    const { admit } = await attempt(a, elsewhere);
    expect(await reason(b.enforcer.admit(admit))).toBe('NONCE_UNKNOWN');
    b.nonces.issue(parseConfirmBody(admit.evidence.body).nonce, false);
    expect(await reason(b.enforcer.admit(admit))).toBe('WRONG_IDENTITY');
  });

  it('downgrade: message 3 does not repeat what message 1 asked for', async () => {
    const { admit } = await attempt(a, b);
    for (const offer of [
      { ...admit.offer, versions: [1, 2] },
      { ...admit.offer, sessionType: 'management' as const },
      { ...admit.offer, mode: 'underlay' as const },
    ]) {
      expect(await reason(b.enforcer.admit({ ...admit, offer }))).toBe('DOWNGRADE');
    }
  });
});

describe('attack: a responder', () => {
  it('that is any valid SVID but the pinned one sees no token: none is minted', async () => {
    const impostor = await world.node('b', { path: '/impostor' });
    expect(await reason(attempt(a, impostor, { expectedId: b.spiffeId }))).toBe('WRONG_IDENTITY');
    expect(a.tokens.minted).toEqual([]);
    await attempt(a, b);
    expect(a.tokens.minted).toEqual([b.spiffeId]);
  });

  it('that denies the class of session sees no token either', async () => {
    b.change(2);
    expect(await reason(attempt(a, b, { type: 'operator' }))).toBe('POSTURE_TYPE_NOT_ALLOWED');
    expect(a.tokens.minted).toEqual([]);
  });

  it('that grants more than was asked is not believed', async () => {
    const tried = await attempt(a, b);
    const hosted = await b.enforcer.admit(tried.admit);
    const answer = hosted.answer;
    if (answer === undefined) throw new Error('no answer');
    const wider = { ...answer, targets: [...answer.targets, MANAGEMENT] };
    expect(await reason(tried.accept({ ...hosted, answer: wider }))).toBe('UNEXPECTED_RECORD');
    expect(await footprint(a.dataplane, a.overlay)).toEqual(NOTHING);
  });

  it('at lockdown says nothing at all, not even who it is', async () => {
    b.change(1);
    expect(await reason(attempt(a, b))).toBe('POSTURE_ISOLATED');
  });
});

describe('attack: a token', () => {
  it('stolen: of another subject than the SVID that signed', async () => {
    const thief = await world.node('a', { path: '/thief', tunnelAddress: '10.99.0.9' });
    thief.source.fetchSat = async (audience) => a.entry.identity.jwt([audience]);
    const { admit } = await attempt(thief, b);
    expect(await reason(b.enforcer.admit(admit))).toBe('SAT_WRONG_SUBJECT');
  });

  it('for the plain audience at level 3 is not fresh', async () => {
    b.change(3);
    a.source.fetchSat = async () => a.entry.identity.jwt([b.spiffeId]);
    const { admit } = await attempt(a, b);
    expect(await reason(b.enforcer.admit(admit))).toBe('SAT_NOT_FRESH');
  });

  it('bound to another handshake is for somebody else', async () => {
    b.change(3);
    await attempt(a, b);
    const [earlier] = a.tokens.minted;
    a.source.fetchSat = async () => a.entry.identity.jwt([earlier ?? '']);
    const { admit } = await attempt(a, b);
    expect(await reason(b.enforcer.admit(admit))).toBe('SAT_WRONG_AUDIENCE');
  });

  it('asked for while the initiator itself is at 3 is bound, whatever the responder asks', async () => {
    a.change(3);
    const { admit } = await attempt(a, b);
    expect(a.tokens.minted[0]).toMatch(/#[A-Za-z0-9_-]{43}$/);
    expect((await b.enforcer.admit(admit)).effectiveLevel).toBe(3);
  });
});

describe('posture that changes under a decision', () => {
  it('while the token is being minted: no evidence leaves', async () => {
    a.tokens.beforeMint = () => a.change(4);
    expect(await reason(attempt(a, b))).toBe('POSTURE_CHANGED');
  });

  it('while the token is being verified: the decision is void', async () => {
    b.change(3);
    const { admit } = await attempt(a, b);
    b.tokens.beforeConfirm = () => b.change(2);
    expect(await reason(b.enforcer.admit(admit))).toBe('POSTURE_CHANGED');
    expect(await footprint(b.dataplane, b.overlay)).toEqual(NOTHING);
  });

  it('while the token is being verified, to lockdown: refused as isolated', async () => {
    b.change(3);
    const { admit } = await attempt(a, b);
    b.tokens.beforeConfirm = () => b.change(1);
    expect(await reason(b.enforcer.admit(admit))).toBe('POSTURE_ISOLATED');
  });

  it('between message 2 and 3: a nonce issued for a plain token does not excuse one at level 3', async () => {
    const { admit } = await attempt(a, b);
    b.change(3);
    expect(await reason(b.enforcer.admit(admit))).toBe('SAT_NOT_FRESH');
  });

  it('while the flows are being installed: the grant of the old epoch is taken back', async () => {
    const { admit } = await attempt(a, b);
    const activate = b.dataplane.flows.activate.bind(b.dataplane.flows);
    b.dataplane.flows.activate = async (session) => {
      await activate(session);
      b.change(2);
    };
    expect(await reason(b.enforcer.admit(admit))).toBe('POSTURE_CHANGED');
    expect(await footprint(b.dataplane, b.overlay)).toEqual(NOTHING);
  });

  it('at the initiator before GRANT comes: what the level forbids is not installed', async () => {
    const tried = await attempt(a, b, { type: 'mesh' });
    const hosted = await b.enforcer.admit(tried.admit);
    a.change(1);
    expect(await reason(tried.accept(hosted))).toBe('POSTURE_ISOLATED');
    expect(await footprint(a.dataplane, a.overlay)).toEqual(NOTHING);
  });
});

describe('attack: a WireGuard key', () => {
  it('that the peer does not hold: the proof is of another key', async () => {
    const { admit } = await attempt(a, b);
    const { wireguardShared: _, ...without } = admit;
    expect(await reason(b.enforcer.admit(without))).toBe('WIREGUARD_PROOF');
    expect(
      await reason(b.enforcer.admit({ ...(await attempt(a, b)).admit, wireguardShared: new Uint8Array(32) })),
    ).toBe('WIREGUARD_PROOF');
  });

  it('of another identity is refused, and the first keeps its tunnel', async () => {
    const c = await world.node('c');
    await establish(a, b);
    stealKey(c, a);
    expect(await reason(establish(c, b))).toBe('WIREGUARD_KEY_TAKEN');
    const peers = await b.overlay.device.peers();
    expect(peers.map(({ allowedIps }) => allowedIps)).toEqual([[parsePrefix('10.99.0.1/32')]]);
  });

  it('that is our own is refused', async () => {
    stealKey(a, b);
    expect(await reason(establish(a, b))).toBe('WIREGUARD_KEY_TAKEN');
    expect(await footprint(b.dataplane, b.overlay)).toEqual(NOTHING);
  });
});

describe('prefixes', () => {
  it('that overlap another site’s are refused, and the first keeps its own', async () => {
    const c = await world.node('c');
    const advertising = (...prefixes: string[]): AttemptOptions => ({
      request: { ...REQUEST, advertise: prefixes.map(parsePrefix) },
    });
    await establish(a, b, advertising('10.1.0.0/24'));
    const before = await footprint(b.dataplane, b.overlay);
    for (const prefix of ['10.1.0.0/16', '10.1.0.0/24', '10.1.0.128/25']) {
      expect(await reason(establish(c, b, advertising(prefix))), prefix).toBe('PREFIX_OVERLAP');
      expect(await footprint(b.dataplane, b.overlay)).toEqual(before);
    }
    await establish(c, b, advertising('10.1.1.0/24'));
  });

  it('that are not this identity’s to advertise are refused', async () => {
    const request = { ...REQUEST, advertise: [parsePrefix('10.2.0.0/24')] };
    expect(await reason(establish(a, b, { request }))).toBe('PREFIX_NOT_ALLOWED');
  });

  it('a target outside what our own accord lets the responder have behind it is not routed there', async () => {
    const c = await world.node('c');
    // c hosts what the accord gives to b alone.
    expect(await reason(establish(a, c))).toBe('PREFIX_NOT_ALLOWED');
    expect(await footprint(a.dataplane, a.overlay)).toEqual(NOTHING);
  });
});

describe('a session that is renewed', () => {
  it('by another identity is refused', async () => {
    const c = await world.node('c');
    const { hosted } = await establish(a, b);
    expect(await reason(establish(c, b, { renews: hosted.id }))).toBe('IDENTITY_CHANGED');
    expect(await footprint(b.dataplane, b.overlay)).toMatchObject({ sessions: 1, peers: 1 });
  });

  it('as another type is refused', async () => {
    const { hosted } = await establish(a, b);
    expect(await reason(establish(a, b, { renews: hosted.id, type: 'management' }))).toBe('IDENTITY_CHANGED');
  });

  it('after its end is refused', async () => {
    const { hosted } = await establish(a, b);
    await b.enforcer.release(hosted.id, 'CLOSED');
    expect(await reason(establish(a, b, { renews: hosted.id }))).toBe('EXPIRED');
    expect(await footprint(b.dataplane, b.overlay)).toEqual(NOTHING);
  });

  it('keeps its id and its slot, and has a new pre-shared key under the next generation', async () => {
    const { hosted } = await establish(a, b);
    const slots = b.dataplane.flows.sessions;
    const renewed = await establish(a, b, { renews: hosted.id });
    expect([renewed.hosted.id, renewed.visited.id]).toEqual([hosted.id, hosted.id]);
    expect(renewed.hosted.tunnelGeneration).toBe(2);
    expect(b.dataplane.flows.sessions).toEqual(slots);
    expect(renewed.hosted.reattestSecret).not.toEqual(hosted.reattestSecret);
    expect(await footprint(b.dataplane, b.overlay)).toMatchObject({ sessions: 1, peers: 1 });
  });
});

async function reason(work: Promise<unknown>): Promise<string> {
  return await work.then(() => 'nothing was refused', reasonOf);
}

/** `thief` offers the WireGuard key of `owner`, with a true proof, as if it held it. */
function stealKey(thief: MemoryNode, owner: MemoryNode): void {
  thief.overlay.offer = (...handshake) => ({
    ...owner.overlay.offer(...handshake),
    addresses: thief.overlay.addresses.map(({ address }) => address),
  });
}
