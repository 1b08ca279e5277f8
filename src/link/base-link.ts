/** The part of a link that does not depend on its connection. */
import { ShellstreamError } from '../../protocol/errors.ts';
import type { Reason } from '../../protocol/reasons.ts';
import { Inbox } from './inbox.ts';
import { type Link, MAX_BUFFERED_BYTES, MAX_RECORD_BYTES } from './link.ts';

/** Where the two ends of a connection are. */
export interface Ends {
  readonly remoteAddress: string;
  readonly remotePort: number;
  readonly localAddress: string;
  readonly localPort: number;
}

export abstract class BaseLink implements Link {
  readonly remoteAddress: string;
  readonly remotePort: number;
  readonly localAddress: string;
  readonly localPort: number;
  protected readonly inbox: Inbox;
  #isClosed = false;
  #ending: { readonly reason: Reason; readonly detail: string | undefined } | undefined;

  protected readonly maxRecordBytes: number;

  constructor(ends: Ends, maxRecordBytes = MAX_RECORD_BYTES) {
    this.maxRecordBytes = maxRecordBytes;
    this.remoteAddress = ends.remoteAddress;
    this.remotePort = ends.remotePort;
    this.localAddress = ends.localAddress;
    this.localPort = ends.localPort;
    this.inbox = new Inbox({
      read: (isReading) => this.setReading(isReading),
      fail: (error) => this.cut('INTERNAL', error instanceof Error ? error.message : String(error)),
    });
  }

  abstract get bufferedBytes(): number;
  /** Hands a record to the connection. */
  protected abstract write(record: Uint8Array): void;
  protected abstract setReading(isReading: boolean): void;
  /** Ends the connection when what is buffered has left, or after a short time. */
  protected abstract shut(): void;
  /** Ends the connection now. */
  protected abstract destroy(): void;

  get isClosed(): boolean {
    return this.#isClosed;
  }

  send(record: Uint8Array): boolean {
    if (this.#isClosed) return false;
    if (record.length === 0 || record.length > this.maxRecordBytes) {
      throw new ShellstreamError('INTERNAL', `a record of ${record.length} bytes`);
    }
    if (this.bufferedBytes + record.length > MAX_BUFFERED_BYTES) {
      this.cut('OVERLOADED', 'the peer does not read');
      return false;
    }
    this.write(record);
    return this.inbox.hasRoom(this.bufferedBytes);
  }

  together(action: () => void): void {
    action();
  }

  onRecord(listener: (record: Uint8Array) => void): void {
    this.inbox.onRecord(listener);
  }

  onDrain(listener: () => void): void {
    this.inbox.onDrain(listener);
  }

  onClose(listener: (reason: Reason, detail?: string) => void): void {
    this.inbox.onClose(listener);
  }

  pause(): void {
    this.inbox.pause();
  }

  resume(): void {
    this.inbox.resume();
  }

  close(): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.#ending ??= { reason: 'CLOSED', detail: undefined };
    this.inbox.discard();
    this.shut();
  }

  /** Ends at once for a reason of this side, which `onClose` will tell. */
  protected cut(reason: Reason, detail: string): void {
    this.#ending ??= { reason, detail };
    this.#isClosed = true;
    this.inbox.discard();
    this.destroy();
  }

  /** The connection is gone; the reason counts unless this side had one before. */
  protected gone(reason: Reason, detail?: string): void {
    this.#isClosed = true;
    const ending = this.#ending ?? { reason, detail };
    this.inbox.end(ending.reason, ending.detail);
  }
}

/** Sockets name an IPv4 peer of an IPv6 listener `::ffff:192.0.2.1`: one peer must not have two names. */
export function plainAddress(address: string | undefined): string {
  if (address === undefined) return '';
  const mapped = /^::ffff:(\d+\.\d+\.\d+\.\d+)$/i.exec(address);
  return mapped?.[1] ?? address;
}
