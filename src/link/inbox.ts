/** What every link does with its listeners: records wait while paused or unheard, the end is told once and last. */
import type { Reason } from '../../protocol/reasons.ts';
import { HIGH_WATER_BYTES, LOW_WATER_BYTES } from './link.ts';

export interface InboxHooks {
  /** Whether the connection should be read. Called on changes only; at the start it should not. */
  readonly read: (isReading: boolean) => void;
  /** A listener threw: end the connection. */
  readonly fail: (error: unknown) => void;
}

interface End {
  readonly reason: Reason;
  readonly detail: string | undefined;
}

export class Inbox {
  readonly #hooks: InboxHooks;
  readonly #waiting: Uint8Array[] = [];
  #onRecord: ((record: Uint8Array) => void) | undefined;
  #onDrain: (() => void) | undefined;
  #onClose: ((reason: Reason, detail?: string) => void) | undefined;
  #isPaused = false;
  #isReading = false;
  #isFlushing = false;
  #isDiscarding = false;
  #isShort = false;
  #end: End | undefined;
  #isEndTold = false;

  constructor(hooks: InboxHooks) {
    this.#hooks = hooks;
  }

  onRecord(listener: (record: Uint8Array) => void): void {
    this.#onRecord = listener;
    this.#flow();
  }

  onDrain(listener: () => void): void {
    this.#onDrain = listener;
  }

  onClose(listener: (reason: Reason, detail?: string) => void): void {
    this.#onClose = listener;
    if (this.#end !== undefined) queueMicrotask(() => this.#tellEnd());
  }

  pause(): void {
    this.#isPaused = true;
    this.#flow();
  }

  resume(): void {
    this.#isPaused = false;
    this.#flow();
  }

  /** A record of the connection. */
  deliver(record: Uint8Array): void {
    if (this.#isDiscarding) return;
    if (this.#waiting.length > 0 || !this.#isReading) this.#waiting.push(record);
    else this.#hand(record);
  }

  /** The owner closed: nothing more is for it, but the connection is read to see its end. */
  discard(): void {
    this.#isDiscarding = true;
    this.#waiting.length = 0;
    if (this.#isReading) return;
    this.#isReading = true;
    this.#hooks.read(true);
  }

  /** The connection is gone. Waiting records come first: the last of them says why. */
  end(reason: Reason, detail?: string): void {
    this.#end ??= { reason, detail };
    queueMicrotask(() => this.#tellEnd());
  }

  /** Whether there is room for more, after a send that left so many bytes unsent. */
  hasRoom(bufferedBytes: number): boolean {
    if (bufferedBytes > HIGH_WATER_BYTES) this.#isShort = true;
    return !this.#isShort;
  }

  /** The kernel took bytes and left so many. */
  taken(bufferedBytes: number): void {
    if (!this.#isShort || bufferedBytes > LOW_WATER_BYTES || this.#isDiscarding) return;
    this.#isShort = false;
    this.#guard(() => this.#onDrain?.());
  }

  #flow(): void {
    if (this.#isDiscarding) return;
    const wantsRecords = this.#onRecord !== undefined && !this.#isPaused;
    if (wantsRecords && this.#waiting.length > 0) {
      this.#flushSoon();
      return;
    }
    if (wantsRecords === this.#isReading) return;
    this.#isReading = wantsRecords;
    this.#hooks.read(wantsRecords);
  }

  #flushSoon(): void {
    if (this.#isFlushing) return;
    this.#isFlushing = true;
    queueMicrotask(() => {
      this.#isFlushing = false;
      while (!this.#isPaused && !this.#isDiscarding) {
        const record = this.#waiting.shift();
        if (record === undefined) break;
        this.#hand(record);
      }
      this.#flow();
      this.#tellEnd();
    });
  }

  #hand(record: Uint8Array): void {
    this.#guard(() => this.#onRecord?.(record));
  }

  #tellEnd(): void {
    if (this.#end === undefined || this.#isEndTold || this.#onClose === undefined || this.#waiting.length > 0) return;
    this.#isEndTold = true;
    const { reason, detail } = this.#end;
    this.#guard(() => this.#onClose?.(reason, detail));
  }

  /** One session's fault must not take the process, and all other sessions, with it. */
  #guard(action: () => void): void {
    try {
      action();
    } catch (error) {
      this.#hooks.fail(error);
    }
  }
}
