/** A crowd of sessions that end at once must not become one of log lines. */
import { execFile } from 'node:child_process';
import { describe, expect, it } from 'vitest';
import type { Reason } from '../../protocol/reasons.ts';
import { type LogFields, silentLogger } from '../base/logger.ts';
import { SimulatedClock } from '../base/simulated-clock.ts';
import { SessionLines } from './session-lines.ts';

describe('lines of sessions', () => {
  it('are told one by one up to 64 of a kind in a second, and no timer is set for them', () => {
    const { said, lines, clock } = scene();
    for (let i = 0; i < 64; i++) lines.say(`s${i}`, CLOSED, { detail: `by ${i}` });
    expect(said).toHaveLength(64);
    expect(said[63]).toEqual(['ended', { session: 's63', ...CLOSED, detail: 'by 63' }]);
    expect(clock.pending).toEqual([]);
  });

  it('beyond those are told once, when the second is over: how many they were, and the first 16 of them', async () => {
    const { said, lines, clock } = scene();
    lines.say('s0', CLOSED);
    await clock.advance(400);
    for (let i = 1; i < 100; i++) lines.say(`s${i}`, CLOSED, { detail: 'long' });
    await clock.advance(599);
    expect(said).toHaveLength(64);
    await clock.advance(1);
    const named = Array.from({ length: 16 }, (_, i) => `s${64 + i}`);
    expect(said.slice(64)).toEqual([['more ended', { ...CLOSED, count: 36, sessions: named }]]);
    await clock.advance(60_000);
    expect(said).toHaveLength(65);
  });

  it('of one reason do not hide those of another, nor the peer’s ours', async () => {
    const { said, lines, clock } = scene();
    const kinds = [CLOSED, { reason: 'CLOSED', byPeer: true }, { reason: 'EXPIRED', byPeer: false }] as const;
    for (let i = 0; i < 66; i++) lines.say(`a${i}`, kinds[0]);
    for (let i = 0; i < 65; i++) lines.say(`b${i}`, kinds[1]);
    for (let i = 0; i < 3; i++) lines.say(`c${i}`, kinds[2]);
    const each = kinds.map((kind) => said.filter(([, { reason, byPeer }]) => isSame(kind, { reason, byPeer })).length);
    expect(each).toEqual([64, 64, 3]);
    await clock.advance(1_000);
    expect(said.slice(131)).toEqual([
      ['more ended', { ...kinds[0], count: 2, sessions: ['a64', 'a65'] }],
      ['more ended', { ...kinds[1], count: 1, sessions: ['b64'] }],
    ]);
  });

  it('are told one by one again in the next second', async () => {
    const { said, lines, clock } = scene();
    for (let i = 0; i < 64; i++) lines.say(`a${i}`, CLOSED);
    await clock.advance(1_000);
    for (let i = 0; i < 65; i++) lines.say(`b${i}`, CLOSED);
    await clock.advance(1_000);
    lines.say('c', CLOSED);
    expect(said.map(([message]) => message)).toEqual([...Array(128).fill('ended'), 'more ended', 'ended']);
    expect(said[128]?.[1]).toEqual({ ...CLOSED, count: 1, sessions: ['b64'] });
  });

  it('that were held back are told before those of the next second, also where the loop is busy and the timer late', () => {
    const time = { now: 0 };
    const late = Object.assign(new SimulatedClock(), { monotonic: () => time.now });
    const { said, lines } = scene(late);
    for (let i = 0; i < 66; i++) lines.say(`a${i}`, CLOSED);
    time.now = 1_000;
    lines.say('b', CLOSED);
    expect(said.slice(64)).toEqual([
      ['more ended', { ...CLOSED, count: 2, sessions: ['a64', 'a65'] }],
      ['ended', { session: 'b', ...CLOSED }],
    ]);
    expect(late.pending).toEqual([]);
  });

  it('attack: one session that says the same without end is named once, and leaves places for others', async () => {
    const { said, lines, clock } = scene();
    for (let i = 0; i < 1_000; i++) lines.say('noise', CLOSED);
    lines.say('other', CLOSED);
    await clock.advance(1_000);
    expect(said.slice(64)).toEqual([['more ended', { ...CLOSED, count: 937, sessions: ['noise', 'other'] }]]);
  });

  it('attack: ten thousand at once are 65 lines, and so they are in every second that it goes on', async () => {
    const { said, lines, clock } = scene();
    for (let second = 0; second < 3; second++) {
      for (let i = 0; i < 10_000; i++) lines.say(`s${i}`, CLOSED);
      await clock.advance(1_000);
    }
    expect(said).toHaveLength(3 * 65);
    const told = said.map(([, { count }]) => (typeof count === 'number' ? count : 1));
    expect(told.reduce((sum, count) => sum + count)).toBe(30_000);
  });
});

describe('the end', () => {
  it('tells at once what was held back, once, and leaves no timer and no listener', async () => {
    const { said, lines, clock } = scene();
    const listeners = process.listenerCount('exit');
    for (let i = 0; i < 66; i++) lines.say(`s${i}`, CLOSED);
    expect(process.listenerCount('exit')).toBe(listeners + 1);
    lines.tellRest();
    lines.tellRest();
    expect(said.slice(64)).toEqual([['more ended', { ...CLOSED, count: 2, sessions: ['s64', 's65'] }]]);
    expect([clock.pending, process.listenerCount('exit')]).toEqual([[], listeners]);
    await clock.advance(1_000);
    expect(said).toHaveLength(65);
  });

  it('says nothing where nothing was held back', async () => {
    const { said, lines, clock } = scene();
    lines.tellRest();
    lines.say('s', CLOSED);
    lines.tellRest();
    await clock.advance(1_000);
    expect(said).toEqual([['ended', { session: 's', ...CLOSED }]]);
  });

  it('by an error that nobody caught has it written all the same', async () => {
    const { stderr, code } = await run(`
      import { systemClock } from '${new URL('../base/clock.ts', import.meta.url)}';
      import { createLogger } from '${new URL('../base/logger.ts', import.meta.url)}';
      import { SessionLines } from '${new URL('./session-lines.ts', import.meta.url)}';
      const lines = new SessionLines({ clock: systemClock, log: createLogger(), one: 'ended', more: 'more ended' });
      for (let i = 0; i < 66; i++) lines.say('s' + i, { reason: 'CLOSED' });
      throw new Error('nobody catches it');
    `);
    expect(code).toBe(1);
    expect(stderr.match(/"msg":"ended"/g)).toHaveLength(64);
    expect(stderr).toMatch(/"reason":"CLOSED","count":2,"sessions":\["s64","s65"\],"msg":"more ended"/);
  });
});

interface Kind extends LogFields {
  readonly reason: Reason;
  readonly byPeer: boolean;
}

const CLOSED: Kind = { reason: 'CLOSED', byPeer: false };

function isSame(one: object, other: object): boolean {
  return JSON.stringify(one) === JSON.stringify(other);
}

function scene(clock = new SimulatedClock()) {
  const said: (readonly [string, LogFields])[] = [];
  const log = { ...silentLogger, info: (message: string, fields: LogFields = {}) => void said.push([message, fields]) };
  const lines = new SessionLines<Kind>({ clock, log, one: 'ended', more: 'more ended' });
  return { clock, said, lines };
}

/** What a process of that script writes to its log, and how it exits. */
function run(script: string): Promise<{ readonly stderr: string; readonly code: unknown }> {
  return new Promise((resolve) => {
    execFile(process.execPath, ['--input-type=module', '-e', script], (error, _, stderr) =>
      resolve({ stderr, code: error?.code }),
    );
  });
}
