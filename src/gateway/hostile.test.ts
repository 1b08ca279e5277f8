/**
 * A gateway that has a session with an honest peer, and a stranger who sends it what no honest peer would. Whatever it
 * is: the stranger is refused with a reason, holds nothing, and the peer does not notice.
 */
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { encodeFrame } from '../../protocol/channel/index.ts';
import {
  type Established,
  type Evidence,
  encodeConfirmBody,
  encodeEvidence,
  encodeOffer,
  encodeRecord,
  encodeRefused,
  initiate,
  type Offer,
  parseEvidence,
  parseVerifyBody,
  RECORD,
} from '../../protocol/handshake/index.ts';
import { noiseXX } from '../../protocol/noise/index.ts';
import { REASONS, type Reason, wireCode } from '../../protocol/reasons.ts';
import { MemorySites } from '../../test/support/memory-sites.ts';
import { nodeCrypto as crypto } from '../base/crypto-node.ts';
import { StreamsOnlyEnforcer } from '../enforcer/streams-only.ts';
import { SpiffeAttestor } from '../identity/attestor.ts';
import { SpireSatVerifier, SvidVerifier } from '../identity/index.ts';
import type { Link } from '../link/index.ts';
import { attestOver } from '../mesh/dial.ts';

let sites: MemorySites;
let honest: string;
let before: unknown;

beforeAll(async () => {
  // All strangers here come from networks of their own, but at one moment.
  sites = await MemorySites.connected({ limits: { perPrefixRate: { perSecond: 10_000, burst: 10_000 } } });
  honest = sites.b.session.id;
  before = await sites.b.footprint();
});
afterAll(() => sites[Symbol.asyncDispose]());

/** The peer's session is the one it was, nothing of the stranger stands, and the next honest visitor is served. */
afterEach(async () => {
  await sites.clock.advance(1);
  expect(sites.b.session.id).toBe(honest);
  expect(sites.a.session.id).toBe(honest);
  expect(await sites.b.footprint()).toEqual(before);
  expect(sites.b.gateway.terminator.admission.pending).toBe(0);
  const visitor = await sites.visitor('operator', [LOOPBACK], `/visitor-${visitors++}`);
  visitor.session.end('CLOSED');
  await sites.until('the visitor gone', () => sites.b.gateway.registry.size === 1);
});
let visitors = 0;

const LOOPBACK = { prefix: { address: Uint8Array.of(127, 0, 0, 1), length: 32 }, protocol: 6, port: 1 };
const OFFER: Offer = { versions: [1], sessionType: 'operator', mode: 'overlay' };

describe('in place of ATTEST-INIT', () => {
  const own = { crypto, staticKey: crypto.x25519Generate() };
  const noiseInit = (payload: Uint8Array): Uint8Array =>
    encodeRecord(
      RECORD.INIT,
      noiseXX.initiator({ ...own, prologue: ascii('shellstream/1') }).writeMessage(payload).message,
    );
  const good = (): Uint8Array => initiate(own, OFFER).record;
  const offering = (offer: object): Uint8Array => noiseInit(encodeOffer({ ...OFFER, ...offer }));

  it.each<readonly [string, () => Uint8Array, Reason]>([
    ['a type byte alone', () => Uint8Array.of(RECORD.INIT), 'MALFORMED'],
    ['half a key', () => good().subarray(0, 17), 'MALFORMED'],
    ['a record cut short', () => good().subarray(0, -1), 'MALFORMED'],
    ['a trailing byte', () => join(good(), [0]), 'MALFORMED'],
    ['an ephemeral key of zeros', () => join([RECORD.INIT], new Uint8Array(32), encodeOffer(OFFER)), 'MALFORMED'],
    ['a payload over its limit', () => noiseInit(new Uint8Array(257)), 'MALFORMED'],
    ['a record as long as a link carries', () => noiseInit(new Uint8Array(65_000)), 'MALFORMED'],
    ['a payload that is no offer', () => noiseInit(Uint8Array.of(255, 255, 255)), 'MALFORMED'],
    ['an offer with a field of the future', () => noiseInit(join(encodeOffer(OFFER), [0x78, 1])), 'MALFORMED'],
    ['an offer of no version', () => offering({ versions: [] }), 'MALFORMED'],
    ['an offer of nine versions', () => offering({ versions: [1, 2, 3, 4, 5, 6, 7, 8, 9] }), 'MALFORMED'],
    ['another version alone', () => offering({ versions: [2] }), 'NO_COMMON_VERSION'],
    ['version 0', () => offering({ versions: [0] }), 'NO_COMMON_VERSION'],
    ['ATTEST-CONFIRM, out of order', () => encodeRecord(RECORD.CONFIRM, new Uint8Array(200)), 'UNEXPECTED_RECORD'],
    ['ATTEST-VERIFY, as if it had asked', () => encodeRecord(RECORD.VERIFY, new Uint8Array(200)), 'UNEXPECTED_RECORD'],
    ['TRANSPORT before there are keys', () => encodeRecord(RECORD.TRANSPORT, new Uint8Array(40)), 'UNEXPECTED_RECORD'],
    ['record type 0', () => Uint8Array.of(0, 1, 2), 'UNEXPECTED_RECORD'],
    ['a record type of the future', () => Uint8Array.of(17, 1, 2), 'UNEXPECTED_RECORD'],
    ['record type 255', () => Uint8Array.of(255), 'UNEXPECTED_RECORD'],
  ])('%s', async (_attack, make, reason) => {
    const stranger = await Stranger.arrive();
    stranger.send(make());
    await stranger.isRefused(reason);
  });

  it('REFUSED with a reason of their choice: the log and the answer say ours', async () => {
    const stranger = await Stranger.arrive();
    stranger.send(encodeRefused('POSTURE_ISOLATED'));
    await stranger.isRefused('UNEXPECTED_RECORD');
    expect(sites.b.gateway.posture.level).toBe(5);
  });

  it('nothing, for as long as a handshake may take', async () => {
    const stranger = await Stranger.arrive();
    await sites.clock.advance(9_999);
    expect(stranger.isGone).toBe(false);
    await sites.clock.advance(1);
    await stranger.isRefused('HANDSHAKE_TIMEOUT');
  });
});

describe('in place of ATTEST-CONFIRM', () => {
  it.each<readonly [string, (at: Halfway) => Uint8Array, Reason]>([
    ['the same ATTEST-INIT again', ({ init }) => init, 'UNEXPECTED_RECORD'],
    ['our own ATTEST-VERIFY, reflected', ({ verify }) => verify, 'UNEXPECTED_RECORD'],
    ['our own ATTEST-VERIFY under the type that is due', ({ verify }) => retyped(verify), 'DECRYPT_FAILED'],
    ['ATTEST-CONFIRM of another handshake, replayed', ({ stale }) => stale, 'DECRYPT_FAILED'],
    ['ATTEST-CONFIRM cut short', ({ confirm }) => confirm().subarray(0, -1), 'DECRYPT_FAILED'],
    ['ATTEST-CONFIRM with a trailing byte', ({ confirm }) => join(confirm(), [0]), 'DECRYPT_FAILED'],
    ['ATTEST-CONFIRM with a bit turned', ({ confirm }) => turned(confirm()), 'DECRYPT_FAILED'],
    ['noise of the right type', () => encodeRecord(RECORD.CONFIRM, new Uint8Array(300)), 'DECRYPT_FAILED'],
    ['nothing of the right type', () => Uint8Array.of(RECORD.CONFIRM), 'DECRYPT_FAILED'],
    ['TRANSPORT, ahead of its time', () => encodeRecord(RECORD.TRANSPORT, new Uint8Array(40)), 'UNEXPECTED_RECORD'],
    ['a payload that is no evidence', ({ raw }) => raw(Uint8Array.of(1, 2, 3)), 'MALFORMED'],
    ['evidence with a field of the future', ({ raw }) => raw(join(encodeEvidence(FORGED), [0x78, 1])), 'MALFORMED'],
    ['no certificate', ({ raw }) => raw(encodeEvidence({ ...FORGED, chain: [] })), 'MALFORMED'],
    [
      'nine certificates',
      ({ raw }) => raw(encodeEvidence({ ...FORGED, chain: Array(9).fill(Uint8Array.of(1)) })),
      'MALFORMED',
    ],
    [
      'a certificate of 17 KiB',
      ({ raw }) => raw(encodeEvidence({ ...FORGED, chain: [new Uint8Array(17_000)] })),
      'MALFORMED',
    ],
    ['a body of 33 KiB', ({ raw }) => raw(encodeEvidence({ ...FORGED, body: new Uint8Array(33_000) })), 'MALFORMED'],
    [
      'a signature of 2 KiB',
      ({ raw }) => raw(encodeEvidence({ ...FORGED, signature: new Uint8Array(2_000) })),
      'MALFORMED',
    ],
  ])('%s', async (_attack, make, reason) => {
    const stranger = await Stranger.arrive();
    stranger.send(make(await stranger.halfway()));
    await stranger.isRefused(reason);
  });

  it.each<readonly [string, (body: Uint8Array) => Evidence, Reason]>([
    ['a body that is no body', () => ({ ...FORGED, body: Uint8Array.of(1, 2, 3) }), 'MALFORMED'],
    ['a chain that is none', (body) => ({ ...FORGED, body }), 'SVID_MALFORMED'],
    [
      'the chain of an honest peer, which all have seen, and no signature by its key',
      (body) => ({ chain: sites.a.source.current().chain, signature: new Uint8Array(70), body }),
      'SVID_SIGNATURE',
    ],
    [
      'our own chain, reflected',
      (body) => ({ chain: sites.b.source.current().chain, signature: new Uint8Array(70), body }),
      'SVID_SIGNATURE',
    ],
  ])('evidence with %s is denied under the keys, with one word for all of it', async (_attack, make, reason) => {
    const stranger = await Stranger.arrive();
    const halfway = await stranger.halfway();
    stranger.send(halfway.raw(encodeEvidence(make(halfway.body))));
    await stranger.isRefused(reason, 'under keys');
  });
});

describe('in an open session', () => {
  const ping = encodeFrame({ type: 'PING', opaque: 7n });

  it.each<readonly [string, (keys: Established) => readonly Uint8Array[], Reason]>([
    ['a frame type of the future', ({ send }) => [sealed(send.seal(Uint8Array.of(99, 1)))], 'UNEXPECTED_RECORD'],
    ['a frame with a trailing byte', ({ send }) => [sealed(send.seal(join(ping, [0])))], 'MALFORMED'],
    ['a frame of nothing', ({ send }) => [sealed(send.seal(new Uint8Array(0)))], 'MALFORMED'],
    ['a record again', ({ send }) => repeated(sealed(send.seal(ping))), 'DECRYPT_FAILED'],
    [
      'two records in the wrong order',
      ({ send }) => [sealed(send.seal(ping)), sealed(send.seal(ping))].reverse(),
      'DECRYPT_FAILED',
    ],
    ['a record cut short', ({ send }) => [sealed(send.seal(ping)).subarray(0, -1)], 'DECRYPT_FAILED'],
    ['a record with a bit turned', ({ send }) => [turned(sealed(send.seal(ping)))], 'DECRYPT_FAILED'],
    ['a record under no key', () => [sealed(new Uint8Array(64))], 'DECRYPT_FAILED'],
    ['a record of nothing', () => [Uint8Array.of(RECORD.TRANSPORT)], 'DECRYPT_FAILED'],
    ['ATTEST-INIT', () => [encodeRecord(RECORD.INIT, new Uint8Array(64))], 'UNEXPECTED_RECORD'],
    ['a record type of the future', () => [Uint8Array.of(17, 1, 2)], 'UNEXPECTED_RECORD'],
    ['a REFUSED that nobody signed for', () => [Uint8Array.of(RECORD.REFUSED, 1, 44)], 'UNEXPECTED_RECORD'],
  ])('%s ends that session and no other', async (_attack, make, reason) => {
    const { link, established } = await openSession();
    const ends = sites.b.ends.length;
    for (const record of make(established)) link.send(record);
    await sites.until('the end of the session', () => sites.b.gateway.registry.size === 1);
    expect(sites.b.ends.slice(ends)).toEqual([reason]);
  });

  it('our own record, reflected: it was sealed under the other key', async () => {
    const { link, established } = await openSession();
    const heard: Uint8Array[] = [];
    link.onRecord((record) => heard.push(record));
    link.resume();
    link.send(sealed(established.send.seal(ping)));
    await sites.until('an answer', () => heard.length > 0);
    const ends = sites.b.ends.length;
    link.send(heard[0] ?? new Uint8Array(1));
    await sites.until('the end of the session', () => sites.b.gateway.registry.size === 1);
    expect(sites.b.ends.slice(ends)).toEqual(['DECRYPT_FAILED']);
  });

  it('drains of every reason and level without end: the log says 64 of them in a second', async () => {
    const { link, established } = await openSession();
    const told = (what: string) => sites.b.log.filter(({ message }) => message === what);
    const before = told('drain received').length;
    const reasons = Object.keys(REASONS) as Reason[];
    for (let at = 0; at < 1_000; at += 1) {
      const reason = reasons[at % reasons.length] ?? 'CLOSED';
      const level = ([undefined, 1, 2, 3, 4, 5] as const)[at % 6];
      const drain = { type: 'DRAIN', reason, level, epoch: 0n, deadlineMs: 60_000 } as const;
      link.send(sealed(established.send.seal(encodeFrame(drain))));
    }
    link.close();
    await sites.until('the end of the session', () => sites.b.gateway.registry.size === 1);
    await sites.clock.advance(1_000);
    expect(told('drain received')).toHaveLength(before + 64);
    expect(told('more drains received')).toMatchObject([{ fields: { count: 1_000 - 64 } }]);
  });

  it('words of a tunnel without end: the log says 64 of them in a second, and how many more there were', async () => {
    const { link, established } = await openSession();
    const told = (what: string) => sites.b.log.filter(({ message }) => message === what);
    const before = told('tunnel reported by peer').length;
    for (let generation = 1; generation <= 1_000; generation += 1) {
      link.send(sealed(established.send.seal(encodeFrame({ type: 'TUNNEL', state: 'ready', generation }))));
    }
    link.close();
    await sites.until('the end of the session', () => sites.b.gateway.registry.size === 1);
    await sites.clock.advance(1_000);
    expect(told('tunnel reported by peer')).toHaveLength(before + 64);
    expect(told('more tunnels reported by peers')).toMatchObject([{ fields: { state: 'ready', count: 1_000 - 64 } }]);
  });
});

describe('a clock that jumps', () => {
  it('forward by hours ends what has expired by it, and sessions come back with credentials of the new time', async () => {
    const moved = await MemorySites.connected();
    try {
      const { id } = moved.b.session;
      moved.clock.setWall(moved.clock.now() + 5 * 3_600_000);
      await moved.until('the end of the session', () => moved.b.ends.includes('EXPIRED'));
      for (const { source } of [moved.a, moved.b]) expect(() => source.current()).toThrow('SVID_EXPIRED');
      moved.a.entry.rotate();
      moved.b.entry.rotate();
      for (const { source } of [moved.a, moved.b]) source.refresh();
      await moved.meet();
      expect(moved.b.session.id).not.toBe(id);
    } finally {
      await moved[Symbol.asyncDispose]();
    }
  });

  it('back by hours does not lengthen a session: its end is in time that never goes back', async () => {
    const moved = await MemorySites.connected();
    try {
      const left = moved.b.session.admission.expiresAt - moved.clock.now();
      const { id } = moved.b.session;
      // No attestation renews it.
      moved.internet.isUp = false;
      moved.a.source.fetchSat = () => Promise.reject(new Error('no token'));
      moved.clock.setWall(moved.clock.now() - 5 * 3_600_000);
      await moved.clock.advance(left);
      expect(moved.b.gateway.registry.get(id)).toBeUndefined();
      await moved.untilNothingStands();
    } finally {
      await moved[Symbol.asyncDispose]();
    }
  });
});

const FORGED: Evidence = { chain: [Uint8Array.of(0x30, 0)], signature: Uint8Array.of(1), body: Uint8Array.of(1) };
const PROLOGUE = ascii('shellstream/1');
let networks = 0;

/** What a stranger has in hand when ATTEST-VERIFY has come. */
interface Halfway {
  readonly init: Uint8Array;
  readonly verify: Uint8Array;
  /** A third message that was right in another handshake. */
  readonly stale: Uint8Array;
  /** A body that echoes the nonce. */
  readonly body: Uint8Array;
  /** A third message that is right as far as Noise goes, once. */
  raw(payload: Uint8Array): Uint8Array;
  /** The same with evidence in it. */
  confirm(): Uint8Array;
}

/** Somebody with a Noise key and nothing else. */
class Stranger {
  readonly #link: Link;
  readonly #records: Uint8Array[] = [];
  readonly #logged: number;
  isGone = false;

  private constructor(link: Link) {
    this.#link = link;
    this.#logged = sites.b.log.length;
    link.onRecord((record) => this.#records.push(record));
    link.onClose(() => {
      this.isGone = true;
    });
  }

  static async arrive(): Promise<Stranger> {
    return new Stranger(await dialB());
  }

  send(record: Uint8Array): void {
    this.#link.send(record);
  }

  async halfway(): Promise<Halfway> {
    const one = noiseXX
      .initiator({ crypto, staticKey: crypto.x25519Generate(), prologue: PROLOGUE })
      .writeMessage(encodeOffer(OFFER));
    const init = encodeRecord(RECORD.INIT, one.message);
    this.send(init);
    await sites.until('ATTEST-VERIFY', () => this.#records.length === 1);
    const verify = this.#records.shift() ?? new Uint8Array();
    const two = one.next.readMessage(verify.subarray(1));
    if (two === undefined) throw new Error('ATTEST-VERIFY does not decrypt');
    const { nonce } = parseVerifyBody(parseEvidence(two.payload).body);
    const body = encodeConfirmBody({
      offer: OFFER,
      nonce,
      responderId: 'spiffe://b.test/gateway',
      sat: 'a.b.c',
      postureLevel: 5,
      postureEpoch: 1n,
      request: { capabilities: ['OBSERVE'], targets: [], advertise: [] },
      secret: new Uint8Array(32),
    });
    const raw = (payload: Uint8Array): Uint8Array =>
      encodeRecord(RECORD.CONFIRM, two.next.writeMessage(payload).message);
    return { init, verify, stale: staleConfirm(), body, raw, confirm: () => raw(encodeEvidence({ ...FORGED, body })) };
  }

  /** Refused for that reason in the log, told the coarse one or nothing, and gone. */
  async isRefused(reason: Reason, how: 'in the clear' | 'under keys' = 'in the clear'): Promise<void> {
    await sites.until('the end of the connection', () => this.isGone);
    const refusals = sites.b.log.slice(this.#logged).filter(({ message }) => message === 'handshake refused');
    expect(refusals.map(({ fields }) => fields.reason)).toEqual([reason]);
    const code = wireCode(reason);
    if (how === 'in the clear') expect(this.#records).toEqual([Uint8Array.of(RECORD.REFUSED, code >> 8, code & 255)]);
    else expect(this.#records.map(([type]) => type)).toEqual([RECORD.TRANSPORT]);
  }
}

function dialB(): Promise<Link> {
  networks += 1;
  const host = sites.internet.host(`10.${networks >> 8}.${networks & 255}.1`);
  return host.dial({ host: '192.0.2.2', port: 7843 }, { timeoutMs: 1, signal: new AbortController().signal });
}

function staleConfirm(): Uint8Array {
  const end = () => ({ crypto, staticKey: crypto.x25519Generate(), prologue: PROLOGUE });
  const one = noiseXX.initiator(end()).writeMessage(encodeOffer(OFFER));
  const two = noiseXX.responder(end()).readMessage(one.message)?.next.writeMessage(new Uint8Array(9));
  const read = one.next.readMessage(two?.message ?? new Uint8Array());
  return encodeRecord(RECORD.CONFIRM, read?.next.writeMessage(encodeEvidence(FORGED)).message ?? new Uint8Array());
}

/** A session of streams with real credentials, whose records the test writes itself. */
async function openSession(): Promise<{ readonly link: Link; readonly established: Established }> {
  const { clock } = sites;
  const { source } = sites.a;
  const attestor = new SpiffeAttestor({
    source,
    svids: new SvidVerifier({ bundles: () => source.bundles, clock }),
    sats: new SpireSatVerifier({ source }),
    clock,
  });
  const enforcer = new StreamsOnlyEnforcer({ crypto, clock, attestor, posture: { level: 5, epoch: 1n } });
  const handshake = { crypto, staticKey: crypto.x25519Generate() };
  const link = await dialB();
  const { established } = await attestOver(
    link,
    { clock, enforcer, handshake, timeoutMs: 10_000 },
    {
      offer: OFFER,
      expectedId: 'spiffe://b.test/gateway',
      request: { capabilities: ['OBSERVE'], targets: [], advertise: [] },
    },
  );
  return { link, established };
}

function sealed(message: Uint8Array): Uint8Array {
  return encodeRecord(RECORD.TRANSPORT, message);
}

function repeated(record: Uint8Array): readonly Uint8Array[] {
  return [record, record];
}

/** Under the type that is due. */
function retyped(record: Uint8Array): Uint8Array {
  return join([RECORD.CONFIRM], record.subarray(1));
}

function turned(record: Uint8Array): Uint8Array {
  return join(record.subarray(0, -1), [(record.at(-1) ?? 0) ^ 1]);
}

function join(...parts: readonly (Uint8Array | readonly number[])[]): Uint8Array {
  return Uint8Array.from(parts.flatMap((part) => [...part]));
}

function ascii(text: string): Uint8Array {
  return new TextEncoder().encode(text);
}
