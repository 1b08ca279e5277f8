import { ShellstreamError } from '../protocol/errors.ts';
import { parseSpiffeId, type SpiffeId, trustDomainOf } from '../protocol/identity/spiffe-id.ts';
import type { Clock } from '../src/base/clock.ts';
import {
  evidenceSigner,
  MemoryIdentitySource,
  parseJwtBundle,
  parseX509Bundle,
  type TrustBundles,
  type X509Identity,
} from '../src/identity/index.ts';
import type { Entry, TrustDomain } from './trust-domain.ts';

/**
 * An identity source fed by a development domain without sockets, for tests that are not about the Workload API.
 * It follows rotations and federation when `refresh` is called.
 */
export function memorySource(
  domain: TrustDomain,
  entry: Entry,
  clock: Clock,
): MemoryIdentitySource & { refresh(): void } {
  const source = new MemoryIdentitySource({
    identity: identityOf(entry),
    bundles: bundlesOf(domain, clock.now()),
    clock,
    issuer: {
      mintSat: async (audience) => mintSat(entry, audience),
      validateSat: (token, audience) => validateSat(domain, token, audience),
    },
  });
  const refresh = (): void => {
    source.replaceIdentity(identityOf(entry));
    source.replaceBundles(bundlesOf(domain, clock.now()));
  };
  return Object.assign(source, { refresh });
}

function mintSat(entry: Entry, audience: string): string {
  try {
    return entry.identity.jwt([audience]);
  } catch (cause) {
    throw new ShellstreamError('SAT_UNVERIFIABLE', 'the domain minted no token', { cause });
  }
}

async function validateSat(domain: TrustDomain, token: string, audience: string): Promise<SpiffeId> {
  try {
    return requireId((await domain.validateJwt(token, audience)).subject);
  } catch (cause) {
    throw new ShellstreamError('SAT_INVALID', 'the domain refuses the token', { cause });
  }
}

function identityOf(entry: Entry): X509Identity {
  const svid = entry.identity.x509();
  const spiffeId = requireId(svid.spiffeId);
  const { chain, expiresAt, privateKey } = svid;
  return {
    spiffeId,
    trustDomain: trustDomainOf(spiffeId),
    chain,
    expiresAt,
    sign: evidenceSigner(privateKey),
    privateKey,
  };
}

function bundlesOf(domain: TrustDomain, now: number): TrustBundles {
  const bundles = domain.bundles();
  return {
    x509: new Map(bundles.map(({ trustDomain, x509 }) => [trustDomain, parseX509Bundle(trustDomain, x509, now)])),
    jwt: new Map(bundles.map(({ trustDomain, jwt }) => [trustDomain, parseJwtBundle(trustDomain, jwt, now)])),
  };
}

function requireId(text: string): SpiffeId {
  const id = parseSpiffeId(text);
  if (id === undefined) throw new Error(`${text} is no SPIFFE ID`);
  return id;
}
