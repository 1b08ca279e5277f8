import { chmod, mkdtemp, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { parsePrefix } from '../../protocol/net/prefix.ts';
import * as words from '../../test/support/enforcer-words.ts';
import type { Logger } from '../base/logger.ts';
import type { KeptSession } from './kept-session.ts';
import { openStandingStore, type StandingStore } from './standing-store.ts';

const CIRCUMSTANCES = new Uint8Array(32).fill(1);
const SEED = Number(process.env.FC_SEED ?? 20_261_121);

let folder: string;
let warned: string[];
let store: StandingStore;

const logger: Logger = {
  debug: () => undefined,
  info: () => undefined,
  warn: (message) => void warned.push(message),
  error: (message) => void warned.push(message),
  child: () => logger,
};

beforeEach(async () => {
  warned = [];
  folder = join(await mkdtemp(join(tmpdir(), 'shs-standing-')), 'standing');
  store = await openStandingStore({ folder, circumstances: CIRCUMSTANCES, log: logger });
});
afterEach(() => rm(join(folder, '..'), { recursive: true, force: true }));

const role = fc.constantFrom('initiator' as const, 'responder' as const);
const session: fc.Arbitrary<KeptSession> = fc.tuple(words.admission, role).map(([whole, ours]) => {
  // As they are kept: without what only the peer and the holder are told.
  const admission = { ...whole, reattestSecret: new Uint8Array(32) };
  delete admission.answer;
  delete admission.resumeToken;
  const {
    offered = [],
    grant: { targets },
  } = admission;
  const slots = { sessionSlot: 7, generation: 9, peerSlot: 3, expiresAtBootNs: 2n ** 60n };
  return {
    resumeHash: new Uint8Array(32).fill(5),
    standing: {
      admission,
      credentials: { tokenId: 'ab'.repeat(32), issuedAtMs: 900 },
      role: ours,
      openedAtMs: 1_000,
      peerLevel: 4,
      judgedLevel: 3,
      control: {
        protocol: 6,
        localAddress: Uint8Array.of(192, 0, 2, 1),
        localPort: 40_000,
        remoteAddress: Uint8Array.of(192, 0, 2, 2),
        remotePort: 7843,
      },
      member: {
        number: 0,
        generation: 2,
        session: slots,
        spec: {
          spiffeId: admission.peer.spiffeId,
          publicKey: new Uint8Array(32).fill(6),
          endpoint: { address: '192.0.2.2', port: 51_820 },
          keepalive: 25,
          prefixes: [parsePrefix('10.2.0.0/24'), parsePrefix('2001:db8::/32')],
          ...(ours === 'initiator' ? { hosted: offered, visited: targets } : { hosted: targets, visited: offered }),
          level: 4,
          expiresAtBootNs: slots.expiresAtBootNs,
        },
      },
    },
  };
});

const one = (): KeptSession => fc.sample(session, { seed: SEED, numRuns: 1 })[0] as KeptSession;
const pathOf = ({ standing }: KeptSession): string => join(folder, standing.admission.id);

it('what is kept is what a next run finds', () =>
  fc.assert(
    fc.asyncProperty(session, async (kept) => {
      await store.keep(kept);
      expect(await store.load()).toEqual([kept]);
      await store.drop(kept.standing.admission.id);
      expect(await store.load()).toEqual([]);
    }),
    { seed: SEED, numRuns: 40 },
  ));

it('one that owes an attestation since its level fell is judged by a next run as before the fall', async () => {
  const kept = one();
  await store.keep({ ...kept, standing: { ...kept.standing, judgedLevel: 3, attestsByMs: 31_000 } });
  expect(await store.load()).toEqual([{ ...kept, standing: { ...kept.standing, judgedLevel: 5 } }]);
});

it('nobody else may read it, and no secret is in it: neither the pre-shared key nor that of the next attestation', async () => {
  const kept = one();
  const { member, admission } = kept.standing;
  const [presharedKey, reattestSecret] = [new Uint8Array(32).fill(0xaa), new Uint8Array(32).fill(0xbb)];
  const resumeToken = new Uint8Array(32).fill(0xcc);
  const full = {
    ...kept.standing,
    admission: { ...admission, reattestSecret, resumeToken },
    member: { ...member, spec: { ...member.spec, presharedKey } },
  };
  await store.keep({ ...kept, standing: full });
  expect((await stat(folder)).mode & 0o777).toBe(0o700);
  expect((await stat(pathOf(kept))).mode & 0o777).toBe(0o600);
  const bytes = await readFile(pathOf(kept));
  for (const secret of [presharedKey, reattestSecret, resumeToken])
    expect(bytes.includes(Buffer.from(secret))).toBe(false);
});

it('after a reboot, or under another accord or configuration, all of it is void', async () => {
  await store.keep(one());
  const other = await openStandingStore({ folder, circumstances: new Uint8Array(32).fill(2), log: logger });
  expect(await other.load()).toEqual([]);
  expect(await readdir(folder)).toEqual([]);
});

describe('a record that somebody wrote over is dropped, and the others stand:', () => {
  it.each<readonly [string, (bytes: Buffer) => Uint8Array]>([
    ['garbage', () => Buffer.from('not a record')],
    ['nothing', () => new Uint8Array(0)],
    ['half of it', (bytes) => bytes.subarray(0, bytes.length / 2)],
    ['one byte more', (bytes) => Buffer.concat([bytes, Uint8Array.of(0)])],
    ['a megabyte', () => new Uint8Array(2 ** 20)],
  ])('%s', async (_name, change) => {
    const [bad, good] = fc.sample(session, { seed: SEED, numRuns: 2 });
    if (bad === undefined || good === undefined) throw new Error('no sessions');
    for (const kept of [bad, good]) await store.keep(kept);
    await writeFile(pathOf(bad), change(await readFile(pathOf(bad))));
    expect(await store.load()).toEqual([good]);
    expect(warned).toEqual(['a kept session cannot be read: it ends']);
    expect(await readdir(folder)).toEqual([good.standing.admission.id]);
  });

  it('a record under the name of another session', async () => {
    const kept = one();
    await store.keep(kept);
    await writeFile(join(folder, 'f'.repeat(32)), await readFile(pathOf(kept)));
    expect(await store.load()).toEqual([kept]);
    expect(await readdir(folder)).toEqual([kept.standing.admission.id]);
  });

  it('a file that was being written when the enforcer died', async () => {
    const kept = one();
    await store.keep(kept);
    await writeFile(`${pathOf(kept)}.new`, 'half');
    await chmod(`${pathOf(kept)}.new`, 0o600);
    expect(await store.load()).toEqual([kept]);
    expect(await readdir(folder)).toEqual([kept.standing.admission.id]);
  });
});
