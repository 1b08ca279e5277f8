/** Where routes lead, in order: whether any of ten thousand leads inside a prefix costs a search, not a walk. */
import type { Prefix } from '../../protocol/capability/model.ts';
import { prefixContains, prefixesOverlap } from '../../protocol/net/prefix.ts';

interface Entry {
  readonly key: string;
  readonly prefix: Prefix;
}

export class Destinations {
  /** By `keyOf`. One is there as often as it was added. */
  readonly #sorted: Entry[];

  constructor(prefixes: readonly Prefix[] = []) {
    this.#sorted = prefixes.map(entryOf).sort((a, b) => Number(a.key > b.key) - Number(a.key < b.key));
  }

  add(prefix: Prefix): void {
    const entry = entryOf(prefix);
    this.#sorted.splice(this.#firstFrom(entry.key), 0, entry);
  }

  /** Takes back one `add` of it; nothing where there was none. */
  delete(prefix: Prefix): void {
    const { key } = entryOf(prefix);
    const at = this.#firstFrom(key);
    if (this.#sorted[at]?.key === key) this.#sorted.splice(at, 1);
  }

  /** Whether `prefix` has the whole of one of them in it. */
  hasInside(prefix: Prefix): boolean {
    // What lies inside comes at once behind its own place, with nothing of others between.
    for (let at = this.#firstFrom(entryOf(prefix).key); ; at += 1) {
      const entry = this.#sorted[at];
      if (entry === undefined || !prefixesOverlap(prefix, entry.prefix)) return false;
      if (prefixContains(prefix, entry.prefix)) return true;
    }
  }

  #firstFrom(key: string): number {
    let [low, high] = [0, this.#sorted.length];
    while (low < high) {
      const middle = (low + high) >>> 1;
      if ((this.#sorted[middle]?.key ?? '') < key) low = middle + 1;
      else high = middle;
    }
    return low;
  }
}

/** In its order IPv4 comes before IPv6, an address before the next, and of one address the wider prefix first. */
function entryOf(prefix: Prefix): Entry {
  const { address, length } = prefix;
  return { key: String.fromCharCode(address.length, ...address, length), prefix };
}
