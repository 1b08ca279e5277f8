/**
 * The claims of a shell attestation token that say what its holder may, and the certificate extension beside them:
 * the names that issuers write (deploy/spire) and gateways read. Claims of other names mean nothing to a gateway.
 */

export const SAT_CLAIMS = {
  /** One of the tiers' names. */
  tier: 'tier',
  /** A list of words. */
  scopes: 'scopes',
  /** SHA-256 of the bytes of the holder's GovernedNetworkPolicy: 64 characters of lower-case hex. */
  networkPolicy: 'network_policy',
} as const;

/**
 * The same hash in the X.509-SVID: a DER OCTET STRING of 32 bytes, not critical. Below 2.25 anybody may number for
 * himself, and 1397246808 is "SHSX" in ASCII; SPIRE takes no part above 2^31, so a whole UUID would be refused.
 */
export const NETWORK_POLICY_EXTENSION = '2.25.1397246808.1';

/** What a gateway accepts in one token; an issuer that wrote more would make tokens that are refused. */
export const MAX_SCOPES = 64;
export const MAX_SCOPE_LENGTH = 256;
