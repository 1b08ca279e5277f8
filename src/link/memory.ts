/** Two links joined in memory: delays as the test likes, a reader that stops counts as one, and a cable to cut. */
import { type Clock, systemClock } from '../base/clock.ts';
import { BaseLink, type Ends } from './base-link.ts';
import type { Link } from './link.ts';

export interface MemoryLinkOptions {
  readonly clock?: Clock;
  /** Milliseconds that the next record takes; records never overtake one another. None unless told. */
  readonly delayMs?: () => number;
  readonly initiator?: { readonly address: string; readonly port: number };
  readonly responder?: { readonly address: string; readonly port: number };
}

export interface MemoryLinkPair {
  readonly initiator: Link;
  readonly responder: Link;
  /** The connection breaks: both ends are told CONNECTION_LOST, what was under way is lost. */
  cut(): void;
}

export function memoryLinkPair(options: MemoryLinkOptions = {}): MemoryLinkPair {
  const near = options.initiator ?? { address: '192.0.2.1', port: 40_000 };
  const far = options.responder ?? { address: '192.0.2.2', port: 7_843 };
  const timing = { clock: options.clock ?? systemClock, delayMs: options.delayMs };
  const initiator = new MemoryLink(ends(near, far), timing);
  const responder = new MemoryLink(ends(far, near), timing);
  initiator.join(responder);
  responder.join(initiator);
  const cut = (): void => {
    initiator.break();
    responder.break();
  };
  return { initiator, responder, cut };
}

function ends(local: { address: string; port: number }, remote: { address: string; port: number }): Ends {
  return {
    localAddress: local.address,
    localPort: local.port,
    remoteAddress: remote.address,
    remotePort: remote.port,
  };
}

interface Timing {
  readonly clock: Clock;
  readonly delayMs: (() => number) | undefined;
}

type Parcel = { readonly record: Uint8Array } | 'end';

class MemoryLink extends BaseLink {
  readonly #timing: Timing;
  #peer: MemoryLink | undefined;
  /** What this end sent and the other has not taken. */
  readonly #under: Parcel[] = [];
  #bufferedBytes = 0;
  #isMoving = false;
  #isReading = false;
  #isGone = false;

  constructor(addresses: Ends, timing: Timing) {
    super(addresses);
    this.#timing = timing;
  }

  join(peer: MemoryLink): void {
    this.#peer = peer;
  }

  break(): void {
    if (this.#isGone) return;
    this.#isGone = true;
    this.#under.length = 0;
    this.gone('CONNECTION_LOST', 'cut');
  }

  get bufferedBytes(): number {
    return this.#bufferedBytes;
  }

  protected write(record: Uint8Array): void {
    this.#bufferedBytes += record.length;
    this.#under.push({ record: new Uint8Array(record) });
    this.#move();
  }

  protected setReading(isReading: boolean): void {
    this.#isReading = isReading;
    const peer = this.#peer;
    if (isReading && peer !== undefined) peer.#move();
  }

  protected shut(): void {
    this.#under.push('end');
    this.#move();
    this.#leave();
  }

  protected destroy(): void {
    this.#under.length = 0;
    this.#peer?.break();
    this.#leave();
  }

  #leave(): void {
    if (this.#isGone) return;
    this.#isGone = true;
    this.gone('CLOSED');
  }

  /** Takes one parcel after another to the other end, each after its delay, while that end reads. */
  #move(): void {
    if (this.#isMoving || this.#under.length === 0) return;
    this.#isMoving = true;
    const arrive = (): void => {
      this.#isMoving = false;
      const peer = this.#peer;
      // The end of a connection is seen by an end that does not read as well, once nothing is before it.
      if (peer === undefined || (!peer.#isReading && this.#under[0] !== 'end')) return;
      const parcel = this.#under.shift();
      if (parcel === undefined) return;
      this.#hand(peer, parcel);
      this.#move();
    };
    const delayMs = this.#timing.delayMs?.() ?? 0;
    if (delayMs > 0) this.#timing.clock.after(delayMs, arrive);
    else queueMicrotask(arrive);
  }

  #hand(peer: MemoryLink, parcel: Parcel): void {
    if (parcel === 'end') {
      peer.#leave();
      return;
    }
    this.#bufferedBytes -= parcel.record.length;
    peer.inbox.deliver(parcel.record);
    this.inbox.taken(this.#bufferedBytes);
  }
}
