import type { Prefix } from '../../protocol/capability/model.ts';
import { formatAddress, tryParseAddress } from '../../protocol/net/address.ts';
import { parsePrefix, prefixContainsAddress } from '../../protocol/net/prefix.ts';
import type { Clock } from '../base/clock.ts';

/** Addresses learnt at once; beyond that the one confirmed longest ago is forgotten. */
const MAX_LEARNT = 4_096;
/** An address changes hands. */
const LEARNT_FOR_MS = 24 * 3_600_000;

/**
 * From where peers of the mesh come: networks that the configuration names, addresses that we dialled as those of peers,
 * and addresses from which a mesh session was granted. An address is a guess before cryptography and no identity: it
 * gives a place in the queue and nothing else. Whoever shares it (a NAT, the peer's own host) shares the place.
 */
export class MeshSources {
  readonly #clock: Clock;
  readonly #networks: readonly Prefix[];
  /** When each was confirmed last; in that order. */
  readonly #learnt = new Map<string, number>();

  /** @param networks prefixes as text; throws MALFORMED */
  constructor(clock: Clock, networks: readonly string[]) {
    this.#clock = clock;
    this.#networks = networks.map(parsePrefix);
  }

  learn(address: string): void {
    const key = keyOf(address);
    this.#learnt.delete(key);
    this.#learnt.set(key, this.#clock.monotonic());
    const [oldest] = this.#learnt.keys();
    if (oldest !== undefined && this.#learnt.size > MAX_LEARNT) this.#learnt.delete(oldest);
  }

  has(address: string): boolean {
    const learntAt = this.#learnt.get(keyOf(address));
    if (learntAt !== undefined && this.#clock.monotonic() - learntAt < LEARNT_FOR_MS) return true;
    const bytes = tryParseAddress(address);
    return bytes !== undefined && this.#networks.some((network) => prefixContainsAddress(network, bytes));
  }
}

/** One address has several spellings. */
function keyOf(address: string): string {
  const bytes = tryParseAddress(address);
  return bytes === undefined ? address : formatAddress(bytes);
}
