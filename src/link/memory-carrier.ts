import { ShellstreamError } from '../../protocol/errors.ts';
import type { Clock } from '../base/clock.ts';
import type { Carrier, Endpoint, ListenOptions } from './carrier.ts';
import { type MemoryLinkPair, memoryLinkPair } from './memory.ts';

export interface MemoryInternetOptions {
  readonly clock: Clock;
  /** Milliseconds that the next record takes; none unless told. */
  readonly delayMs?: () => number;
}

/** A network in memory: hosts by their addresses, links between them, and cables that can be cut. */
export class MemoryInternet {
  readonly #options: MemoryInternetOptions;
  readonly #listeners = new Map<string, ListenOptions>();
  readonly #pairs = new Set<MemoryLinkPair>();
  #lastPort = 40_000;
  /** While false nobody reaches anybody: dialling fails as against an address where nothing answers. */
  isUp = true;

  constructor(options: MemoryInternetOptions) {
    this.#options = options;
  }

  /** Connections that the dialled end holds open. */
  get connections(): number {
    for (const pair of this.#pairs) if (pair.initiator.isClosed && pair.responder.isClosed) this.#pairs.delete(pair);
    return [...this.#pairs].filter(({ responder }) => !responder.isClosed).length;
  }

  /** Every connection breaks. */
  cut(): void {
    for (const pair of this.#pairs) pair.cut();
    this.#pairs.clear();
  }

  /** The network as the host of this address sees it. */
  host(address: string): Carrier {
    return {
      dial: (to) => this.#dial(address, to),
      listen: async (options) => {
        const port = options.port === 0 ? this.#freePort() : options.port;
        const place = `${address} ${port}`;
        if (this.#listeners.has(place)) throw new ShellstreamError('INTERNAL', `${place} is taken`);
        this.#listeners.set(place, options);
        return { port, [Symbol.asyncDispose]: async () => this.#stop(place) };
      },
    };
  }

  async #dial(from: string, { host, port }: Endpoint): ReturnType<Carrier['dial']> {
    const there = this.#listeners.get(`${host} ${port}`);
    if (!this.isUp || there === undefined || !there.admit(from)) {
      throw new ShellstreamError('CONNECTION_LOST', `nothing answers at ${host} ${port}`);
    }
    const pair = memoryLinkPair({
      ...this.#options,
      initiator: { address: from, port: this.#freePort() },
      responder: { address: host, port },
    });
    this.#pairs.add(pair);
    there.accept(pair.responder);
    return pair.initiator;
  }

  #stop(place: string): void {
    this.#listeners.delete(place);
    for (const pair of this.#pairs) {
      const { localAddress, localPort } = pair.responder;
      if (`${localAddress} ${localPort}` === place) pair.cut();
    }
  }

  #freePort(): number {
    this.#lastPort += 1;
    return this.#lastPort;
  }
}
