import type { TrustDomain } from './trust-domain.ts';

/**
 * Lets each of two domains serve the other's bundle, now and after every change of it. Dispose to end the federation.
 */
export function federate(one: TrustDomain, other: TrustDomain): Disposable {
  const ended = new AbortController();
  one.trust(other.name, () => other.bundle());
  other.trust(one.name, () => one.bundle());
  void forward(one, other, ended.signal);
  void forward(other, one, ended.signal);
  return {
    [Symbol.dispose]: () => {
      ended.abort();
      one.distrust(other.name);
      other.distrust(one.name);
    },
  };
}

/** Announces changes of one bundle to the followers of the other domain; an unchanged bundle is no news. */
async function forward(from: TrustDomain, to: TrustDomain, ended: AbortSignal): Promise<void> {
  let known = fingerprint(from);
  while (!ended.aborted) {
    const { version } = from.changes;
    await from.changes.after(version, ended);
    if (ended.aborted || fingerprint(from) === known) continue;
    known = fingerprint(from);
    to.changes.announce();
  }
}

function fingerprint(domain: TrustDomain): string {
  const { x509, jwt } = domain.bundle();
  return Buffer.concat([x509, jwt]).toString('base64');
}
