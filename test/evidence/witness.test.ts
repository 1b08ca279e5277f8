/**
 * The publisher and a witness that is not ours: it is written in Go over golang.org/x/mod/sumdb, keeps its own state, and
 * behaves as badly as it is told to.
 */
import { readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { reasonOf } from '../../protocol/errors.ts';
import { describeFinding, formatVerifierKey, type NoteKey, parseVerifierKey } from '../../protocol/evidence/index.ts';
import { systemClock } from '../../src/base/clock.ts';
import { SimulatedClock } from '../../src/base/simulated-clock.ts';
import { nodeEd25519 } from '../../src/evidence/ed25519.ts';
import { EvidenceFolder, LOG_KEY, ORIGIN, rawRecord, sha256 } from '../../src/evidence/fixtures.ts';
import type { Publisher } from '../../src/evidence/publisher.ts';
import type { Spool } from '../../src/evidence/spool.ts';
import { witnessAt } from '../../src/evidence/witness-http.ts';
import { Witnesses } from '../../src/evidence/witnesses.ts';
import { BUILD_MS, buildGoTlog, GoTlog } from '../go-tlog/driver.ts';
import { describeWith } from '../support/requirements.ts';

const NAME = 'witness.example/go';

describeWith(['go'], 'a witness in Go', () => {
  let go: GoTlog;
  let url = '';
  let key: NoteKey;
  const clock = new SimulatedClock();
  let patienceMs: number;

  beforeAll(async () => {
    go = new GoTlog(await buildGoTlog());
  }, BUILD_MS);

  afterAll(async () => {
    await go[Symbol.asyncDispose]();
  });

  beforeEach(async () => {
    patienceMs = 30_000;
    const asked = { name: NAME, origin: ORIGIN, keys: [formatVerifierKey(LOG_KEY)], listen: '127.0.0.1:0' };
    const started = await go.ask('witness', asked);
    url = started.url ?? '';
    key = parseVerifierKey(sha256, started.key ?? '');
  });

  test('cosigns every step of a log, which then verifies with the quorum, in Go too', async () => {
    using folder = new EvidenceFolder();
    using spool = folder.spool();
    const publisher = await folder.publisher(spool, [LOG_KEY], witnesses());
    for (const step of [1, 255, 1, 700]) {
      append(spool, step);
      await publisher.publish();
      const { findings } = await folder.verify({ witnesses: [key], quorum: 1 });
      expect(findings.map(describeFinding)).toEqual([]);
    }
    expect(await go.ask('saw', {})).toMatchObject({ size: 957, asked: 4 });
    const note = readFileSync(join(folder.logPath, 'checkpoint'), 'utf8');
    expect(await go.ask('check-cosignature', { note, witnesses: [formatVerifierKey(key)] })).toEqual({
      cosignatures: 1,
    });
  });

  test('that knows more of us than we remember tells its size, and is asked from there', async () => {
    using folder = new EvidenceFolder();
    using spool = folder.spool();
    append(spool, 300);
    await (await folder.publisher(spool, [LOG_KEY], witnesses())).publish();
    // As after a crash between cosignature and publication, with nothing published at all.
    rmSync(folder.logPath, { recursive: true });
    append(spool, 300);
    const asked = witnesses();
    await (await folder.publisher(spool, [LOG_KEY], asked)).publish();
    expect(asked.states).toEqual([{ name: NAME, size: 600, problem: undefined }]);
    expect(await go.ask('saw', {})).toMatchObject({ size: 600, asked: 3 });
    expect((await folder.verify({ witnesses: [key], quorum: 1 })).findings).toEqual([]);
  });

  describe('attack: the owner forks the log', () => {
    test('a log of other entries of the same size is not cosigned, so it is not published, and nothing more is said', async () => {
      using honest = new EvidenceFolder();
      await published(honest, 300, 'honest');
      using fork = new EvidenceFolder();
      using spool = fork.spool();
      append(spool, 300, 'forged');
      const publisher = await fork.publisher(spool, [LOG_KEY], witnesses());
      expect(reasonOf(await failure(publisher))).toBe('EVIDENCE_ROLLED_BACK');
      expect(publisher.published).toBe(0);
      expect(await go.ask('saw', {})).toMatchObject({ size: 300 });
    });

    test('neither is one that grew beyond what the witness saw', async () => {
      using honest = new EvidenceFolder();
      await published(honest, 300, 'honest');
      using fork = new EvidenceFolder();
      using spool = fork.spool();
      append(spool, 500, 'forged');
      const publisher = await fork.publisher(spool, [LOG_KEY], witnesses());
      const error = await failure(publisher);
      expect(reasonOf(error)).toBe('EVIDENCE_ROLLED_BACK');
      expect(String(error)).toContain('no beginning of ours');
    });
  });

  test('attack: the owner cuts the end off, log and spool together: the witness saw more', async () => {
    using honest = new EvidenceFolder();
    await published(honest, 300, 'same');
    using cut = new EvidenceFolder();
    using spool = cut.spool();
    append(spool, 200, 'same');
    const error = await failure(await cut.publisher(spool, [LOG_KEY], witnesses()));
    expect(reasonOf(error)).toBe('EVIDENCE_ROLLED_BACK');
    expect(String(error)).toContain('it saw 300 entries, of which 200 are left');
  });

  describe('that behaves badly', () => {
    test.each([
      ['forbid', '403'],
      ['garbage', 'MALFORMED'],
      ['endless', 'too long'],
      ['forge', 'no cosignature of its key'],
      ['silent', 'no answer in time'],
    ])('%s: not published while it is needed, told why, and what stood before stands', async (behaviour, why) => {
      using folder = new EvidenceFolder();
      using spool = folder.spool();
      append(spool, 10);
      const asked = witnesses();
      const publisher = await folder.publisher(spool, [LOG_KEY], asked);
      await publisher.publish();
      append(spool, 300);
      await go.ask('behave', { behaviour });
      if (behaviour === 'silent') patienceMs = 100;
      expect(reasonOf(await failure(publisher))).toBe('EVIDENCE_UNWITNESSED');
      expect(asked.states).toEqual([{ name: NAME, size: 10, problem: expect.stringContaining(why) }]);
      expect(await folder.verify({ witnesses: [key], quorum: 1 })).toMatchObject({ size: 10, findings: [] });
      // It is left alone for a time, and asked again when that is over.
      const before = await go.ask('saw', {});
      await failure(publisher);
      expect(await go.ask('saw', {})).toEqual(before);
      await go.ask('behave', { behaviour: 'honest' });
      patienceMs = 30_000;
      await clock.advance(2_000);
      await publisher.publish();
      expect(await folder.verify({ witnesses: [key], quorum: 1 })).toMatchObject({ size: 310, findings: [] });
    });

    test('and is not needed: the log is published without it, and cosigned when it is back', async () => {
      using folder = new EvidenceFolder();
      using spool = folder.spool();
      append(spool, 10);
      await go.ask('behave', { behaviour: 'boast' });
      const asked = witnesses(0);
      const publisher = await folder.publisher(spool, [LOG_KEY], asked);
      await publisher.publish();
      expect(asked.states[0]?.problem).toContain('it saw 1099511627776 entries');
      expect(await folder.verify({ witnesses: [key] })).toMatchObject({ size: 10, signedBy: [ORIGIN] });
      await go.ask('behave', { behaviour: 'honest' });
      await clock.advance(2_000);
      await publisher.publish();
      expect(await folder.verify({ witnesses: [key] })).toMatchObject({ size: 10, signedBy: [ORIGIN, NAME] });
    });
  });

  test('attack: it cosigns both sides of a fork; who holds one of them names the log and the witness', async () => {
    await go.ask('behave', { behaviour: 'equivocate' });
    using one = new EvidenceFolder();
    await published(one, 300, 'one');
    using other = new EvidenceFolder();
    await published(other, 300, 'other');
    const held = [readFileSync(join(one.logPath, 'checkpoint'))];
    const { findings } = await other.verify({ held, witnesses: [key], quorum: 1 });
    expect(findings).toEqual([{ kind: 'held', size: 300, what: 'forked', signedBoth: [ORIGIN, NAME] }]);
  });

  function witnesses(quorum = 1): Witnesses {
    const all = [{ key, ask: (body: Uint8Array) => witnessAt(url, patienceMs, systemClock)(body) }];
    return new Witnesses({ sha256, ed25519: nodeEd25519, clock, quorum, all });
  }

  async function published(folder: EvidenceFolder, size: number, text: string): Promise<void> {
    using spool = folder.spool();
    append(spool, size, text);
    await (await folder.publisher(spool, [LOG_KEY], witnesses())).publish();
  }
});

async function failure(publisher: Publisher): Promise<unknown> {
  return await publisher.publish().then(
    () => undefined,
    (error: unknown) => error,
  );
}

function append(spool: Spool, count: number, text = 'record'): void {
  spool.append(Array.from({ length: count }, (_, i) => rawRecord(`${text} ${i}`)));
}
