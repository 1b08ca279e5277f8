/** Trust bundles by `--bundle TRUST_DOMAIN=FILE`, in PEM as SPIRE's `bundle show` prints them. */
import { readFileSync } from 'node:fs';
import { InvalidArgumentError } from 'commander';
import { isTrustDomain } from '../../protocol/identity/spiffe-id.ts';
import { parseX509Bundle, type TrustBundles } from '../identity/index.ts';

export interface GivenBundle {
  readonly trustDomain: string;
  readonly file: string;
}

export function bundlesOf(given: readonly GivenBundle[], nowMs: number): TrustBundles {
  const x509 = given.map(({ trustDomain, file }) => {
    const blocks = readFileSync(file, 'utf8').matchAll(/-----BEGIN CERTIFICATE-----([^-]+)-----END CERTIFICATE-----/g);
    const der = Buffer.concat([...blocks].map(([, base64 = '']) => Buffer.from(base64, 'base64')));
    return [trustDomain, parseX509Bundle(trustDomain, new Uint8Array(der), nowMs)] as const;
  });
  return { x509: new Map(x509), jwt: new Map() };
}

export function bundle(text: string): GivenBundle {
  const [, trustDomain = '', file = ''] = /^([^=]+)=(.+)$/.exec(text) ?? [];
  if (!isTrustDomain(trustDomain)) throw new InvalidArgumentError('TRUST_DOMAIN=FILE is expected.');
  return { trustDomain, file };
}
