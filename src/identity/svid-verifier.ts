import type { Clock } from '../base/clock.ts';
import type { TrustBundles, X509Bundle } from './bundles.ts';
import { hashChain, type VerifiedSvid, verifySvid } from './x509-svid.ts';

/**
 * `verifySvid` with a memory, so that a peer that comes back costs one hash. An entry holds as long as the bundle it was
 * verified under has the same contents and every certificate of the path is valid; refusals are not remembered.
 */
export class SvidVerifier {
  readonly #bundles: () => TrustBundles;
  readonly #clock: Clock;
  readonly #capacity: number;
  /** In order of use, oldest first. */
  readonly #entries = new Map<string, Entry>();

  constructor(options: { bundles: () => TrustBundles; clock: Clock; capacity?: number }) {
    this.#bundles = options.bundles;
    this.#clock = options.clock;
    this.#capacity = options.capacity ?? DEFAULT_CAPACITY;
  }

  /** As `verifySvid`, now, against the bundles at hand. */
  verify(chain: readonly Uint8Array[]): VerifiedSvid {
    const now = this.#clock.now();
    const bundles = this.#bundles();
    const key = hashChain(chain);
    const known = this.#entries.get(key);
    this.#entries.delete(key);
    if (known !== undefined && holds(known, bundles.x509.get(known.svid.trustDomain), now)) {
      this.#entries.set(key, known);
      return known.svid;
    }
    const svid = verifySvid(chain, bundles, now);
    const digest = bundles.x509.get(svid.trustDomain)?.digest;
    if (digest !== undefined) this.#remember(key, { svid, digest });
    return svid;
  }

  /** The number of chains remembered. */
  get size(): number {
    return this.#entries.size;
  }

  #remember(key: string, entry: Entry): void {
    const [oldest] = this.#entries.keys();
    if (oldest !== undefined && this.#entries.size >= this.#capacity) this.#entries.delete(oldest);
    this.#entries.set(key, entry);
  }
}

interface Entry {
  readonly svid: VerifiedSvid;
  readonly digest: string;
}

function holds(entry: Entry, bundle: X509Bundle | undefined, now: number): boolean {
  return bundle?.digest === entry.digest && entry.svid.notBefore <= now && now <= entry.svid.expiresAt;
}

const DEFAULT_CAPACITY = 4096;
