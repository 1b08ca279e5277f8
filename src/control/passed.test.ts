/** P5 at level 1: what passes at the console's socket, as whoever has its bytes finds it in the evidence. */
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { ControlWorld, request, seenByServer, settled } from './control-world.ts';
import { ManualClock } from './fixtures.ts';
import { frame } from './frame.ts';
import { LookPace, MOST_HEADERS, type Passed, passed, WatchedFrames } from './passed.ts';
import type { ConsoleUse } from './server.ts';

const STATUS = request({ case: 'status', value: {} });
const SET_1 = request({ case: 'setPosture', value: { level: 1, reason: 'intrusion' } });
const SET_5 = request({ case: 'setPosture', value: { level: 5, reason: 'over' } });
const WATCH = request({ case: 'watch', value: {} });

let world: ControlWorld;
let level: number;
let uses: ConsoleUse[];

beforeEach(async () => {
  world = await ControlWorld.create();
  uses = [];
  level = 1;
  await world.start({
    isFull: () => level === 1,
    onUse: async (use) => void uses.push(use),
  });
});

afterEach(() => world[Symbol.asyncDispose]());

describe('at level 1', () => {
  it('a mere look leaves a record: the bytes of request and answer give its hash, and its frame headers', async () => {
    const { sent, received } = await exchange(STATUS, 1);
    expect(uses).toMatchObject([{ verb: 'status', isLook: true, refused: undefined }]);
    expect(uses[0]?.passed).toEqual(recomputed([sent, received]));
  });

  it('so do an order, a refusal, and what is no request at all', async () => {
    const outside = [
      await exchange(SET_1, 1),
      await exchange(request({ case: 'end', value: { id: 'a\nb' } }), 1),
      await exchange(Buffer.from('GET / HTTP/1.1\r\n'), 1),
    ];
    expect(uses).toMatchObject([
      { verb: 'setPosture', isLook: false },
      { verb: 'end', isLook: false, refused: 'MALFORMED' },
      { verb: 'unreadable', isLook: true, refused: 'MALFORMED' },
    ]);
    expect(uses.map((use) => use.passed)).toEqual(outside.map(({ sent, received }) => recomputed([sent, received])));
  });

  it('what a console watches is recorded at its end, after the request for it', async () => {
    const { raw, next } = await world.stranger();
    raw.write(frame(WATCH));
    await next();
    await seenByServer();
    const chunks: Buffer[] = [];
    raw.on('data', (bytes) => chunks.push(bytes));
    const console = await world.console();
    await console.setPosture({ level: 3, reason: 'odd' });
    await next();
    raw.destroy();
    await settled(() => uses.filter(({ verb }) => verb === 'watch').length === 2);
    const [asked, events] = uses.filter(({ verb }) => verb === 'watch');
    expect(asked?.passed?.frames).toBe(2);
    expect(events?.passed).toEqual(recomputed([Buffer.concat(chunks)]));
    expect(events?.passed?.frames).toBeGreaterThan(0);
  });

  it('the order that ends it, and the one that brings it, are of it', async () => {
    const { setPosture } = world.view;
    world.view.setPosture = async (statement, by) => {
      level = statement.level;
      return await setPosture.call(world.view, statement, by);
    };
    await exchange(SET_5, 1);
    await exchange(SET_5, 1);
    await exchange(SET_1, 1);
    expect(uses.map((use) => use.passed !== undefined)).toEqual([true, false, true]);
  });
});

it('at other levels a look leaves nothing, and an order no frames', async () => {
  level = 5;
  await exchange(STATUS, 1);
  await exchange(SET_5, 1);
  expect(uses).toMatchObject([{ verb: 'setPosture' }]);
  expect(uses[0]).not.toHaveProperty('passed');
});

describe('attack: whoever may look looks without end', () => {
  it('his looks wait for their turn; the owner’s do not wait for them', async () => {
    const clock = new ManualClock();
    const pace = new LookPace(clock);
    let turns = 0;
    for (let i = 0; i < 60; i += 1) void pace.turn('observer').then(() => (turns += 1));
    await Promise.resolve();
    expect(turns).toBeLessThan(60);
    const first = turns;
    let isOwnersTurn = false;
    void pace.turn('owner').then(() => (isOwnersTurn = true));
    await seenByServer();
    expect(isOwnersTurn).toBe(true);
    clock.advance(1_000);
    await seenByServer();
    expect(turns - first).toBeLessThanOrEqual(6);
    clock.advance(60_000);
    await seenByServer();
    expect(turns).toBe(60);
  });

  it('a flood of events makes a record a minute, of bounded size, that says how many there were', () => {
    const clock = new ManualClock();
    const told: Passed[] = [];
    using frames = new WatchedFrames(clock, (one) => told.push(one));
    const all = Array.from({ length: MOST_HEADERS + 100 }, (_, i) => frame(Buffer.from(String(i))));
    for (const one of all) frames.add(one);
    expect(told).toEqual([]);
    clock.advance(60_000);
    clock.advance(60_000);
    expect(told).toEqual([passed(all)]);
    expect(told[0]).toMatchObject({ frames: MOST_HEADERS + 100 });
    expect(told[0]?.frameHeaders).toHaveLength(4 * MOST_HEADERS);
  });
});

/** The bytes of a connection that somebody else wrote down. */
async function exchange(
  message: Buffer,
  answers: number,
): Promise<{ readonly sent: Buffer; readonly received: Buffer }> {
  const { raw, next } = await world.stranger();
  const chunks: Buffer[] = [];
  raw.on('data', (bytes) => chunks.push(bytes));
  const sent = frame(message);
  raw.write(sent);
  for (let i = 0; i < answers; i += 1) await next();
  raw.end();
  await once(raw, 'close');
  return { sent, received: Buffer.concat(chunks) };
}

/** As an outsider does it, who knows the framing and nothing else. */
function recomputed(directions: readonly Buffer[]): Passed {
  const hash = createHash('sha256');
  const headers: Buffer[] = [];
  for (const bytes of directions) {
    for (let at = 0; at < bytes.length; ) {
      const header = bytes.subarray(at, at + 4);
      const end = at + 4 + header.readUInt32BE(0);
      hash.update(bytes.subarray(at + 4, end));
      headers.push(header);
      at = end;
    }
  }
  return { payloadHash: hash.digest(), frameHeaders: Buffer.concat(headers), frames: headers.length };
}
