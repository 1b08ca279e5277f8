/** A first attestation's records, straight over a link, one at a time, within one deadline. */
import { ShellstreamError } from '../../protocol/errors.ts';
import type { Clock } from '../base/clock.ts';
import type { Link } from '../link/index.ts';
import type { RecordExchange } from './attest.ts';

/** The link gives one record for each `next` and is paused in between: what comes behind is for its next owner. */
export class LinkExchange implements RecordExchange, Disposable {
  readonly #link: Link;
  readonly #cancel: () => void;
  #failure: ShellstreamError | undefined;
  #waiting: { resolve(record: Uint8Array): void; reject(error: Error): void } | undefined;

  constructor(link: Link, clock: Clock, timeoutMs: number) {
    this.#link = link;
    const timer = clock.after(timeoutMs, () => this.#fail(new ShellstreamError('HANDSHAKE_TIMEOUT')));
    this.#cancel = () => timer.cancel();
    link.pause();
    link.onRecord((record) => this.#take(record));
    link.onClose((reason, detail) => this.#fail(new ShellstreamError(reason, detail)));
  }

  send(record: Uint8Array): void {
    this.#link.send(record);
  }

  next(): Promise<Uint8Array> {
    if (this.#failure !== undefined) return Promise.reject(this.#failure);
    return new Promise((resolve, reject) => {
      this.#waiting = { resolve, reject };
      this.#link.resume();
    });
  }

  [Symbol.dispose](): void {
    this.#cancel();
  }

  #take(record: Uint8Array): void {
    this.#link.pause();
    this.#waiting?.resolve(record);
    this.#waiting = undefined;
  }

  #fail(error: ShellstreamError): void {
    this.#failure ??= error;
    this.#waiting?.reject(this.#failure);
    this.#waiting = undefined;
  }
}
