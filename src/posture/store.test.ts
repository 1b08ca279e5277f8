import { chmod, mkdtemp, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { effectiveLevel, type Statement } from '../../protocol/posture/index.ts';
import { eventually } from '../../test/support/eventually.ts';
import { nodeCrypto } from '../base/crypto-node.ts';
import { silentLogger } from '../base/logger.ts';
import { SimulatedClock } from '../base/simulated-clock.ts';
import { PostureEngine } from './engine.ts';
import { openPostureStore, type PosturePlace } from './store.ts';

const BOOT = '11111111-2222-3333-4444-555555555555';
const NO_STEPS = { dataPlane: [], admission: { name: 'admission', apply: () => undefined }, sessionLayer: [] };
let folder: string;

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'shs-posture-'));
});
// What a run still writes when its test is over may come between.
afterEach(() => rm(folder, { recursive: true, maxRetries: 9 }));

describe('posture over a restart', () => {
  it('is what it was: levels, reasons, expiry, and what was set aside', async () => {
    const clock = new SimulatedClock();
    const before = await engine(clock);
    await before.state('map', 1, 'slot 0 says 1');
    await before.setAside('map');
    await before.state('console', 3, 'drill', 60_000);
    const after = await engine(clock);
    const told = ({ sources }: PostureEngine) =>
      sources.map(({ source, level, expiresAtMs, reason, counts }) => ({ source, level, expiresAtMs, reason, counts }));
    expect([after.level, told(after)]).toEqual([3, told(before)]);
    await clock.advance(60_001);
    // What is written meanwhile takes its own time.
    await eventually('the end of it in both', () => before.level === 5 && after.level === 5);
  });

  it('has a higher epoch than any that peers were told, though the clock of the host went back to 1970', async () => {
    const before = await engine(new SimulatedClock(), 1_800_000_000_000n);
    for (const level of [3, 2, 4] as const) await before.state('console', level, 'test');
    const after = await engine(new SimulatedClock(), 0n);
    expect(after.epoch).toBeGreaterThan(before.epoch);
  });

  it('is whole with as many timers as an accord may have, and forgets those of windows that are over', async () => {
    const clock = new SimulatedClock();
    const before = await engine(clock);
    for (let n = 0; n < 64; n += 1) await before.state(`timer-${n}`, 4, 'x', n < 60 ? 1_000 : 60_000);
    for (const source of ['map', 'console', 'bascule', 'record']) await before.state(source, 4, 'x');
    expect((await openPostureStore(place(), 0)).problem).toBeUndefined();
    const { kept } = await openPostureStore(place(), clock.now() + 2_000);
    expect([...(kept?.statements.keys() ?? [])]).toHaveLength(8);
  });

  it('does not take an old statement again: the epochs of each source go on', async () => {
    const clock = new SimulatedClock();
    const before = await engine(clock);
    await before.state('console', 2, 'test');
    await before.setAside('console');
    const after = await engine(clock);
    await after.state('console', 2, 'again');
    expect(after.level).toBe(2);
  });

  it('is written for the daemon’s user only, and leaves nothing beside', async () => {
    await (await engine(new SimulatedClock())).state('console', 2, 'test');
    const files = await readdir(folder);
    expect(files).toEqual(['posture.journal', 'posture.json']);
    for (const file of files) expect((await stat(join(folder, file))).mode & 0o777).toBe(0o600);
  });

  it('knows whether it is of this boot', async () => {
    expect(await openPostureStore(place(), 0)).toMatchObject({ kept: undefined, isSameBoot: false });
    await (await engine(new SimulatedClock())).state('console', 2, 'test');
    expect((await openPostureStore(place(), 0)).isSameBoot).toBe(true);
    expect((await openPostureStore(place('another'), 0)).isSameBoot).toBe(false);
  });
});

describe('a disk that fails', () => {
  it('holds no lockdown up', async () => {
    const { store } = await openPostureStore({ ...place(), folder: join(folder, 'is not there') }, 0);
    const errors: string[] = [];
    const log = { ...silentLogger, error: (message: string) => void errors.push(message) };
    const own = new PostureEngine({ clock: new SimulatedClock(), log, initial: 5, firstEpoch: 1n, store });
    await own.start(NO_STEPS);
    await own.state('console', 1, 'test');
    expect([own.level, errors]).toEqual([
      1,
      ['the record of the posture cannot be written: a restart may not know what was said'],
    ]);
  });
});

describe('a record that cannot be read', () => {
  const damage: readonly (readonly [string, (text: string) => string])[] = [
    ['cut off', (text) => text.slice(0, text.length / 2)],
    ['empty', () => ''],
    ['of a later version', (text) => summed(text.replace('"version": 1', '"version": 2'))],
    ['with a level that is none', (text) => summed(text.replace('"level": 1', '"level": 6'))],
    ['with a field that nobody knows', (text) => summed(text.replace('"version"', '"and": 1, "version"'))],
    ['no JSON', () => summed('x\n{')],
    ['huge', (text) => text + ' '.repeat(70_000)],
  ];
  it.each(damage)('attack: %s, it is level 2 until somebody sets it aside', async (_, damaged) => {
    await (await engine(new SimulatedClock())).state('console', 1, 'test');
    await rm(join(folder, 'posture.journal'));
    const path = join(folder, 'posture.json');
    await writeFile(path, damaged(await readFile(path, 'utf8')));
    expect((await engine(new SimulatedClock())).level).toBe(2);
    // Nothing was said since: a second restart knows no more than the first.
    const after = await engine(new SimulatedClock());
    expect(after.level).toBe(2);
    await after.setAside('record');
    expect(after.level).toBe(5);
  });

  it('is no loss to what the journal still tells', async () => {
    await (await engine(new SimulatedClock())).state('console', 1, 'test');
    await writeFile(join(folder, 'posture.json'), '');
    const after = await engine(new SimulatedClock());
    await after.setAside('record');
    expect(after.level).toBe(1);
  });

  it('attack: a flipped bit anywhere never makes it looser than 2 without a word', async () => {
    await (await engine(new SimulatedClock())).state('console', 1, 'test');
    const path = join(folder, 'posture.json');
    const bytes = await readFile(path);
    await rm(join(folder, 'posture.journal'));
    const looser: string[] = [];
    await fc.assert(
      fc.asyncProperty(fc.nat(bytes.length - 1), fc.nat(7), async (at, bit) => {
        const flipped = Buffer.from(bytes);
        flipped[at] = (flipped[at] ?? 0) ^ (1 << bit);
        await writeFile(path, flipped);
        const { kept } = await openPostureStore(place(), 0);
        const { level } = effectiveLevel(kept?.statements ?? new Map<string, { statement: Statement }>(), 0);
        if (level > 2) looser.push(flipped.toString());
      }),
      { numRuns: 300 },
    );
    expect(looser).toEqual([]);
  });

  it('is one that may not be read at all, too', async () => {
    if (process.getuid?.() === 0) return;
    await (await engine(new SimulatedClock())).state('console', 1, 'test');
    await chmod(join(folder, 'posture.json'), 0);
    expect((await engine(new SimulatedClock())).level).toBe(2);
  });
});

function place(bootId = BOOT): PosturePlace {
  return { folder, bootId, sha256: nodeCrypto.sha256 };
}

/** With a checksum that fits what it says. */
function summed(text: string): string {
  const json = text.slice(text.indexOf('\n') + 1);
  return `${Buffer.from(nodeCrypto.sha256(Buffer.from(json))).toString('hex')}\n${json}`;
}

async function engine(clock: SimulatedClock, firstEpoch = BigInt(clock.now())): Promise<PostureEngine> {
  const opened = await openPostureStore(place(), clock.now());
  const own = new PostureEngine({ clock, log: silentLogger, initial: 5, firstEpoch, ...opened });
  await own.start(NO_STEPS);
  return own;
}
