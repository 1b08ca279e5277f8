import type { TrustBundles } from './bundles.ts';
import type { BundleHealth } from './source.ts';

/** Listeners of one kind of event; removing one twice is harmless. */
export class Listeners<T> {
  readonly #listeners = new Set<(event: T) => void>();

  add(listener: (event: T) => void): Disposable {
    // A wrapper of its own, so that one function added twice is two subscriptions.
    const own = (event: T): void => listener(event);
    this.#listeners.add(own);
    return { [Symbol.dispose]: () => void this.#listeners.delete(own) };
  }

  tell(event: T): void {
    for (const listener of [...this.#listeners]) listener(event);
  }

  clear(): void {
    this.#listeners.clear();
  }
}

export function bundleHealth(bundles: TrustBundles, now: number): readonly BundleHealth[] {
  const x509 = [...bundles.x509.values()].map((bundle) => ({
    trustDomain: bundle.trustDomain,
    kind: 'x509' as const,
    ageMs: now - bundle.fetchedAt,
    authorities: bundle.authorities.length,
  }));
  const jwt = [...bundles.jwt.values()].map((bundle) => ({
    trustDomain: bundle.trustDomain,
    kind: 'jwt' as const,
    ageMs: now - bundle.fetchedAt,
    authorities: bundle.authorities.size,
  }));
  return [...x509, ...jwt];
}
