/**
 * Two channels, a pipe in order with delays of its own, and applications that write, read slowly, finish, reset and
 * drain as fast-check likes; a reference of plain byte counts says what must hold after every step.
 */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { Channel } from './channel.ts';
import { DATA_HEADER_BYTES, type Frame } from './frame.ts';
import { decodeFrame, encodeFrame } from './frames.ts';

const SEED = Number(process.env.FC_SEED ?? 20_261_121);
const RUNS = Number(process.env.FC_RUNS ?? 400);
const HOST = { prefix: { address: Uint8Array.of(10, 0, 0, 1), length: 32 }, protocol: 6, port: 22 };
const WINDOW = 4_000;
const SEND_BUFFER = 3_000;
const STREAMS = 4;
const PIPE_BYTES = 6_000;

type End = 'a' | 'b';
type Action =
  | { readonly do: 'open' | 'drain' | 'tick'; readonly end: End }
  | { readonly do: 'write'; readonly end: End; readonly pick: number; readonly bytes: number }
  | { readonly do: 'read'; readonly end: End; readonly pick: number; readonly consumes: boolean }
  | { readonly do: 'finish' | 'reset' | 'release'; readonly end: End; readonly pick: number }
  /** Moves frames into the pipe, or out of it. */
  | { readonly do: 'send' | 'deliver'; readonly end: End; readonly frames: number };

describe(`two channels joined by a pipe (FC_SEED=${SEED}, FC_RUNS=${RUNS})`, { timeout: 60_000 + 20 * RUNS }, () => {
  it('carry every stream whole and in order, within the windows, and come to rest', () => {
    const parameters = { seed: SEED, numRuns: RUNS };
    fc.assert(
      fc.property(fc.array(action(), { minLength: 20, maxLength: 300 }), (actions) => {
        const world = new World();
        for (const step of actions) {
          world.perform(step);
          world.check();
        }
        world.rest();
        world.checkAtRest();
      }),
      parameters,
    );
  });

  it('stand a hostile frame at any moment: the victim closes or goes on, and never keeps more than it granted', () => {
    fc.assert(
      fc.property(
        fc.array(action(), { maxLength: 80 }),
        fc.array(hostileFrame(), { minLength: 1, maxLength: 40 }),
        (actions, hostile) => {
          const world = new World();
          for (const step of actions) world.perform(step);
          world.isHostile = true;
          for (const frame of hostile) {
            world.ends.b.channel.receive(world.now, frame);
            world.check();
          }
          world.settle('b');
          expect(['open', 'draining', 'closed']).toContain(world.ends.b.channel.phase);
        },
      ),
      { seed: SEED, numRuns: RUNS },
    );
  });
});

/** One direction of one stream as an outsider sees it. */
interface Flow {
  written: number;
  read: number;
  held: number;
  isFinished: boolean;
  isEnded: boolean;
}

interface Side {
  readonly channel: Channel;
  readonly pipe: Uint8Array[];
  readonly known: Set<number>;
  readonly out: Map<number, Flow>;
  drains: boolean;
}

class World {
  now = 0;
  /** Faults that the world does not commit by itself. */
  isHostile = false;
  /** Directions of streams that one end gave up: nothing is promised of their bytes. */
  readonly #cut = new Set<string>();
  readonly ends: Readonly<Record<End, Side>> = { a: side('initiator'), b: side('responder') };

  perform(step: Action): void {
    const { channel, known, out } = this.ends[step.end];
    switch (step.do) {
      case 'open':
        if (channel.phase === 'open' && [...known].length < 30) this.#open(step.end);
        break;
      case 'write': {
        const stream = pickFrom(known, step.pick);
        const flow = stream === undefined ? undefined : out.get(stream);
        if (stream === undefined || flow === undefined || flow.isFinished) break;
        flow.written += channel.write(stream, pattern(stream, step.end, flow.written, step.bytes));
        break;
      }
      case 'read': {
        const stream = pickFrom(known, step.pick);
        if (stream !== undefined) this.#read(step.end, stream, step.consumes);
        break;
      }
      case 'finish': {
        const stream = pickFrom(known, step.pick);
        const flow = stream === undefined ? undefined : out.get(stream);
        if (stream === undefined || flow === undefined) break;
        channel.finish(stream);
        flow.isFinished = true;
        break;
      }
      case 'reset': {
        const stream = pickFrom(known, step.pick);
        if (stream === undefined) break;
        channel.reset(stream, 'CLOSED');
        this.#cutBoth(stream);
        break;
      }
      case 'release': {
        const stream = pickFrom(known, step.pick);
        if (stream === undefined) break;
        channel.release(stream);
        const flow = out.get(stream);
        if (flow !== undefined) flow.isFinished = true;
        // What comes is dropped; what was written must still arrive.
        this.#cut.add(`${stream} from ${other(step.end)}`);
        break;
      }
      case 'drain':
        if (channel.phase === 'open') {
          channel.drain(this.now, { reason: 'OPERATOR_DRAIN', level: undefined, epoch: 0n, deadlineMs: 1e6 });
          this.ends[step.end].drains = true;
        }
        break;
      case 'tick':
        this.now += 300;
        channel.handleTimeout(this.now);
        break;
      case 'send':
        for (let i = 0; i < step.frames; i++) this.#send(step.end);
        break;
      case 'deliver':
        for (let i = 0; i < step.frames; i++) this.#deliver(step.end);
        break;
    }
    this.settle('a');
    this.settle('b');
  }

  /** What must hold at every moment. */
  check(): void {
    for (const end of ['a', 'b'] as const) {
      const { channel, pipe } = this.ends[end];
      expect(channel.retainedBytes).toBeLessThanOrEqual(3 * STREAMS * WINDOW);
      expect(channel.streamCount).toBeLessThanOrEqual(2 * STREAMS);
      expect(total(pipe)).toBeLessThanOrEqual(PIPE_BYTES + 200);
    }
    for (const [stream, flow] of this.#flows()) {
      expect(flow.read, `stream ${stream} gave what was never written`).toBeLessThanOrEqual(flow.written);
      const inFlight = flow.written - flow.read + flow.held;
      expect(inFlight, `stream ${stream} outgrew its window`).toBeLessThanOrEqual(WINDOW + SEND_BUFFER);
    }
  }

  /** Everything that can still happen happens: no more writes, everything read and finished, the pipe emptied. */
  rest(): void {
    for (let round = 0; round < 400; round++) {
      let isMoving = false;
      for (const end of ['a', 'b'] as const) {
        for (const stream of this.ends[end].known) {
          this.ends[end].channel.finish(stream);
          const flow = this.ends[end].out.get(stream);
          if (flow !== undefined) flow.isFinished = true;
          while (this.#read(end, stream, true)) isMoving = true;
        }
        while (this.#send(end)) isMoving = true;
        while (this.#deliver(end)) isMoving = true;
        this.settle(end);
      }
      if (!isMoving) return;
    }
    throw new Error('the channels never come to rest');
  }

  checkAtRest(): void {
    const { a, b } = this.ends;
    for (const { channel } of [a, b]) {
      expect(channel.streamCount).toBe(0);
      expect(channel.retainedBytes).toBe(0);
    }
    // A drain asked for ends the session; nothing else here does.
    expect([a.channel.phase, b.channel.phase]).toEqual(a.drains || b.drains ? ['closed', 'closed'] : ['open', 'open']);
    for (const [stream, flow] of this.#flows()) {
      expect(flow.read, `stream ${stream} lost bytes`).toBe(flow.written);
      expect(flow.isEnded, `the end of stream ${stream} was not told`).toBe(true);
    }
  }

  /** What an application does with events at once. */
  settle(end: End): void {
    const { channel, known, out } = this.ends[end];
    for (let event = channel.poll(); event !== undefined; event = channel.poll()) {
      switch (event.type) {
        case 'stream-opened':
          known.add(event.stream);
          out.set(event.stream, newFlow());
          channel.accept(event.stream);
          break;
        case 'stream-finished': {
          const flow = this.ends[other(end)].out.get(event.stream);
          if (flow !== undefined) flow.isEnded = true;
          break;
        }
        case 'closed':
          if (event.by === 'us' && !this.isHostile) expect(event.reason, event.detail).toBe('OPERATOR_DRAIN');
          break;
        default:
          break;
      }
    }
  }

  #open(end: End): void {
    const { channel, known, out } = this.ends[end];
    try {
      const stream = channel.open(HOST);
      known.add(stream);
      out.set(stream, newFlow());
    } catch {
      // At the limit of streams.
    }
  }

  /** Reads of one stream and compares each byte with what its place demands; consumes what is held, or keeps it. */
  #read(end: End, stream: number, consumes: boolean): boolean {
    const { channel } = this.ends[end];
    const bytes = channel.read(stream, 777);
    const from = other(end);
    const flow = this.ends[from].out.get(stream);
    if (flow === undefined) return false;
    if (bytes !== undefined) {
      expect(bytes).toEqual(pattern(stream, from, flow.read, bytes.length));
      flow.read += bytes.length;
      flow.held += bytes.length;
    }
    if (consumes) {
      channel.consumed(stream, flow.held);
      flow.held = 0;
    }
    return bytes !== undefined;
  }

  #send(end: End): boolean {
    const { channel, pipe } = this.ends[end];
    const frame = channel.pull(this.now, PIPE_BYTES - total(pipe));
    if (frame === undefined) return false;
    pipe.push(encodeFrame(frame));
    return true;
  }

  #deliver(to: End): boolean {
    const bytes = this.ends[other(to)].pipe.shift();
    if (bytes === undefined) return false;
    this.ends[to].channel.receiveBytes(this.now, bytes);
    this.settle(to);
    return true;
  }

  #cutBoth(stream: number): void {
    for (const end of ['a', 'b'] as const) this.#cut.add(`${stream} from ${end}`);
  }

  *#flows(): Generator<readonly [number, Flow]> {
    for (const end of ['a', 'b'] as const) {
      for (const [stream, flow] of this.ends[end].out) {
        if (this.ends[other(end)].known.has(stream) && !this.#cut.has(`${stream} from ${end}`)) yield [stream, flow];
      }
    }
  }
}

function action(): fc.Arbitrary<Action> {
  const end = fc.constantFrom<End>('a', 'b');
  const pick = fc.nat(9);
  return fc.oneof(
    { weight: 60, arbitrary: fc.record({ do: fc.constant('open' as const), end }) },
    { weight: 20, arbitrary: fc.record({ do: fc.constant('tick' as const), end }) },
    {
      weight: 160,
      arbitrary: fc.record({ do: fc.constant('write' as const), end, pick, bytes: fc.integer({ min: 1, max: 5_000 }) }),
    },
    { weight: 120, arbitrary: fc.record({ do: fc.constant('read' as const), end, pick, consumes: fc.boolean() }) },
    {
      weight: 40,
      arbitrary: fc.record({ do: fc.constantFrom('finish' as const, 'reset' as const, 'release' as const), end, pick }),
    },
    {
      weight: 240,
      arbitrary: fc.record({
        do: fc.constantFrom('send' as const, 'deliver' as const),
        end,
        frames: fc.integer({ min: 1, max: 6 }),
      }),
    },
    { weight: 1, arbitrary: fc.record({ do: fc.constant('drain' as const), end }) },
  );
}

function hostileFrame(): fc.Arbitrary<Frame> {
  const stream = fc.integer({ min: 1, max: 14 });
  return fc
    .oneof(
      fc.record({
        type: fc.constant('STREAM_OPEN' as const),
        stream,
        target: fc.constant(HOST),
        window: fc.nat(5_000),
      }),
      fc.record({
        type: fc.constant('STREAM_DATA' as const),
        stream,
        data: fc.uint8Array({ minLength: 1, maxLength: 3_000 }),
      }),
      fc.record({
        type: fc.constant('STREAM_WINDOW' as const),
        stream,
        credit: fc.integer({ min: 1, max: 2 ** 32 - 1 }),
      }),
      fc.record({
        type: fc.constant('STREAM_CLOSE' as const),
        stream,
        reason: fc.constantFrom('CLOSED' as const, undefined),
      }),
      fc.constantFrom<Frame>(
        { type: 'DRAINED' },
        { type: 'PING', opaque: 1n },
        { type: 'PONG', opaque: 1n },
        { type: 'CLOSE', reason: 'CLOSED' },
        { type: 'DENY', reason: 'CLOSED' },
        { type: 'REATTEST', record: Uint8Array.of(1) },
        { type: 'TUNNEL', state: 'ready', generation: 1 },
        { type: 'DRAIN', reason: 'CLOSED', level: undefined, epoch: 0n, deadlineMs: 10 },
      ),
    )
    .map((frame) => decodeFrame(encodeFrame(frame)));
}

function side(role: 'initiator' | 'responder'): Side {
  const options = { role, pingMs: 1e9, windowBytes: WINDOW, sendBufferBytes: SEND_BUFFER, maxStreams: STREAMS };
  return { channel: new Channel(options, 0), pipe: [], known: new Set(), out: new Map(), drains: false };
}

function newFlow(): Flow {
  return { written: 0, read: 0, held: 0, isFinished: false, isEnded: false };
}

function other(end: End): End {
  return end === 'a' ? 'b' : 'a';
}

function pickFrom(known: ReadonlySet<number>, pick: number): number | undefined {
  const all = [...known];
  return all[all.length - 1 - (pick % Math.max(all.length, 1))];
}

function pattern(stream: number, from: End, offset: number, length: number): Uint8Array {
  const base = stream * 31 + (from === 'a' ? 0 : 128);
  return Uint8Array.from({ length }, (_, i) => (base + (offset + i) * 7 + ((offset + i) >> 8)) & 0xff);
}

function total(pipe: readonly Uint8Array[]): number {
  return pipe.reduce((sum, bytes) => sum + bytes.length, 0) - pipe.length * DATA_HEADER_BYTES;
}
