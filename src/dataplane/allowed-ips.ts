import type { Prefix } from '../../protocol/capability/model.ts';

/**
 * Which peer of a tunnel owns which prefixes. WireGuard itself gives an address to whoever claims it last, and a more
 * specific claim wins: a compromised peer could draw another's traffic to itself. Here no two owners overlap at all.
 */
export class AllowedIps {
  readonly #roots = { 4: leaf(), 16: leaf() };
  readonly #claims = new Map<string, readonly Prefix[]>();

  /** The owner of any address that `prefix` shares, other than `owner`; undefined when it is free. */
  conflict(owner: string, prefix: Prefix): string | undefined {
    let node = this.#root(prefix);
    for (let bit = 0; bit < prefix.length; bit++) {
      if (node.owner !== undefined && node.owner !== owner) return node.owner;
      const next = node.children[bitAt(prefix.address, bit)];
      if (next === undefined) return undefined;
      node = next;
    }
    return otherBelow(node, owner);
  }

  /** Nothing is claimed when one of them is another's: the answer is that prefix. */
  claim(owner: string, prefixes: readonly Prefix[]): Prefix | undefined {
    const taken = prefixes.find((prefix) => this.conflict(owner, prefix) !== undefined);
    if (taken !== undefined) return taken;
    for (const prefix of prefixes) {
      let node = this.#root(prefix);
      for (let bit = 0; bit < prefix.length; bit++) {
        const side = bitAt(prefix.address, bit);
        node = node.children[side] ??= leaf();
      }
      node.owner = owner;
    }
    this.#claims.set(owner, [...(this.#claims.get(owner) ?? []), ...prefixes]);
    return undefined;
  }

  /** Idempotent. */
  release(owner: string): void {
    for (const prefix of this.#claims.get(owner) ?? []) prune(this.#root(prefix), prefix, 0);
    this.#claims.delete(owner);
  }

  /** Whose an address is. */
  owner(address: Uint8Array): string | undefined {
    const length = address.length * 8;
    let node = this.#root({ address, length });
    for (let bit = 0; node.owner === undefined && bit < length; bit++) {
      const next = node.children[bitAt(address, bit)];
      if (next === undefined) return undefined;
      node = next;
    }
    return node.owner;
  }

  /** Whether one claim has the whole of `prefix` in it. */
  covers(prefix: Prefix): boolean {
    let node: Node | undefined = this.#root(prefix);
    for (let bit = 0; bit < prefix.length && node?.owner === undefined; bit++) {
      if (node === undefined) return false;
      node = node.children[bitAt(prefix.address, bit)];
    }
    return node?.owner !== undefined;
  }

  #root(prefix: Prefix): Node {
    return prefix.address.length === 4 ? this.#roots[4] : this.#roots[16];
  }
}

interface Node {
  owner: string | undefined;
  readonly children: [Node | undefined, Node | undefined];
}

function leaf(): Node {
  return { owner: undefined, children: [undefined, undefined] };
}

function bitAt(address: Uint8Array, bit: number): 0 | 1 {
  return (((address[bit >> 3] ?? 0) >> (7 - (bit & 7))) & 1) === 1 ? 1 : 0;
}

function otherBelow(node: Node | undefined, owner: string): string | undefined {
  if (node === undefined) return undefined;
  if (node.owner !== undefined && node.owner !== owner) return node.owner;
  return otherBelow(node.children[0], owner) ?? otherBelow(node.children[1], owner);
}

/** Whether `node` is empty afterwards. */
function prune(node: Node, prefix: Prefix, depth: number): boolean {
  if (depth === prefix.length) {
    node.owner = undefined;
  } else {
    const side = bitAt(prefix.address, depth);
    const child = node.children[side];
    if (child !== undefined && prune(child, prefix, depth + 1)) node.children[side] = undefined;
  }
  return node.owner === undefined && node.children[0] === undefined && node.children[1] === undefined;
}
