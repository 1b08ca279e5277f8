/** A terminator that was taken over, against the enforcer and a second, honest terminator of the same node. No kernel, no processes. */
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { ShellstreamError } from '../../../protocol/errors.ts';
import { initiate, type Offer, respond, wireguardProof } from '../../../protocol/handshake/index.ts';
import { parsePrefix } from '../../../protocol/net/prefix.ts';
import {
  attempt,
  establish,
  footprint,
  MANAGEMENT,
  type MemoryNode,
  MemoryWorld,
  NOTHING,
  REQUEST,
  TARGET,
} from '../../../test/support/memory-nodes.ts';
import { type Door, openDoor, say } from '../../../test/support/taken-over.ts';
import { nodeCrypto as crypto } from '../../base/crypto-node.ts';
import { SessionDirectory } from '../directory.ts';
import type { AcceptInput, Admission, ApproachInput, Claim } from '../ports.ts';

let world: MemoryWorld;
/** Peers that come to b. */
let a: MemoryNode;
let c: MemoryNode;
/** The node with both terminators. */
let b: MemoryNode;
let honest: Door;
let hostile: Door;

beforeEach(async () => {
  world = new MemoryWorld();
  [a, b, c] = [await world.node('a'), await world.node('b'), await world.node('c')];
  [honest, hostile] = [openDoor(b), openDoor(b)];
});
afterEach(() => world[Symbol.asyncDispose]());

describe('attack: evidence over the border', () => {
  it('forged: no signature of the identity, another signature, another chain', async () => {
    const { admit } = await attempt(a, hostile.node);
    const other = (await attempt(c, hostile.node)).admit.evidence;
    for (const [evidence, reason] of [
      [{ ...admit.evidence, signature: new Uint8Array(64) }, 'SVID_SIGNATURE'],
      [{ ...admit.evidence, signature: other.signature }, 'NONCE_UNKNOWN'],
      [{ ...admit.evidence, chain: other.chain }, 'NONCE_UNKNOWN'],
    ] as const) {
      expect(await hostile.inside.reasonFor(say.admit({ ...admit, evidence }))).toBe(reason);
    }
    const fresh = (await attempt(a, hostile.node)).admit;
    const chained = { ...fresh, evidence: { ...fresh.evidence, chain: other.chain } };
    expect(await hostile.inside.reasonFor(say.admit(chained))).toBe('SVID_SIGNATURE');
    expect(b.directory.size).toBe(0);
    expect(await footprint(b.dataplane, b.overlay)).toEqual(NOTHING);
  });

  it('replayed: what opened a session once opens no second one, at either terminator', async () => {
    const { admit } = await attempt(a, hostile.node, { type: 'management', request: MANAGED });
    expect(await hostile.inside.reasonFor(say.admit(admit))).toBe('admission');
    expect(await hostile.inside.reasonFor(say.admit(admit))).toBe('NONCE_UNKNOWN');
    expect(await honest.inside.reasonFor(say.admit(admit))).toBe('NONCE_UNKNOWN');
    expect(b.directory.size).toBe(1);
  });

  it('of a handshake at the other terminator: its nonce was issued to that one alone', async () => {
    const { admit } = await attempt(a, honest.node);
    expect(await hostile.inside.reasonFor(say.admit(admit))).toBe('NONCE_UNKNOWN');
    expect(await honest.inside.reasonFor(say.admit(admit))).toBe('admission');
  });

  it('of another session: transcripts and keys of two handshakes mixed', async () => {
    const mix = async () => [await attempt(a, hostile.node), await attempt(a, hostile.node)] as const;
    for (const field of ['transcript', 'staticKey'] as const) {
      const [one, other] = await mix();
      const mixed = { ...one.admit, [field]: other.admit[field] };
      expect(await hostile.inside.reasonFor(say.admit(mixed)), field).toBe('SVID_SIGNATURE');
    }
    const [one, other] = await mix();
    const { wireguardShared = new Uint8Array(32) } = other.admit;
    expect(await hostile.inside.reasonFor(say.admit({ ...one.admit, wireguardShared }))).toBe('WIREGUARD_PROOF');
    expect(b.directory.size).toBe(0);
  });

  it('of a peer that asked for less: the request is signed, and what it does not name is not granted', async () => {
    const { admit } = await attempt(a, hostile.node);
    const answer = await hostile.inside.ask(say.admit(admit));
    if (answer.case !== 'admission') throw new Error(answer.case);
    expect(answer.value.grant?.targets.map(({ target }) => target?.port)).toEqual([TARGET.port]);
    expect(answer.value.grant?.capabilities).toEqual(['OBSERVE', 'CONNECT']);
  });
});

describe('attack: a session of the other terminator', () => {
  let theirs: Admission;

  beforeEach(async () => {
    theirs = (await establish(a, honest.node)).hosted;
  });

  const untouched = async (before: object): Promise<void> => {
    expect(await footprint(b.dataplane, b.overlay)).toEqual(before);
    expect(b.directory.get(theirs.id)).toMatchObject({ peerLevel: 5, admission: { id: theirs.id } });
    expect(honest.node.revoked).toEqual([]);
  };

  it('renewed with good evidence of the same peer', async () => {
    const before = await footprint(b.dataplane, b.overlay);
    const { admit } = await attempt(a, hostile.node, { renews: theirs.id });
    expect(await hostile.inside.reasonFor(say.admit(admit))).toBe('EXPIRED');
    await untouched(before);
  });

  it('renewed with good evidence of another peer', async () => {
    const before = await footprint(b.dataplane, b.overlay);
    const { admit } = await attempt(c, hostile.node, { renews: theirs.id });
    expect(await hostile.inside.reasonFor(say.admit(admit))).toBe('EXPIRED');
    await untouched(before);
  });

  it('released', async () => {
    const before = await footprint(b.dataplane, b.overlay);
    expect(await hostile.inside.reasonFor(say.release(theirs.id))).toBe('done');
    expect(await hostile.inside.reasonFor(say.release(theirs.id, true))).toBe('done');
    await untouched(before);
  });

  it('given another level, stricter or wider', async () => {
    const before = await footprint(b.dataplane, b.overlay);
    const set = vi.spyOn(b.dataplane.flows, 'setPeerLevel');
    for (const level of [1, 3, 5])
      expect(await hostile.inside.reasonFor(say.setPeerLevel(theirs.id, level))).toBe('done');
    await untouched(before);
    expect(set).not.toHaveBeenCalled();
  });

  it('taken away with the hostile terminator itself: its end takes nothing of the other', async () => {
    const { admit } = await attempt(c, hostile.node);
    expect(await hostile.inside.reasonFor(say.admit(admit))).toBe('admission');
    await hostile.enforcer.releaseAll('CONNECTION_LOST');
    expect(b.directory.all.map(({ admission }) => admission.id)).toEqual([theirs.id]);
    await untouched(await footprint(b.dataplane, b.overlay));
    expect(await footprint(b.dataplane, b.overlay)).toMatchObject({ sessions: 1, peers: 1 });
  });
});

describe('attack: approaches', () => {
  const mesh: Offer = { versions: [1], sessionType: 'mesh', mode: 'overlay' };

  it('to a peer that the configuration does not name, or for more than it says: nothing is minted', async () => {
    const door = openDoor(b, {
      intends: ({ expectedId, request }) => expectedId === a.spiffeId && request.targets.length === 1,
    });
    const wanted = { ...(await met(a, mesh)), expectedId: a.spiffeId, request: REQUEST };
    for (const input of [
      { ...wanted, expectedId: c.spiffeId },
      { ...wanted, request: { ...REQUEST, targets: [TARGET, MANAGEMENT] } },
    ]) {
      expect(await door.inside.reasonFor(say.approach(input))).toBe('TYPE_NOT_AUTHORISED');
    }
    expect(b.tokens.minted).toEqual([]);
    expect(await door.inside.reasonFor(say.approach(wanted))).toBe('evidence');
  });

  it('with one recorded evidence again and again: one token is minted, not a flood of them', async () => {
    const input = { ...(await met(a, mesh)), expectedId: a.spiffeId, request: REQUEST };
    expect(await hostile.inside.reasonFor(say.approach(input))).toBe('evidence');
    const again = await Promise.all(
      Array.from({ length: 20 }, (_, at) =>
        hostile.inside.reasonFor(say.approach({ ...input, transcript: new Uint8Array(32).fill(at) })),
      ),
    );
    expect(new Set(again)).toEqual(new Set(['NONCE_UNKNOWN']));
    expect(b.tokens.minted).toHaveLength(1);
  });

  it('with the evidence of another responder: no token is minted for it', async () => {
    const input = { ...(await met(c, mesh)), expectedId: a.spiffeId, request: REQUEST };
    expect(await hostile.inside.reasonFor(say.approach(input))).toBe('WRONG_IDENTITY');
    expect(b.tokens.minted).toEqual([]);
  });

  it('accepted by whom they were not made: the nonce belongs to the terminator that approached', async () => {
    const { accept, hosted } = await offered(a, honest.node);
    const stolen = await recorded(honest.node, () => accept(hosted));
    expect(await hostile.inside.reasonFor(say.accept(stolen))).toBe('NONCE_UNKNOWN');
    expect(await honest.inside.reasonFor(say.accept(stolen))).toBe('admission');
    expect(await honest.inside.reasonFor(say.accept(stolen))).toBe('NONCE_UNKNOWN');
  });

  it('accepted with a grant that is wider than what was asked', async () => {
    for (const widen of [
      ({ grant }: AcceptInput) => ({ ...grant, targets: [...grant.targets, MANAGEMENT] }),
      ({ grant }: AcceptInput) => ({ ...grant, capabilities: [...grant.capabilities, 'SHELL' as const] }),
      ({ grant }: AcceptInput) => ({ ...grant, mode: 'underlay' as const }),
    ]) {
      const { accept, hosted } = await offered(a, hostile.node);
      const input = await recorded(hostile.node, () => accept(hosted));
      expect(await hostile.inside.reasonFor(say.accept({ ...input, grant: widen(input) }))).toBe('UNEXPECTED_RECORD');
    }
    expect(b.directory.size).toBe(0);
    expect(await footprint(b.dataplane, b.overlay)).toEqual(NOTHING);
  });

  it('accepted with a WireGuard key that it proves, and that the responder did not sign for', async () => {
    const { accept, hosted } = await offered(a, hostile.node);
    const input = await recorded(hostile.node, () => accept(hosted));
    const { wireguard } = input.grant;
    if (wireguard === undefined) throw new Error('no tunnel offered');
    const wireguardShared = new Uint8Array(32).fill(9);
    const proof = wireguardProof(crypto, wireguardShared, input.handshakeHash);
    const own = { ...wireguard, publicKey: crypto.x25519Generate().publicKey, proof };
    const forged = { ...input, wireguardShared, grant: { ...input.grant, wireguard: own } };
    expect(await hostile.inside.reasonFor(say.accept(forged))).toBe('WIREGUARD_PROOF');
    expect(await footprint(b.dataplane, b.overlay)).toEqual(NOTHING);
  });

  it('accepted with addresses in the tunnel that the accord gives to another', async () => {
    const { accept, hosted } = await offered(a, hostile.node);
    const input = await recorded(hostile.node, () => accept(hosted));
    const { wireguard } = input.grant;
    if (wireguard === undefined) throw new Error('no tunnel offered');
    const addresses = [parsePrefix('10.99.0.3/32').address];
    const grant = { ...input.grant, wireguard: { ...wireguard, addresses } };
    expect(await hostile.inside.reasonFor(say.accept({ ...input, grant }))).toBe('PREFIX_NOT_ALLOWED');
    expect(await footprint(b.dataplane, b.overlay)).toEqual(NOTHING);
  });
});

describe('attack: a flood', () => {
  it('of admissions beyond what an identity may hold', async () => {
    const limited = { ...b, directory: new SessionDirectory({ sessions: 3, sessionsPerIdentity: 2 }) };
    const door = openDoor(limited);
    const admits = [];
    for (let i = 0; i < 6; i++) {
      admits.push((await attempt(i < 4 ? a : c, door.node, { type: 'management', request: MANAGED })).admit);
    }
    const answers = await Promise.all(admits.map((admit) => door.inside.reasonFor(say.admit(admit))));
    expect(answers).toEqual(['admission', 'admission', 'SESSION_LIMIT', 'SESSION_LIMIT', 'admission', 'SESSION_LIMIT']);
    expect(limited.directory.size).toBe(3);
    const challenge = {
      offer: admits[0]?.offer ?? fail(),
      transcript: new Uint8Array(32),
      staticKey: new Uint8Array(32),
    };
    expect(await door.inside.reasonFor(say.challenge(challenge))).toBe('SESSION_LIMIT');
  });

  it('of challenges holds no more nonces than the limit, and none of the other terminator’s', async () => {
    const { admit } = await attempt(a, honest.node);
    const offer: Offer = { versions: [1], sessionType: 'mesh', mode: 'overlay' };
    const challenge = { offer, transcript: new Uint8Array(32), staticKey: new Uint8Array(32) };
    await Promise.all(Array.from({ length: 200 }, () => hostile.inside.ask(say.challenge(challenge))));
    expect(hostile.node.nonces.pending).toBe(16);
    expect(await honest.inside.reasonFor(say.admit(admit))).toBe('admission');
  });

  it('of news about sessions that are not its own changes nothing', async () => {
    const { hosted } = await establish(a, honest.node);
    for (let i = 0; i < 1_000; i++) {
      hostile.inside.say(0, { case: 'draining', value: { session: hosted.id } });
      hostile.inside.say(0, {
        case: 'drainReceived',
        value: { session: hosted.id, reason: 603, level: 1, epoch: 1n, deadlineMs: 0 },
      });
    }
    expect(await hostile.inside.reasonFor(say.release(hosted.id))).toBe('done');
    expect(hostile.inside.isCutOff).toBe(false);
    expect(b.directory.size).toBe(1);
  });
});

describe('attack: words that make no sense cut the terminator off', () => {
  it.each([
    ['bytes that are no message', Uint8Array.of(0xff, 0xff, 0xff)],
    ['a message without a body', Uint8Array.of(8, 1)],
    ['a field that no message has', Uint8Array.of(8, 1, 0xa2, 0x06, 0)],
    ['trailing bytes', Uint8Array.of(8, 1, 0x3a, 0, 0)],
    ['two bodies in one', Uint8Array.of(8, 1, 0x12, 0, 0x1a, 0)],
    ['a question without an id', Uint8Array.of(0x12, 0)],
    ['news with an id', Uint8Array.of(8, 1, 0x82, 0x02, 0)],
    ['more than the largest question', new Uint8Array(65_600)],
  ])('%s', async (_, bytes) => {
    hostile.inside.raw(bytes);
    await settled();
    expect(hostile.inside.isCutOff).toBe(true);
    expect(hostile.lost).toHaveLength(1);
    const { admit } = await attempt(a, honest.node);
    expect(await honest.inside.reasonFor(say.admit(admit))).toBe('admission');
  });

  it('but a question that cannot be parsed inside is only refused', async () => {
    for (const session of ['', 'x', 'g'.repeat(32), 'A'.repeat(32), `${'a'.repeat(32)}\n`]) {
      expect(await hostile.inside.reasonFor(say.release(session))).toBe('MALFORMED');
    }
    expect(await hostile.inside.reasonFor(say.setPeerLevel('a'.repeat(32), 0))).toBe('MALFORMED');
    expect(await hostile.inside.reasonFor(say.setPeerLevel('a'.repeat(32), 6))).toBe('MALFORMED');
    expect(hostile.inside.isCutOff).toBe(false);
  });
});

describe('attack: what streams carried is taken back', () => {
  const told = { streams: 2, receivedBytes: 900n, sentBytes: 30n };
  let own: string;

  beforeEach(async () => {
    const { admit } = await attempt(a, hostile.node, { type: 'management', request: MANAGED });
    expect(await hostile.inside.reasonFor(say.admit(admit))).toBe('admission');
    own = b.directory.all.map(({ admission }) => admission.id).find((id) => hostile.enforcer.holds(id)) ?? '';
    hostile.inside.say(0, say.carried(own, told));
    await settled();
    expect(hostile.inside.isCutOff).toBe(false);
  });

  it.each([
    ['fewer streams', { ...told, streams: 1 }],
    ['fewer bytes received', { ...told, receivedBytes: 899n }],
    ['fewer bytes sent', { ...told, sentBytes: 0n }],
  ])('%s, on the way or at the end: who does that is cut off', async (_, less) => {
    hostile.inside.say(0, say.carried(own, less));
    await settled();
    expect(hostile.inside.isCutOff).toBe(true);
  });

  it('with the last word: it is cut off, and what it held goes as of one that died', async () => {
    hostile.inside.say(7, say.release(own, false, { ...told, sentBytes: 0n }));
    await settled();
    expect(hostile.inside.isCutOff).toBe(true);
    expect(hostile.lost).toHaveLength(1);
  });

  it('with final frames that are none: it is refused', async () => {
    for (const frames of [
      { payloadHash: new Uint8Array(31), headers: Uint8Array.of(4) },
      { payloadHash: new Uint8Array(32), headers: new Uint8Array(66) },
    ]) {
      expect(await hostile.inside.reasonFor(say.release(own, false, { ...told, frames }))).toBe('MALFORMED');
    }
  });

  it('of another terminator’s session: nothing is noted, and nothing less is found there', async () => {
    const { hosted: theirs } = await establish(a, honest.node);
    for (const totals of [told, { ...told, streams: 0 }]) hostile.inside.say(0, say.carried(theirs.id, totals));
    hostile.inside.say(7, say.release(theirs.id, false, told));
    await settled();
    expect(hostile.inside.isCutOff).toBe(false);
    expect(b.directory.get(theirs.id)).toBeDefined();
  });
});

describe('attack: claims of sessions that a former enforcer left', () => {
  const [session, token] = ['a'.repeat(32), new Uint8Array(32)];
  const claims: (readonly Claim[])[] = [];
  let door: Door;

  beforeEach(() => {
    claims.length = 0;
    door = openDoor(b, {
      resume: (given) => {
        claims.push(given);
        return [];
      },
    });
  });

  it.each([
    ['no session', [{ session: '', token }]],
    ['a session in capitals', [{ session: 'A'.repeat(32), token }]],
    ['a path instead of a session', [{ session: '../../../../etc/shadow', token }]],
    ['a session with a line after it', [{ session: `${session}\n`, token }]],
    ['no token', [{ session, token: new Uint8Array(0) }]],
    ['a token cut short, as if its beginning were enough', [{ session, token: new Uint8Array(31) }]],
    ['a token with more behind it', [{ session, token: new Uint8Array(33) }]],
    [
      'one good claim before a bad one',
      [
        { session, token },
        { session, token: new Uint8Array(1) },
      ],
    ],
    ['more claims than one message may have', Array.from({ length: 513 }, () => ({ session, token }))],
  ])('%s: nobody looks at any of them', async (_, given) => {
    expect(await door.inside.reasonFor(say.resume(given))).toBe('MALFORMED');
    expect(claims).toEqual([]);
    expect(door.inside.isCutOff).toBe(false);
  });

  it('none at all, and as many as one message may have, are looked at and give nothing', async () => {
    const most = Array.from({ length: 512 }, () => ({ session, token }));
    for (const given of [[], most]) {
      const answer = await door.inside.ask(say.resume(given));
      expect(answer).toMatchObject({ case: 'resumed', value: { sessions: [] } });
    }
    expect(claims.map(({ length }) => length)).toEqual([0, 512]);
  });

  it('from a terminator that ends with its enforcer: it gets none, whatever it claims', async () => {
    const { hosted } = await establish(a, honest.node);
    const answer = await hostile.inside.ask(say.resume([{ session: hosted.id, token }]));
    expect(answer).toMatchObject({ case: 'resumed', value: { sessions: [] } });
    await hostile.enforcer.releaseAll('CONNECTION_LOST');
    expect(b.directory.get(hosted.id)).toBeDefined();
  });
});

describe('the end of a terminator', () => {
  it('in the middle of an admission leaves nothing of it', async () => {
    const { admit } = await attempt(a, hostile.node);
    const joining = Promise.withResolvers<void>();
    const activate = b.dataplane.flows.activate.bind(b.dataplane.flows);
    b.dataplane.flows.activate = async (session) => {
      await joining.promise;
      await activate(session);
    };
    const answer = hostile.enforcer.admit(admit);
    answer.catch(() => undefined);
    await settled();
    await hostile.enforcer.releaseAll('CONNECTION_LOST');
    joining.resolve();
    await expect(answer).rejects.toBeInstanceOf(ShellstreamError);
    expect(b.directory.size).toBe(0);
    expect(await footprint(b.dataplane, b.overlay)).toEqual(NOTHING);
  });

  it('lets nobody in afterwards: evidence that comes late opens nothing', async () => {
    const { admit } = await attempt(a, hostile.node);
    await hostile.enforcer.releaseAll('CONNECTION_LOST');
    await expect(hostile.enforcer.admit(admit)).rejects.toBeInstanceOf(ShellstreamError);
    expect(b.directory.size).toBe(0);
    expect(await footprint(b.dataplane, b.overlay)).toEqual(NOTHING);
  });
});

describe('posture that falls', () => {
  it('while an accepted grant is being installed: it is taken back', async () => {
    const { accept, hosted } = await offered(a, hostile.node);
    const input = await recorded(hostile.node, () => accept(hosted));
    const activate = b.dataplane.flows.activate.bind(b.dataplane.flows);
    b.dataplane.flows.activate = async (session) => {
      await activate(session);
      b.change(1);
    };
    expect(await hostile.inside.reasonFor(say.accept(input))).toBe('POSTURE_CHANGED');
    expect(b.directory.size).toBe(0);
    expect(await footprint(b.dataplane, b.overlay)).toEqual(NOTHING);
  });
});

const MANAGED = { ...REQUEST, targets: [MANAGEMENT] };

function fail(): never {
  throw new Error('nothing there');
}

/** Everything that waits for nothing but promises has come to rest. */
async function settled(): Promise<void> {
  await world.clock.advance(0);
}

/** Messages 1 and 2 between two nodes, as the initiator's terminator hands them in. */
async function met(to: MemoryNode, offer: Offer): Promise<Omit<ApproachInput, 'expectedId' | 'request'>> {
  const first = initiate({ crypto, staticKey: crypto.x25519Generate() }, offer);
  const init = respond({ crypto, staticKey: crypto.x25519Generate() }).readInit(first.record);
  const second = init.writeVerify(await to.enforcer.challenge(init));
  const verify = first.next.readVerify(second.record);
  return { ...verify, offer };
}

/** `to` dials `host`, which admits it. */
async function offered(host: MemoryNode, to: MemoryNode) {
  const request = { ...REQUEST, targets: [] };
  const tried = await attempt(to, host, { request });
  return { accept: tried.accept, hosted: await host.enforcer.admit(tried.admit) };
}

/** What `action` would hand to the enforcer's `accept`, which it does not reach. */
async function recorded(node: MemoryNode, action: () => Promise<unknown>): Promise<AcceptInput> {
  const { enforcer } = node;
  let input: AcceptInput | undefined;
  const accept = enforcer.accept.bind(enforcer);
  enforcer.accept = async (given) => {
    input = given;
    throw new ShellstreamError('CLOSED');
  };
  await action().catch(() => undefined);
  enforcer.accept = accept;
  return input ?? fail();
}
