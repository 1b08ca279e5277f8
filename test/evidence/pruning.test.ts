/** A log that was pruned by the store itself, in the eyes of Go: what is left is read, included and consistent as before. */
import { afterAll, beforeAll, expect, test } from 'vitest';
import { leafHash, MS_A_DAY, openCheckpoint, parseVerifierKey, recordEntry } from '../../protocol/evidence/index.ts';
import { Phase } from '../../protocol/gen/shellstream/evidence/v1/evidence_pb.ts';
import { nodeEd25519 } from '../../src/evidence/ed25519.ts';
import { mutation, ORIGIN, sha256 } from '../../src/evidence/fixtures.ts';
import { LogDirectory } from '../../src/evidence/log-directory.ts';
import { Records } from '../../src/evidence/records.ts';
import { StoreWorld } from '../../src/evidence/store-world.ts';
import { BUILD_MS, buildGoTlog, GoTlog } from '../go-tlog/driver.ts';
import { describeWith } from '../support/requirements.ts';

describeWith(['go'], 'a pruned log and golang.org/x/mod/sumdb', () => {
  let go: GoTlog;

  beforeAll(async () => {
    go = new GoTlog(await buildGoTlog());
  }, BUILD_MS);

  afterAll(async () => {
    await go[Symbol.asyncDispose]();
  });

  test('every entry from the minimum index on, the tree as it was before the pruning, and a record by its proof', async () => {
    using world = new StoreWorld();
    const settings = { retentionDays: 2, logDays: 2 };
    for (let day = 0; day < 4; day += 1) {
      await using store = await world.open(settings);
      await store.recordAll(Array.from({ length: 300 }, (_, i) => mutation(day * 300 + i, Phase.OUTCOME)));
      await world.checkpoint(store, 1);
      world.sleep(MS_A_DAY);
    }
    await using store = await world.open(settings);
    const key = store.state.verifierKeys[0] ?? '';
    const trust = { origin: ORIGIN, keys: [parseVerifierKey(sha256, key)], witnesses: [] };
    const old = openCheckpoint(nodeEd25519, await world.checkpoint(store, 1), trust);
    if ('refused' in old) throw new Error(old.refused);

    await world.until(() => store.state.firstEntry > 0);
    const index = store.state.firstEntry;
    await store.record(mutation(5_000, Phase.OUTCOME));
    const now = openCheckpoint(nodeEd25519, await world.checkpoint(store, 1), trust);
    if ('refused' in now) throw new Error(now.refused);
    expect(now.size).toBeGreaterThan(old.size);
    const asked = { dir: world.logPath, keys: [key], index };
    expect(await go.ask('check-log', { ...asked, old: old.size, oldRoot: base64(old.root) })).toMatchObject({
      size: now.size,
    });
    expect(await go.ask('check-log', { ...asked, index: index - 256 })).toHaveProperty('refused');

    const { reader } = store;
    if (reader === undefined) throw new Error('the spool is not open');
    const records = new Records(sha256, reader, new LogDirectory(world.logPath));
    for (const at of [reader.firstRecord(), now.size - 1]) {
      const found = await records.read({ tier: 'site_owner' }, at, store.published);
      if (found === undefined) throw new Error(`no record ${at}`);
      const leaf = base64(leafHash(sha256, recordEntry(sha256, found.opening.salt, found.opening.record)));
      const proof = found.proof.map(base64);
      const shown = { index: at, size: now.size, root: base64(now.root), leaf, proof };
      expect(await go.ask('check-inclusion', shown)).toEqual({ ok: true });
    }
  });
});

function base64(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString('base64');
}
