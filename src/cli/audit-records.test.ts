import { mkdir, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { LOG_KEY, memoryLog, ORIGIN } from '../../protocol/evidence/fixtures.ts';
import {
  commitmentOf,
  commitToKey,
  encodeArtifact,
  encodeEntry,
  formatVerifierKey,
  isSampled,
  type LogEntry,
  leafHash,
  type Opening,
  rootOf,
} from '../../protocol/evidence/index.ts';
import { nodeCrypto } from '../base/crypto-node.ts';
import { temporaryFolder } from '../control/fixtures.ts';
import { id, transit } from '../evidence/fixtures.ts';
import { FakeWorld } from './fixtures.ts';

const { sha256, hmacSha256 } = nodeCrypto;
const DAY = 20_000;
const SAMPLING_KEY = new Uint8Array(32).fill(7);
const TRANSITS = Array.from({ length: 40 }, (_, number) => shownTransit(number));
const IN = TRANSITS.filter((_, number) => isSampled(hmacSha256, SAMPLING_KEY, id(number), 10));
const OUT = TRANSITS.filter((one) => !IN.includes(one));

let place: Awaited<ReturnType<typeof temporaryFolder>>;

beforeAll(async () => {
  place = await temporaryFolder();
});
afterAll(() => place[Symbol.asyncDispose]());

describe('verify-log --audit', () => {
  it('tells a session that was sampled out from one that is notarised, and from one that nobody ever recorded', async () => {
    expect([IN.length, OUT.length].every((count) => count > 1)).toBe(true);
    const log = await written(IN, OUT);
    const [notarised = '', leftOut = ''] = [IN[0]?.session, OUT[0]?.session];
    const sure = await audited(log, [...IN, ...OUT], '--session', notarised, '--session', leftOut);
    expect(sure).toMatchObject({ code: 0, findings: [] });
    expect(sure.sessions).toEqual({ [notarised]: 'notarised', [leftOut]: 'left out' });
    const unheard = 'f'.repeat(32);
    expect(await audited(log, [...IN, ...OUT], '--session', unheard)).toMatchObject({
      code: 1,
      findings: [`session ${unheard}: neither notarised nor left out`],
      found: [{ kind: 'session', id: unheard }],
    });
  });

  it('attack: a notarised transit never reached the log: the gap in the numbers is told', async () => {
    const [deleted, ...kept] = IN;
    const ran = await audited(await written(kept, OUT), [...kept, ...OUT]);
    expect(ran).toMatchObject({ code: 1, found: [{ kind: 'deleted', first: deleted?.number, count: 1 }] });
  });

  it('attack: a transit that the key had chosen is among those left out', async () => {
    const [hidden, ...kept] = IN;
    const out = hidden === undefined ? OUT : [...OUT, hidden];
    const ran = await audited(await written(kept, out), [...kept, ...out]);
    expect(ran.findings.join()).toContain(`left-out record ${OUT.length} should have been notarised at level 5`);
  });

  it('attack: a left-out record is kept back, or is another than its batch committed to', async () => {
    const log = await written(IN, OUT);
    const [first, ...others] = OUT;
    expect((await audited(log, [...IN, ...others])).findings.join()).toContain('left-out record 0 of its batch is not');
    const changed = others.map((one, at) => (at === 3 ? { ...one, salt: new Uint8Array(16) } : one));
    const all = [...IN, ...(first === undefined ? [] : [first]), ...changed];
    expect((await audited(log, all)).findings.join()).toContain('are not those its batch committed to');
  });

  it('attack: two records are shown of one number, one to be judged and one to be believed', async () => {
    const [one, other] = OUT;
    const twice = other === undefined ? [] : [other, { ...other, record: one?.record ?? other.record }];
    const ran = await audited(await written(IN, OUT), twice);
    expect(ran.err).toMatch(/line 2 is another record of a number/);
  });

  it('takes what came since the log was copied for neither forged nor proven', async () => {
    const [young, ...before] = IN;
    const log = await written(before, OUT);
    const size = before.length + 3;
    const later = { ...log, indices: new Map([...log.indices, [young?.number ?? 0, size]]) };
    expect(await audited(later, [...IN, ...OUT])).toMatchObject({ code: 0, findings: [], uncommitted: 1 });
  });

  it('says of which days the choice cannot be repeated yet', async () => {
    const ran = await audited(await written(IN, OUT, false), [...IN, ...OUT]);
    expect(ran).toMatchObject({ code: 0, unrevealed: [new Date(DAY * 86_400_000).toISOString().slice(0, 10)] });
  });

  it('is asked for with records, and what only it answers with it', async () => {
    expect((await new FakeWorld().run('verify-log', '/x', '--key', KEY, '--audit')).code).toBe(2);
    expect((await new FakeWorld().run('verify-log', '/x', '--key', KEY, '--session', 'f'.repeat(32))).code).toBe(2);
  });
});

interface Shown extends Opening {
  readonly number: number;
  readonly session: string;
}

const KEY = formatVerifierKey(LOG_KEY);
let logs = 0;

function shownTransit(number: number): Shown {
  const recording = transit(number);
  if (recording.case !== 'sessionTransit') throw new Error('another recording');
  const value = { ...recording.value, transit: BigInt(number), postureLevelAtTransit: 5 };
  const atMs = BigInt(DAY * 86_400_000 + number);
  const record = encodeArtifact({ atMs, postureLevel: 5, body: { case: 'sessionTransit', value } });
  const session = Buffer.from(id(number)).toString('hex');
  return { number, session, record, salt: new Uint8Array(16).fill(number) };
}

/** The log: key, notarised, one batch, key. The records' indices and numbers are their places in what is given. */
async function written(notarised: readonly Shown[], leftOut: readonly Shown[], isRevealed = true): Promise<Log> {
  const entries: LogEntry[] = [
    { kind: 'key-committed', day: DAY, commitment: commitToKey(sha256, DAY, SAMPLING_KEY) },
    ...notarised.map(entryOf),
    {
      kind: 'left-out',
      day: DAY,
      first: 0,
      count: leftOut.length,
      root: rootOf(
        sha256,
        leftOut.map((one) => leafHash(sha256, encodeEntry(entryOf(one)))),
      ),
    },
  ];
  if (isRevealed) entries.push({ kind: 'key-revealed', day: DAY, key: SAMPLING_KEY });
  const path = join(place.path, `log-${logs++}`);
  for (const [name, bytes] of memoryLog(entries.map(encodeEntry)).files) {
    await mkdir(dirname(join(path, name)), { recursive: true });
    await writeFile(join(path, name), bytes);
  }
  const numbersOf = (all: readonly Shown[], from: number) => all.map(({ number }, i) => [number, from + i] as const);
  return { path, indices: new Map(numbersOf(notarised, 1)), numbers: new Map(numbersOf(leftOut, 0)) };
}

interface Log {
  readonly path: string;
  readonly indices: ReadonlyMap<number, number>;
  readonly numbers: ReadonlyMap<number, number>;
}

function entryOf({ salt, record }: Opening): LogEntry {
  return { kind: 'record', commitment: commitmentOf(sha256, salt, record) };
}

async function audited({ path, indices, numbers }: Log, shown: readonly Shown[], ...args: readonly string[]) {
  const lines = shown.map(({ number, record, salt }) => {
    const index = indices.get(number);
    return JSON.stringify({
      origin: ORIGIN,
      leftOut: index === undefined,
      sequence: index ?? numbers.get(number),
      record: Buffer.from(record).toString('base64'),
      salt: Buffer.from(salt).toString('hex'),
    });
  });
  const file = `${path}.records`;
  await writeFile(file, lines.join('\n'));
  const ran = await new FakeWorld().run(
    'verify-log',
    path,
    '--key',
    KEY,
    '--records',
    file,
    '--audit',
    '--json',
    ...args,
  );
  const said: {
    findings?: string[];
    found?: object[];
    sessions?: object;
    unrevealed?: string[];
    uncommitted?: number;
  } = ran.out === '' ? {} : JSON.parse(ran.out);
  return { findings: [], ...said, code: ran.code, err: ran.err };
}
