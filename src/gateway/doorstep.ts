import type { Claimant } from './handshake-budget.ts';
import { networkOf } from './network.ts';

/** Connections of strangers that have not asked for anything yet, from one network and in all. */
const MOST_OF_NETWORK = 64;
const MOST_OF_STRANGERS = 4_096;
const MOST_OF_MESH = 1_024;

/**
 * Connections that have not said yet what they want. They cost a descriptor and some memory for as long as an upgrade may
 * take, and whoever opens thousands of them and says nothing would leave no place for others.
 */
export class Doorstep {
  readonly #waiting: Record<Claimant, number> = { stranger: 0, mesh: 0 };
  readonly #ofNetwork = new Map<string, number>();

  /** A place until disposed of; undefined when there is none. */
  take(claimant: Claimant, remoteAddress: string): Disposable | undefined {
    if (claimant === 'mesh') return this.#waiting.mesh >= MOST_OF_MESH ? undefined : this.#place('mesh');
    const network = networkOf(remoteAddress);
    const there = this.#ofNetwork.get(network) ?? 0;
    if (there >= MOST_OF_NETWORK || this.#waiting.stranger >= MOST_OF_STRANGERS) return undefined;
    this.#ofNetwork.set(network, there + 1);
    return this.#place('stranger', network);
  }

  #place(claimant: Claimant, network?: string): Disposable {
    this.#waiting[claimant] += 1;
    let isTaken = true;
    return {
      [Symbol.dispose]: () => {
        if (!isTaken) return;
        isTaken = false;
        this.#waiting[claimant] -= 1;
        if (network !== undefined) this.#leave(network);
      },
    };
  }

  #leave(network: string): void {
    const left = (this.#ofNetwork.get(network) ?? 0) - 1;
    if (left > 0) this.#ofNetwork.set(network, left);
    else this.#ofNetwork.delete(network);
  }
}
