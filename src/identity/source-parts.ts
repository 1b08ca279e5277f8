import type { TrustBundles } from './bundles.ts';
import type { BundleHealth } from './source.ts';

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
