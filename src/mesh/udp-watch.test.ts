import { afterEach, beforeEach, expect, test } from 'vitest';
import { id } from '../../protocol/revocation/fixtures.ts';
import { silentLogger } from '../base/logger.ts';
import { SimulatedClock } from '../base/simulated-clock.ts';
import type { TunnelPeerState } from '../dataplane/ports.ts';
import type { DirectoryEvent, Standing } from '../enforcer/directory.ts';
import { UdpWatch } from './udp-watch.ts';

const PEER = id('spiffe://b.test/gateway');
const KEY = new Uint8Array(32).fill(7);
const AFTER_MS = 10_000;

let clock: SimulatedClock;
let handshakeAgeMs: number | undefined;
let standing: Standing | undefined;
let listener: (event: DirectoryEvent) => void;
let ended: string[];
let watch: UdpWatch;

beforeEach(() => {
  clock = new SimulatedClock();
  handshakeAgeMs = undefined;
  standing = session('one');
  ended = [];
  watch = new UdpWatch({
    clock,
    log: silentLogger,
    peers: [PEER],
    afterMs: AFTER_MS,
    tunnel: async () => [{ publicKey: KEY, handshakeAgeMs } as TunnelPeerState],
    directory: {
      tunnelOf: () => standing,
      onEvent: (added) => {
        listener = added;
        return { [Symbol.dispose]: () => undefined };
      },
      revoke: async (session, reason) => void ended.push(`${session} ${reason}`),
    },
  });
});
afterEach(() => watch[Symbol.dispose]());

test('a session whose tunnel has no handshake in time is ended, and its next tunnel is carried while that stands', async () => {
  await clock.advance(AFTER_MS - 1);
  expect([ended, watch.isBlocked(PEER)]).toEqual([[], false]);
  await clock.advance(AFTER_MS);
  expect(ended[0]).toBe('one TUNNEL_FAILED');
  expect(watch.isBlocked(PEER)).toBe(true);
  const told = ended.length;
  standing = session('two', { isCarried: true });
  await clock.advance(10 * AFTER_MS);
  expect(ended).toHaveLength(told);
  expect(watch.isBlocked(PEER)).toBe(true);
  listener({ kind: 'ended', standing, reason: 'CLOSED', byPeer: true });
  expect(watch.isBlocked(PEER)).toBe(false);
});

test('the end of the session that was not carried does not forget it: the next one is to be', async () => {
  await clock.advance(2 * AFTER_MS);
  if (standing !== undefined) listener({ kind: 'ended', standing, reason: 'TUNNEL_FAILED', byPeer: false });
  expect(watch.isBlocked(PEER)).toBe(true);
});

test('UDP that is blocked later is found out when keys are over that should have been replaced', async () => {
  handshakeAgeMs = 180_000 + AFTER_MS - 1;
  await clock.advance(2 * AFTER_MS);
  expect(ended).toEqual([]);
  handshakeAgeMs = 180_000 + AFTER_MS;
  await clock.advance(AFTER_MS);
  expect(watch.isBlocked(PEER)).toBe(true);
});

test('each attestation has its own time for a handshake', async () => {
  for (let generation = 1; generation < 6; generation += 1) {
    standing = session('one', {}, generation);
    await clock.advance(AFTER_MS - AFTER_MS / 4);
  }
  expect(ended).toEqual([]);
});

test('a peer that dialled us is not ours to move', async () => {
  if (standing !== undefined) standing = { ...standing, role: 'responder' };
  await clock.advance(10 * AFTER_MS);
  expect(ended).toEqual([]);
});

/** As much of one as is looked at. */
function session(name: string, spec: object = {}, tunnelGeneration = 1): Standing {
  const admission = { id: name, tunnelGeneration, peer: { spiffeId: PEER } };
  return { admission, role: 'initiator', member: { spec: { publicKey: KEY, ...spec } } } as unknown as Standing;
}
