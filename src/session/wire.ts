/**
 * A session's wire: link, transport keys and channel brought together. Records that arrive are opened and given to the
 * channel; what the channel wants to send is sealed as far as the link has room; its deadline becomes a timer.
 * It knows nothing of identities, grants or posture.
 */
import {
  type Channel,
  type ChannelEvent,
  encodeFrame,
  type Frame,
  type FrameRoom,
  MAX_FRAME_BYTES,
  type SessionFrame,
} from '../../protocol/channel/index.ts';
import { ShellstreamError } from '../../protocol/errors.ts';
import { decodeRecord, type Established, RECORD } from '../../protocol/handshake/index.ts';
import { TAG_LENGTH, type TransportCipher } from '../../protocol/noise/index.ts';
import type { Reason } from '../../protocol/reasons.ts';
import type { Clock, Timer } from '../base/clock.ts';
import { HIGH_WATER_BYTES, type Link } from '../link/index.ts';

export interface WireParts {
  readonly link: Link;
  readonly established: Established;
  readonly channel: Channel;
  readonly clock: Clock;
  readonly onEvent: (event: ChannelEvent) => void;
}

/** What may wait in the link's socket before streams are held back. */
const SEND_BUFFER_BYTES = HIGH_WATER_BYTES;

/** Below it a new buffer costs nothing. */
const LEAST_REUSED_BYTES = 4_096;

/**
 * Where records of data are written and sealed, of all sessions one after the other: most leave at once, and a new buffer
 * for each would have the engine collect its whole heap every few megabytes. A link that still has it keeps it.
 */
let sealing = new Uint8Array(MAX_FRAME_BYTES);

/** A record is its type, the frame and the tag; it is sealed where it was written. */
const RECORD_ROOM: FrameRoom = {
  before: 1,
  behind: TAG_LENGTH,
  allocate(length) {
    if (length >= LEAST_REUSED_BYTES && length <= sealing.length) {
      return sealing.subarray(0, length);
    }
    const { buffer, byteOffset } = Buffer.allocUnsafe(length);
    return new Uint8Array(buffer, byteOffset, length);
  },
};

/** The link keeps what it was given for as long as it has anything at all. */
function afterSending(record: Uint8Array, link: Link): void {
  if (record.buffer !== sealing.buffer || link.bufferedBytes === 0) return;
  sealing = new Uint8Array(MAX_FRAME_BYTES);
}

export class SessionWire {
  readonly #link: Link;
  readonly #channel: Channel;
  readonly #clock: Clock;
  readonly #onEvent: (event: ChannelEvent) => void;
  #send: TransportCipher;
  #receive: TransportCipher;
  #rekey: { readonly after: Frame; readonly send: TransportCipher } | undefined;
  #timer: Timer | undefined;
  #timerAt = Number.POSITIVE_INFINITY;
  #isSettling = false;

  constructor(parts: WireParts) {
    this.#link = parts.link;
    this.#channel = parts.channel;
    this.#clock = parts.clock;
    this.#onEvent = parts.onEvent;
    this.#send = parts.established.send;
    this.#receive = parts.established.receive;
    parts.link.onRecord((record) => this.#receiveRecord(record));
    parts.link.onClose((reason, detail) => this.close(reason === 'CLOSED' ? 'CONNECTION_LOST' : reason, detail));
    parts.link.onDrain(() => this.#settle());
  }

  /** Every use of the channel goes through here, so that its events are told and its frames leave afterwards. */
  act<T>(action: (channel: Channel, now: number) => T): T {
    const result = action(this.#channel, this.#clock.monotonic());
    this.#settle();
    return result;
  }

  send(frame: SessionFrame): void {
    this.act((channel) => channel.send(frame));
  }

  /** `frame` is the last one under the present sending key. */
  sendThenRekey(frame: SessionFrame, send: TransportCipher): void {
    this.#rekey = { after: frame, send };
    this.send(frame);
  }

  /** From the next record on; the one that is being handled was the last under the former key. */
  rekeyReceive(receive: TransportCipher): void {
    this.#receive = receive;
  }

  /** Records wait until `resume`: the next may be under a key that is not known yet. */
  hold(): void {
    this.#link.pause();
  }

  resume(): void {
    this.#link.resume();
  }

  close(reason: Reason, detail?: string): void {
    this.act((channel) => channel.close(reason, detail));
  }

  #receiveRecord(record: Uint8Array): void {
    try {
      const plaintext = this.#receive.openInPlace(decodeRecord(record, RECORD.TRANSPORT));
      if (plaintext === undefined) throw new ShellstreamError('DECRYPT_FAILED');
      this.act((channel, now) => channel.receiveBytes(now, plaintext));
    } catch (error) {
      if (!(error instanceof ShellstreamError)) throw error;
      this.close(error.reason, error.message);
    }
  }

  /** Events first, since they may cause frames; then frames, since sending them may cause events. */
  #settle(): void {
    if (this.#isSettling) return;
    this.#isSettling = true;
    try {
      // DRAIN, CLOSE and the end of the connection are one packet: at lockdown there are thousands to send in half a second.
      if (this.#channel.phase === 'closed') this.#link.together(() => this.#exchange());
      else this.#exchange();
    } finally {
      this.#isSettling = false;
    }
    this.#schedule();
  }

  #exchange(): void {
    do this.#tellEvents();
    while (this.#sendFrames());
    if (this.#channel.isFinished) this.#link.close();
  }

  #tellEvents(): void {
    for (let event = this.#channel.poll(); event !== undefined; event = this.#channel.poll()) this.#onEvent(event);
  }

  /** Whether any left. */
  #sendFrames(): boolean {
    let sent = false;
    for (;;) {
      const room = SEND_BUFFER_BYTES - this.#link.bufferedBytes;
      const frame = this.#channel.pull(this.#clock.monotonic(), room);
      if (frame === undefined) return sent;
      const record = encodeFrame(frame, RECORD_ROOM);
      record[0] = RECORD.TRANSPORT;
      this.#send.sealInPlace(record.subarray(RECORD_ROOM.before));
      this.#link.send(record);
      afterSending(record, this.#link);
      sent = true;
      if (this.#rekey?.after === frame) {
        this.#send = this.#rekey.send;
        this.#rekey = undefined;
      }
    }
  }

  #schedule(): void {
    const deadline = this.#channel.deadline ?? Number.POSITIVE_INFINITY;
    if (deadline === this.#timerAt) return;
    this.#timer?.cancel();
    this.#timerAt = deadline;
    this.#timer = undefined;
    if (deadline === Number.POSITIVE_INFINITY) return;
    this.#timer = this.#clock.after(deadline - this.#clock.monotonic(), () => {
      this.#timerAt = Number.POSITIVE_INFINITY;
      this.act((channel, now) => channel.handleTimeout(now));
    });
  }
}
