import { readFile, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { parseVerifierKey, verifyNote } from '../../protocol/evidence/index.ts';
import { drainHoldId, parseRelease } from '../../protocol/hold/index.ts';
import { nodeCrypto } from '../base/crypto-node.ts';
import { silentLogger } from '../base/logger.ts';
import { FACTS, ManualClock, temporaryFolder } from '../control/fixtures.ts';
import { MemoryGateway } from '../control/memory-view.ts';
import { startControl } from '../control/server.ts';
import { nodeEd25519 } from '../evidence/ed25519.ts';
import { FakeWorld } from './fixtures.ts';

const HOME = 'spiffe://home.test/gateway';
const ANCHOR = 'spiffe://anchor.test/gateway';

let parts: AsyncDisposableStack;
let folder: string;
let socket: string;
let view: MemoryGateway;
let uid: number;

beforeEach(async () => {
  parts = new AsyncDisposableStack();
  folder = parts.use(await temporaryFolder()).path;
  socket = join(folder, 'control', 'control.sock');
  const clock = new ManualClock();
  view = new MemoryGateway(clock, FACTS);
  view.peerList = [{ name: 'home', spiffeId: HOME, state: 'connected' }];
  uid = 0;
  parts.use(
    await startControl({
      path: socket,
      access: { siteOwners: new Set([0]) },
      view,
      clock,
      log: silentLogger,
      credentialsOf: () => ({ uid, gid: 0, pid: 1 }),
    }),
  );
});

afterEach(() => parts.disposeAsync());

describe('anchor', () => {
  it('holds a peer, lists it, and releases it', async () => {
    expect(await run('hold', 'home', '--reason', 'drill')).toMatchObject({ code: 0, out: 'home is held\n' });
    const { out } = await run('list');
    expect(out.split('\n')[1]).toMatch(/^home {2}held {3}spiffe:\/\/home\.test\/gateway {2}0{32} {2}console .* drill$/);
    const listed = JSON.parse((await run('list', '--json')).out);
    expect(listed.peers[0]).toMatchObject({ name: 'home', state: 'held', hold: { cause: 'console', reason: 'drill' } });
    expect(await run('release', 'home', '--reason', 'over')).toMatchObject({ code: 0, out: 'home is released\n' });
    expect(await run('release', 'home', '--reason', 'over')).toMatchObject({ code: 0, out: 'home was not held\n' });
  });

  it('says which peer there is none of', async () => {
    expect(await run('hold', 'nobody', '--reason', 'drill')).toMatchObject({
      code: 1,
      err: 'shellstream: MALFORMED: no mesh peer is called nobody\n',
    });
  });

  it('hands in a signed release, and tells why one is refused', async () => {
    const file = join(folder, 'release');
    await writeFile(file, '');
    expect((await run('release', '--file', file)).err).toMatch(/^shellstream: RELEASE_UNTRUSTED/);
    await writeFile(file, 'whatever the memory gateway takes');
    expect(await run('release', '--file', file)).toMatchObject({ code: 0, out: 'released\n' });
    expect(view.orders.map(({ verb }) => verb)).toEqual(['deliverRelease']);
  });

  it.each([
    [['release']],
    [['release', 'home']],
    [['release', 'home', '--file', 'x', '--reason', 'y']],
    [['hold', 'home']],
    [['sign-release', '--key', 'k', '--peer', HOME, '--anchor', ANCHOR]],
    [['sign-release', '--key', 'k', '--peer', HOME, '--anchor', ANCHOR, '--epoch', '1', '--hold', 'f'.repeat(32)]],
    [['sign-release', '--key', 'k', '--peer', HOME, '--anchor', ANCHOR, '--epoch', '-1']],
    [['sign-release', '--key', 'k', '--peer', 'home', '--anchor', ANCHOR, '--epoch', '1']],
  ])('%j is a usage error', async (args) => {
    expect(await verb(args)).toMatchObject({ code: 2 });
    expect(view.orders).toEqual([]);
  });

  it('attack: somebody who is no site_owner neither holds nor releases by name', async () => {
    uid = 1000;
    expect((await run('hold', 'home', '--reason', 'mischief')).code).toBe(1);
    expect((await run('release', 'home', '--reason', 'mischief')).code).toBe(1);
    expect(view.orders).toEqual([]);
  });

  it('makes a key for its owner alone, and signs with it what the anchor reads', async () => {
    const file = join(folder, 'owner.key');
    const { out } = await verb(['make-key', '--out', file, '--name', 'owner.home.test']);
    const key = parseVerifierKey(nodeCrypto.sha256, out.trim());
    expect((await stat(file)).mode & 0o777).toBe(0o600);
    // The key is base64 after the fourth plus sign, and may hold more of them.
    const secret = (await readFile(file, 'utf8')).trim().split('+').slice(4).join('+');
    expect(secret).toHaveLength(44);
    expect(out).not.toContain(secret);

    const ids = ['--peer', HOME, '--anchor', ANCHOR, '--epoch', '7'];
    const signed = await verb(['sign-release', '--key', file, ...ids, '--level', '4', '--for', '2h']);
    const { release, note } = parseRelease(Buffer.from(signed.out));
    expect(release).toEqual({
      hold: drainHoldId(nodeCrypto.sha256, HOME, ANCHOR, 7n),
      peer: HOME,
      anchor: ANCHOR,
      level: 4,
      expiresAtMs: new ManualClock().now() + 7_200_000,
    });
    expect(verifyNote(nodeEd25519, note, [key])).toMatchObject({ signedBy: [{ name: 'owner.home.test' }] });
    expect((await verb(['sign-release', '--key', file, ...ids, '--level', '1'])).err).toMatch(/RELEASE_LEVEL/);
  });
});

/** A verb that asks the gateway. */
function run(name: string, ...args: readonly string[]) {
  return verb([name, ...args, '--socket', socket]);
}

function verb(args: readonly string[]) {
  return new FakeWorld().run('anchor', ...args);
}
