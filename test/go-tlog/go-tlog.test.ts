import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import {
  cosign,
  describeFinding,
  formatNote,
  formatSecret,
  formatVerifierKey,
  includes,
  isConsistent,
  leafHash,
  type NoteSigner,
  noteKey,
  parseNote,
  parseVerifierKey,
  proveConsistency,
  proveInclusion,
  rootOf,
  subtreesOf,
  verifyCosignatures,
  verifyLog,
  verifyNote,
} from '../../protocol/evidence/index.ts';
import { EvidenceFolder, LOG_KEY, ORIGIN, rawRecord, sha256 } from '../../src/evidence/fixtures.ts';
import { LogDirectory, nodeEd25519, noteSigner, pruneLog } from '../../src/evidence/index.ts';
import { describeWith } from '../support/requirements.ts';
import { BUILD_MS, buildGoTlog, GoTlog } from './driver.ts';

const KEY = formatVerifierKey(LOG_KEY);
const SEED = new Uint8Array(32).fill(1);

describeWith(['go'], 'with golang.org/x/mod/sumdb', () => {
  let go: GoTlog;
  let scratch: string;

  beforeAll(async () => {
    go = new GoTlog(await buildGoTlog());
    scratch = mkdtempSync(join(tmpdir(), 'shellstream-go-tlog-'));
  }, BUILD_MS);

  afterAll(async () => {
    await go[Symbol.asyncDispose]();
    rmSync(scratch, { recursive: true, force: true });
  });

  describe('our log', () => {
    test.each([1, 255, 256, 257, 700, 66_000])(
      'of %i entries: every entry, the root and a consistency proof check out',
      async (size) => {
        using folder = new EvidenceFolder();
        const old = await publish(folder, size, Math.ceil(size / 3));
        const answer = await go.ask('check-log', { dir: folder.logPath, keys: [KEY], ...old });
        expect(answer).toMatchObject({ origin: ORIGIN, size });
        expect(answer.root).toBe(base64((await folder.verify()).root));
      },
    );

    test('pruned: still from its minimum index on', async () => {
      using folder = new EvidenceFolder();
      using spool = folder.spool();
      spool.append(Array.from({ length: 1_000 }, (_, i) => rawRecord(`${i}`)));
      const publisher = await folder.publisher(spool);
      await publisher.publish();
      await pruneLog(spool, publisher, folder.logPath, 600);
      expect(await go.ask('check-log', { dir: folder.logPath, keys: [KEY], index: 768 })).toMatchObject({
        size: 1_000,
      });
      expect(await go.ask('check-log', { dir: folder.logPath, keys: [KEY], index: 0 })).toHaveProperty('refused');
    });

    test('with one byte changed, anywhere, is refused by Go as by us', async () => {
      using folder = new EvidenceFolder();
      await publish(folder, 600, 0);
      for (const path of [
        'checkpoint',
        'tile/0/000',
        'tile/0/002.p/88',
        'tile/1/000.p/2',
        'tile/entries/001',
        'tile/entries/002.p/88',
      ]) {
        const file = join(folder.logPath, path);
        const bytes = readFileSync(file);
        writeFileSync(file, bytes.with(20, (bytes[20] ?? 0) ^ 1));
        expect(await go.ask('check-log', { dir: folder.logPath, keys: [KEY] }), path).toHaveProperty('refused');
        expect((await folder.verify()).findings, path).toHaveLength(1);
        writeFileSync(file, bytes);
      }
      expect(await go.ask('check-log', { dir: folder.logPath, keys: [KEY] })).toMatchObject({ size: 600 });
    });

    test('rewritten and signed again is caught by a checkpoint kept from before, in Go as by us', async () => {
      using folder = new EvidenceFolder();
      using rewritten = new EvidenceFolder();
      const old = await publish(folder, 300, 200);
      await publish(rewritten, 300, 0);
      expect(await go.ask('check-log', { dir: rewritten.logPath, keys: [KEY] })).toMatchObject({ size: 300 });
      expect(await go.ask('check-log', { dir: rewritten.logPath, keys: [KEY], ...old })).toHaveProperty('refused');
    });

    test('truncated and signed again is caught by a checkpoint kept from before, in Go as by us', async () => {
      using folder = new EvidenceFolder();
      using cut = new EvidenceFolder();
      const old = await publish(folder, 300, 200);
      const held = [new Uint8Array(readFileSync(join(folder.logPath, 'checkpoint')))];
      await publish(cut, 150, 0);
      expect(await go.ask('check-log', { dir: cut.logPath, keys: [KEY], ...old })).toHaveProperty('refused');
      expect((await cut.verify({ held })).findings).toMatchObject([{ kind: 'held', what: 'truncated' }]);
    });
  });

  describe('its log', () => {
    test.each([1, 256, 257, 700])(
      'of %i entries is found right by ours, and wrong with a byte changed',
      async (size) => {
        const dir = join(scratch, `log-${size}`);
        const { secret = '', key = '' } = await go.ask('generate', { name: 'go.example/log' });
        const entries = Array.from({ length: size }, (_, i) => Buffer.of(2, 0, 0, i >> 8, i, ...Buffer.alloc(32, i)));
        const made = await go.ask('make-log', { dir, secret, name: 'go.example/log', entries: entries.map(base64) });
        const trust = { origin: 'go.example/log', keys: [parseVerifierKey(sha256, key)], witnesses: [] };
        const check = () => verifyLog({ sha256, ed25519: nodeEd25519, source: new LogDirectory(dir), trust });
        const report = await check();
        expect(report.findings.map(describeFinding)).toEqual([]);
        expect(base64(report.root)).toBe(made.root);
        const file = join(dir, 'tile/entries', size < 256 ? `000.p/${size}` : '000');
        const bytes = readFileSync(file);
        writeFileSync(file, bytes.with(7, (bytes[7] ?? 0) ^ 1));
        expect((await check()).findings).toMatchObject([{ kind: 'file', entry: 0 }]);
      },
    );
  });

  describe('proofs', () => {
    test('made here are taken there, made there are taken here, for many shapes of tree', async () => {
      for (const size of [1, 2, 3, 7, 8, 9, 64, 100, 255, 256, 257, 300]) {
        const entries = Array.from({ length: size }, (_, i) => Buffer.from(`entry ${i}`));
        const leaves = entries.map((entry) => leafHash(sha256, entry));
        const root = rootOf(sha256, leaves);
        const read = async (height: number, index: number) =>
          rootOf(sha256, leaves.slice(index * 2 ** height, (index + 1) * 2 ** height));
        for (const index of new Set([0, size >> 1, size - 1])) {
          const old = index + 1;
          const theirs = await go.ask('prove', { entries: entries.map(base64), index, old });
          expect(theirs.root).toBe(base64(root));
          const leaf = leaves[index] ?? root;
          const oldRoot = rootOf(sha256, leaves.slice(0, old));
          expect(theirs.oldRoot).toBe(base64(oldRoot));
          expect(includes(sha256, decoded(theirs.inclusion), leaf, index, size, root)).toBe(true);
          expect(isConsistent(sha256, decoded(theirs.consistency), old, oldRoot, size, root)).toBe(true);
          const inclusion = await proveInclusion(sha256, read, index, size);
          const consistency = await proveConsistency(sha256, read, old, size);
          expect(inclusion.map(base64)).toEqual(theirs.inclusion);
          expect(consistency.map(base64)).toEqual(theirs.consistency);
          const asked = { index, size, root: base64(root), leaf: base64(leaf), proof: inclusion.map(base64) };
          expect(await go.ask('check-inclusion', asked)).toEqual({ ok: true });
          const wrong = { ...asked, leaf: base64(leaf.with(0, (leaf[0] ?? 0) ^ 1)) };
          expect(await go.ask('check-inclusion', wrong)).toHaveProperty('refused');
          const grown = { old, oldRoot: base64(oldRoot), size, root: base64(root), proof: consistency.map(base64) };
          expect(await go.ask('check-consistency', grown)).toEqual({ ok: true });
        }
      }
    });

    test('read from our published tiles are taken there', async () => {
      using folder = new EvidenceFolder();
      await publish(folder, 700, 0);
      const { root } = await folder.verify();
      const log = new LogDirectory(folder.logPath);
      const read = subtreesOf(sha256, 700, (tile) => log.tile(tile));
      using spool = folder.spool();
      for (const index of [0, 255, 256, 699]) {
        const proof = (await proveInclusion(sha256, read, index, 700)).map(base64);
        const [entry] = spool.reader.entries(index, index + 1);
        const leaf = base64(leafHash(sha256, entry?.entry ?? new Uint8Array()));
        expect(await go.ask('check-inclusion', { index, size: 700, root: base64(root), leaf, proof })).toEqual({
          ok: true,
        });
      }
    });
  });

  describe('notes and keys', () => {
    test('a key made there signs here as there, and the other way round', async () => {
      const { secret = '', key = '' } = await go.ask('generate', { name: 'go.example/key' });
      const verifier = parseVerifierKey(sha256, key);
      // Behind four plus signs stands base64, which may hold some of its own.
      const [, encoded = ''] = /^PRIVATE\+KEY\+[^+]+\+[0-9a-f]{8}\+(.+)$/.exec(secret) ?? [];
      const seed = Buffer.from(encoded, 'base64').subarray(1);
      const text = 'one\n2\n';
      const { note = '' } = await go.ask('sign', { secret, note: text });
      const ours = noteSigner(sha256, 'go.example/key', seed);
      expect(formatVerifierKey(ours)).toBe(key);
      expect(verifyNote(nodeEd25519, parseNote(Buffer.from(note)), [verifier])).toHaveProperty('signedBy');
      const ownSecret = formatSecret(sha256, { name: ORIGIN, seed: SEED }, LOG_KEY.publicKey);
      const signed = await go.ask('sign', { secret: ownSecret, note: text });
      expect(await go.ask('open', { note: signed.note, keys: [KEY] })).toEqual({ text, signedBy: [ORIGIN] });
      expect(verifyNote(nodeEd25519, parseNote(Buffer.from(signed.note ?? '')), [LOG_KEY])).toHaveProperty('signedBy');
    });

    test('a cosignature of a witness in Go counts here, and ours counts there', async () => {
      using folder = new EvidenceFolder();
      await publish(folder, 5, 0);
      const checkpoint = readFileSync(join(folder.logPath, 'checkpoint'), 'utf8');
      const theirs = await go.ask('cosign', { note: checkpoint, name: 'witness.example/go', time: 1_790_000_000 });
      const witness = parseVerifierKey(sha256, theirs.key ?? '');
      expect(verifyCosignatures(nodeEd25519, parseNote(Buffer.from(theirs.note ?? '')), [witness]).good).toMatchObject([
        { time: 1_790_000_000, witness: { name: 'witness.example/go' } },
      ]);
      const own = cosigner('witness.example/ours');
      const note = parseNote(Buffer.from(checkpoint));
      const line = cosign(own, note.text, 1_790_000_001);
      const cosigned = Buffer.from(formatNote({ ...note, signatures: [...note.signatures, line] })).toString();
      const asked = { note: cosigned, witnesses: [formatVerifierKey(own)] };
      expect(await go.ask('check-cosignature', asked)).toEqual({ cosignatures: 1 });
      expect(await go.ask('open', { note: cosigned, keys: [KEY] })).toMatchObject({ signedBy: [ORIGIN] });
    });
  });
});

describe('without Go', () => {
  test('the keys of this file are one key', () => {
    expect(formatVerifierKey(noteSigner(sha256, ORIGIN, SEED))).toBe(KEY);
  });
});

/** Publishes `size` entries; tells the tree as it was at `old`. */
async function publish(folder: EvidenceFolder, size: number, old: number): Promise<{ old: number; oldRoot: string }> {
  using spool = folder.spool();
  const append = (count: number): void => {
    if (count > 0) spool.append(Array.from({ length: count }, (_, i) => rawRecord(`record ${i}`)));
  };
  append(old);
  const leaves = spool.reader.entries(0, old).map(({ entry }) => leafHash(sha256, entry));
  append(size - old);
  await (await folder.publisher(spool)).publish();
  return { old, oldRoot: base64(rootOf(sha256, leaves)) };
}

function cosigner(name: string): NoteSigner {
  const { publicKey, sign } = noteSigner(sha256, name, new Uint8Array(32).fill(8));
  return { ...noteKey(sha256, 'cosigner', name, publicKey), sign };
}

function base64(bytes: Uint8Array | undefined): string {
  return Buffer.from(bytes ?? []).toString('base64');
}

function decoded(list: readonly string[] | undefined): Uint8Array[] {
  return (list ?? []).map((text) => Uint8Array.from(Buffer.from(text, 'base64')));
}
