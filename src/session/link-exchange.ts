/** A first attestation's records, straight over a link, within one deadline. */
import { ShellstreamError } from '../../protocol/errors.ts';
import type { Clock } from '../base/clock.ts';
import type { Link } from '../link/index.ts';
import type { RecordExchange } from './attest.ts';

/** A handshake waits for one record at a time; behind its last one the first frames of the session may come. */
const MAX_WAITING = 16;

export class LinkExchange implements RecordExchange, Disposable {
  readonly #link: Link;
  readonly #records: Uint8Array[] = [];
  readonly #cancel: () => void;
  #failure: ShellstreamError | undefined;
  #waiting: { resolve(record: Uint8Array): void; reject(error: Error): void } | undefined;

  constructor(link: Link, clock: Clock, timeoutMs: number) {
    this.#link = link;
    const timer = clock.after(timeoutMs, () => this.#fail(new ShellstreamError('HANDSHAKE_TIMEOUT')));
    this.#cancel = () => timer.cancel();
    link.onRecord((record) => this.#push(record));
    link.onClose(() => this.#fail(new ShellstreamError('CONNECTION_LOST')));
  }

  send(record: Uint8Array): void {
    this.#link.send(record);
  }

  next(): Promise<Uint8Array> {
    const record = this.#records.shift();
    if (record !== undefined) return Promise.resolve(record);
    if (this.#failure !== undefined) return Promise.reject(this.#failure);
    return new Promise((resolve, reject) => {
      this.#waiting = { resolve, reject };
    });
  }

  /** Records that came behind the handshake, for whoever takes the link over. */
  takeRest(): readonly Uint8Array[] {
    return this.#records.splice(0);
  }

  [Symbol.dispose](): void {
    this.#cancel();
  }

  #push(record: Uint8Array): void {
    const waiting = this.#waiting;
    this.#waiting = undefined;
    if (waiting !== undefined) return waiting.resolve(record);
    this.#records.push(record);
    if (this.#records.length > MAX_WAITING)
      this.#fail(new ShellstreamError('UNEXPECTED_RECORD', 'more records than steps'));
  }

  #fail(error: ShellstreamError): void {
    this.#failure ??= error;
    this.#waiting?.reject(this.#failure);
    this.#waiting = undefined;
  }
}
