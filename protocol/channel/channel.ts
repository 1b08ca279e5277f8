/**
 * The machine of an open session, without I/O: frames and time go in, frames, events and the next deadline come out.
 * `now` is milliseconds of any clock that never goes back. After every call, `poll` until it gives nothing, `pull` what
 * the connection has room for, and call `handleTimeout` at `deadline`.
 *
 * A fault of the peer never throws: the channel closes with the reason, which leaves as CLOSE and comes as `closed`.
 * What a peer can make it keep is bounded: windows for data, flags for answers, a short line for the rest.
 */
import type { Target } from '../capability/model.ts';
import { assertNever, reasonOf, ShellstreamError } from '../errors.ts';
import type { Reason } from '../reasons.ts';
import type { ChannelEvent } from './events.ts';
import { type DrainFrame, type Frame, MAX_DATA_BYTES, MAX_PACKET_BYTES } from './frame.ts';
import { decodeFrame } from './frames.ts';
import { Liveness } from './liveness.ts';
import { type DrainingPhase, isLegal, type Phase } from './phase.ts';
import { Streams } from './streams.ts';

export interface ChannelOptions {
  /** Who opened the session; decides the parity of stream numbers and who may attest again. */
  readonly role: 'initiator' | 'responder';
  /** One PING in this many milliseconds; the peer is gone after three of them in silence. */
  readonly pingMs: number;
  /** Per stream, bytes taken from the peer before the application consumes them. */
  readonly windowBytes?: number;
  /** Per stream, bytes that wait here for credit. */
  readonly sendBufferBytes?: number;
  /** Streams at once in each direction; both ends must hold the same number. */
  readonly maxStreams?: number;
  /** Whether the session carries the packets of its tunnel; where it does not they are a fault of the peer. */
  readonly carriesPackets?: boolean;
}

export const DEFAULT_WINDOW_BYTES = 262_144;
export const DEFAULT_MAX_STREAMS = 64;

/** What the owner sends as it is; everything else the channel sends by itself. */
export type SessionFrame = Extract<Frame, { type: 'GRANT' | 'DENY' | 'POSTURE' | 'TUNNEL' | 'REATTEST' }>;

/** Packets that wait for room. More are dropped, as a full queue of a router's drops them. */
const MAX_WAITING_PACKETS = 256;

/** A peer that asks and never reads our answers. */
const MAX_WAITING_FRAMES = 64;
/** With which a session ends, at most: those that waited, and CLOSE. */
export const MAX_FINAL_FRAMES = MAX_WAITING_FRAMES + 1;

export class Channel {
  readonly #role: 'initiator' | 'responder';
  readonly #streams: Streams;
  readonly #liveness: Liveness;
  readonly #events: ChannelEvent[] = [];
  /** Frames of the session as a whole, in order; they go before all others. */
  #waiting: Frame[] = [];
  #phase: Phase = { kind: 'open' };
  /** The PING to answer; of several only the last, so that pings cannot pile up answers. */
  #pong: bigint | undefined;
  #isReattesting = false;
  readonly #carriesPackets: boolean;
  readonly #packets: Uint8Array[] = [];
  #drainedTold = false;

  constructor(options: ChannelOptions, now: number) {
    const windowBytes = options.windowBytes ?? DEFAULT_WINDOW_BYTES;
    this.#role = options.role;
    this.#carriesPackets = options.carriesPackets === true;
    this.#liveness = new Liveness(options.pingMs, now);
    this.#streams = new Streams(
      {
        role: options.role,
        windowBytes,
        sendBufferBytes: options.sendBufferBytes ?? windowBytes,
        maxStreams: options.maxStreams ?? DEFAULT_MAX_STREAMS,
      },
      now,
      (event) => this.#events.push(event),
    );
  }

  get phase(): Phase['kind'] {
    return this.#phase.kind;
  }

  /** The channel is closed and its last frame was pulled: the connection may go. */
  get isFinished(): boolean {
    return this.#phase.kind === 'closed' && this.#waiting.length === 0;
  }

  /** Frames that wait for the connection, besides those of streams. Of a closed channel they are all that leaves. */
  get unsent(): readonly Frame[] {
    return [...this.#waiting];
  }

  /** Streams that have not ended in both directions. */
  get streamCount(): number {
    return this.#streams.liveCount;
  }

  /** Bytes of the peer kept for the application, in all streams. */
  get retainedBytes(): number {
    return this.#streams.retained;
  }

  // ── streams. A stream that has ended drops what it is given and gives nothing; its end may cross with any call ──

  /**
   * The number of a new stream to one address, TCP and a port.
   * @throws ShellstreamError STREAM_LIMIT, or the reason of the drain or close
   */
  open(target: Target): number {
    if (this.#phase.kind !== 'open') throw new ShellstreamError(this.#phase.reason, 'no new streams');
    return this.#streams.open(target);
  }

  accept(stream: number): void {
    this.#streams.accept(stream);
  }

  /** How many of the bytes were taken; for the rest wait for `stream-writable`. Do not write into them before `ownUnsent`. */
  write(stream: number, bytes: Uint8Array): number {
    return this.#streams.write(stream, bytes);
  }

  /** Copies what was written and has not left: those who wrote it may use their buffers again. */
  ownUnsent(stream: number): void {
    this.#streams.ownUnsent(stream);
  }

  /** Nothing more will be written; the other direction goes on. */
  finish(stream: number): void {
    this.#streams.finish(stream);
  }

  /**
   * The application is through with the stream in good order: what was written still leaves and ends, what is unread or
   * comes later is dropped, and a peer that goes on sending is stopped once everything has left.
   */
  release(stream: number): void {
    this.#streams.release(stream);
    this.#settleDrain();
  }

  /** Gives the stream up in both directions, unread and unsent bytes with it. */
  reset(stream: number, reason: Reason): void {
    this.#streams.reset(stream, reason);
    this.#settleDrain();
  }

  /** The next bytes, at most `most`; undefined when there are none now. */
  read(stream: number, most: number = MAX_DATA_BYTES): Uint8Array | undefined {
    return this.#streams.read(stream, most);
  }

  /** Bytes that came from `read` are out of our hands: the peer may send as many again. */
  consumed(stream: number, bytes: number): void {
    this.#streams.consumed(stream, bytes);
    this.#settleDrain();
  }

  // ── the session ──

  /** Nothing is sent on a closed channel. */
  send(frame: SessionFrame): void {
    if (this.#phase.kind === 'closed') return;
    if (frame.type === 'REATTEST') this.#isReattesting = true;
    // Only the posture of now counts.
    if (frame.type === 'POSTURE') this.#waiting = this.#waiting.filter((waiting) => waiting.type !== 'POSTURE');
    this.#enqueue(frame);
  }

  /** A packet of the tunnel, which is kept; false when it was dropped. */
  sendPacket(packet: Uint8Array): boolean {
    const fits = packet.length > 0 && packet.length <= MAX_PACKET_BYTES;
    const isFull = this.#packets.length >= MAX_WAITING_PACKETS;
    if (!this.#carriesPackets || this.#phase.kind === 'closed' || !fits || isFull) return false;
    this.#packets.push(packet);
    return true;
  }

  /** Lets running streams end until the deadline, opens no more, then closes with the drain's reason. */
  drain(now: number, drain: Omit<DrainFrame, 'type'>): void {
    if (this.#phase.kind === 'closed') return;
    this.#enqueue({ type: 'DRAIN', ...drain });
    this.#enterDrain(now, drain, { asked: true });
    if (drain.deadlineMs === 0) this.close(drain.reason);
    else this.#settleDrain();
  }

  /** Ends the session. POSTURE and DRAIN that wait still leave, in front of CLOSE. Idempotent. */
  close(reason: Reason, detail?: string): void {
    if (this.#phase.kind === 'closed') return;
    const lastWords = this.#waiting.filter(({ type }) => type === 'POSTURE' || type === 'DRAIN');
    this.#end('us', reason, detail, [...lastWords, { type: 'CLOSE', reason }]);
  }

  /** One PING now; its answer comes as `round-trip`. */
  ping(now: number): void {
    this.#liveness.pingNow(now);
  }

  /** Another ping period, as when the posture changes. */
  setPingPeriod(now: number, pingMs: number): void {
    this.#liveness.setPeriod(now, pingMs);
  }

  // ── input ──

  /** The plaintext of a transport record. */
  receiveBytes(now: number, plaintext: Uint8Array): void {
    if (this.#phase.kind === 'closed') return;
    this.#guard(() => this.#receive(now, decodeFrame(plaintext)));
  }

  receive(now: number, frame: Frame): void {
    this.#guard(() => this.#receive(now, frame));
  }

  handleTimeout(now: number): void {
    if (this.#phase.kind === 'closed') return;
    if (this.#phase.kind === 'draining' && now >= this.#phase.deadline) {
      this.close(this.#phase.reason, 'the deadline of the drain');
      return;
    }
    if (this.#liveness.check(now) === 'silent') this.close('PEER_SILENT');
  }

  // ── output ──

  /** When to call `handleTimeout`; undefined once closed. */
  get deadline(): number | undefined {
    if (this.#phase.kind === 'closed') return undefined;
    if (this.#phase.kind === 'draining') return Math.min(this.#phase.deadline, this.#liveness.deadline);
    return this.#liveness.deadline;
  }

  poll(): ChannelEvent | undefined {
    return this.#events.shift();
  }

  /**
   * The next frame to send, for a connection with room for `room` bytes: session frames, then answers, then what opens,
   * resets and credits streams, then data by turns. Data is cut to fit; other frames are small and leave while
   * there is any room at all.
   */
  pull(now: number, room: number): Frame | undefined {
    if (room <= 0) return undefined;
    const frame = this.#nextFrame(now, room);
    if (frame?.type === 'STREAM_CLOSE') this.#settleDrain();
    return frame;
  }

  #nextFrame(now: number, room: number): Frame | undefined {
    const first = this.#waiting.shift();
    if (first !== undefined || this.#phase.kind === 'closed') return first;
    if (this.#pong !== undefined) {
      const opaque = this.#pong;
      this.#pong = undefined;
      return { type: 'PONG', opaque };
    }
    const ping = this.#liveness.takePing(now);
    if (ping !== undefined) return { type: 'PING', opaque: ping };
    const control = this.#streams.takeControl();
    if (control !== undefined) return control;
    const packet = this.#packets.shift();
    return packet === undefined ? this.#streams.takeData(room) : { type: 'PACKET', packet };
  }

  #guard(action: () => void): void {
    try {
      action();
    } catch (error) {
      this.close(reasonOf(error), error instanceof Error ? error.message : String(error));
    }
  }

  #receive(now: number, frame: Frame): void {
    // Frames that crossed with our CLOSE.
    if (this.#phase.kind === 'closed') return;
    if (!isLegal(this.#phase, frame.type)) throw unexpected(frame, `while ${this.#phase.kind}`);
    this.#liveness.heard(now);
    switch (frame.type) {
      case 'STREAM_OPEN':
      case 'STREAM_DATA':
      case 'STREAM_WINDOW':
      case 'STREAM_CLOSE':
        this.#streams.receive(now, frame, this.#phase.kind === 'draining' ? this.#phase.reason : undefined);
        this.#settleDrain();
        return;
      case 'GRANT':
        this.#endReattestation(frame);
        this.#events.push({ type: 'grant', grant: frame.grant });
        return;
      case 'DENY':
        this.#endReattestation(frame);
        this.#events.push({ type: 'deny', reason: frame.reason });
        return;
      case 'PACKET':
        if (!this.#carriesPackets) throw unexpected(frame, 'in a session that carries none');
        this.#events.push({ type: 'packet', packet: frame.packet });
        return;
      case 'REATTEST':
        if (this.#role === 'initiator' && !this.#isReattesting) throw unexpected(frame, 'that was not asked for');
        this.#events.push({ type: 'reattest', record: frame.record });
        return;
      case 'POSTURE':
        this.#events.push({ type: 'posture', level: frame.level, epoch: frame.epoch });
        return;
      case 'TUNNEL':
        this.#events.push({ type: 'tunnel', state: frame.state, generation: frame.generation });
        return;
      case 'DRAIN':
        this.#events.push({ ...frame, type: 'drain' });
        this.#enterDrain(now, frame, { peer: 'draining' });
        this.#settleDrain();
        return;
      case 'DRAINED':
        if (this.#phase.kind === 'draining') this.#phase = { ...this.#phase, peer: 'drained' };
        this.#settleDrain();
        return;
      case 'PING':
        this.#pong = frame.opaque;
        return;
      case 'PONG': {
        const answer = this.#liveness.answered(now, frame.opaque);
        if (answer === 'invented') throw unexpected(frame, 'without a PING');
        if (answer !== 'late') this.#events.push({ type: 'round-trip', ms: answer });
        return;
      }
      case 'CLOSE':
        this.#end('peer', frame.reason, undefined, []);
        return;
    }
    assertNever(frame);
  }

  #endReattestation(frame: Frame): void {
    if (this.#role !== 'initiator' || !this.#isReattesting) throw unexpected(frame, 'that was not asked for');
    this.#isReattesting = false;
  }

  /** Of several drains the first gives the reason, unless a later one ends sooner. */
  #enterDrain(
    now: number,
    drain: Pick<DrainFrame, 'reason' | 'deadlineMs'>,
    change: Partial<Pick<DrainingPhase, 'asked' | 'peer'>>,
  ): void {
    if (this.#phase.kind === 'closed') return;
    const before: DrainingPhase =
      this.#phase.kind === 'draining'
        ? this.#phase
        : {
            kind: 'draining',
            reason: drain.reason,
            deadline: Infinity,
            asked: false,
            saidDrained: false,
            peer: 'unaware',
          };
    const deadline = now + drain.deadlineMs;
    const isSooner = deadline < before.deadline;
    this.#phase = {
      ...before,
      reason: isSooner ? drain.reason : before.reason,
      deadline: isSooner ? deadline : before.deadline,
      asked: before.asked || change.asked === true,
      peer: before.peer === 'drained' ? 'drained' : (change.peer ?? before.peer),
    };
    this.#streams.dropUnsent(drain.reason);
  }

  #settleDrain(): void {
    if (this.#phase.kind !== 'draining' || !this.#streams.isEmpty) return;
    if (!this.#phase.saidDrained) {
      this.#phase = { ...this.#phase, saidDrained: true };
      this.#enqueue({ type: 'DRAINED' });
    }
    if (this.#phase.kind !== 'draining' || this.#phase.peer !== 'drained' || this.#drainedTold) return;
    this.#drainedTold = true;
    this.#events.push({ type: 'drained' });
    if (this.#phase.asked) this.close(this.#phase.reason);
  }

  #enqueue(frame: Frame): void {
    if (this.#waiting.length >= MAX_WAITING_FRAMES) this.close('OVERLOADED', 'the peer does not read');
    else this.#waiting.push(frame);
  }

  #end(by: 'us' | 'peer', reason: Reason, detail: string | undefined, last: Frame[]): void {
    this.#phase = { kind: 'closed', reason, by };
    this.#waiting = last;
    this.#pong = undefined;
    this.#packets.length = 0;
    this.#streams.clear();
    this.#events.push({ type: 'closed', by, reason, detail });
  }
}

function unexpected(frame: Frame, why: string): ShellstreamError {
  return new ShellstreamError('UNEXPECTED_RECORD', `${frame.type} ${why}`);
}
