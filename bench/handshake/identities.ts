import type { KeyObject } from 'node:crypto';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Authority } from '../../certs-dev/authority.ts';
import { systemClock } from '../../src/base/clock.ts';

/** PEM files of one trust domain: the same P-256 chains for every contender. */
export interface Identities extends AsyncDisposable {
  readonly directory: string;
  readonly ca: string;
  readonly client: { readonly id: string; readonly cert: string; readonly key: string };
}

/** Also writes `ca.pem`, `server.pem` and `server.key` into the directory, for the servers. */
export async function makeIdentities(): Promise<Identities> {
  const directory = await mkdtemp(join(tmpdir(), 'shs-bench-'));
  const authority = new Authority({ trustDomain: 'bench.test', directory: join(directory, 'ca'), clock: systemClock });
  const ca = pem(authority.x509Bundle);
  const server = authority.issueSvid('spiffe://bench.test/server', LIFETIME_MS);
  const client = authority.issueSvid('spiffe://bench.test/client', LIFETIME_MS);
  await writeFile(join(directory, 'ca.pem'), ca);
  await writeFile(join(directory, 'server.pem'), server.chain.map(pem).join(''));
  await writeFile(join(directory, 'server.key'), keyPem(server.privateKey), { mode: 0o600 });
  return {
    directory,
    ca,
    client: { id: client.spiffeId, cert: client.chain.map(pem).join(''), key: keyPem(client.privateKey) },
    [Symbol.asyncDispose]: () => rm(directory, { recursive: true, force: true }),
  };
}

const LIFETIME_MS = 3600_000;

function pem(der: Uint8Array): string {
  const lines =
    Buffer.from(der)
      .toString('base64')
      .match(/.{1,64}/g) ?? [];
  return `-----BEGIN CERTIFICATE-----\n${lines.join('\n')}\n-----END CERTIFICATE-----\n`;
}

function keyPem(key: KeyObject): string {
  return key.export({ type: 'pkcs8', format: 'pem' }).toString();
}
