/**
 * Serves development trust domains until it is told to stop:
 *
 *   node certs-dev/main.ts --dir DIR [--domain NAME]... [--entry DOMAIN/PATH[=TIER[,SCOPE...]]]... [--ttl SECONDS]
 *
 * By default two federated domains, site-a.test and site-b.test, each with the entries /gateway (no tier),
 * /operator (master) and /owner (site_owner). Prints one JSON object a line: each entry with its socket, then "ready".
 */
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { systemClock } from '../src/base/clock.ts';
import { federate, startTrustDomain, type TrustDomain } from './index.ts';

const DOMAINS = ['site-a.test', 'site-b.test'];
const ENTRIES = ['/gateway', '/operator=master', '/owner=site_owner'];

const { values } = parseArgs({
  options: {
    dir: { type: 'string' },
    domain: { type: 'string', multiple: true },
    entry: { type: 'string', multiple: true },
    ttl: { type: 'string', default: '3600' },
  },
});
const directory = values.dir;
const x509TtlMs = Number(values.ttl) * 1000;
if (directory === undefined || !(x509TtlMs >= 2000)) {
  process.stderr.write(
    'usage: node certs-dev/main.ts --dir DIR [--domain NAME] [--entry DOMAIN/PATH[=TIER[,SCOPE]]] [--ttl 2+]\n',
  );
  process.exit(2);
}

const names = values.domain ?? DOMAINS;
const domains = new Map<string, TrustDomain>();
for (const name of names)
  domains.set(name, await startTrustDomain({ name, directory: join(directory, name), clock: systemClock }));
const all = [...domains.values()];
for (const [at, one] of all.entries()) for (const other of all.slice(at + 1)) federate(one, other);

for (const text of values.entry ?? names.flatMap((name) => ENTRIES.map((entry) => name + entry))) {
  const { name, path, tier, scopes } = parseEntry(text);
  const domain = domains.get(name);
  if (domain === undefined) throw new Error(`${text}: no domain ${name} here`);
  const entry = await domain.register({
    path,
    x509TtlMs,
    ...(tier === undefined ? {} : { tier }),
    ...(scopes.length === 0 ? {} : { scopes }),
  });
  print({ entry: entry.spiffeId, socket: entry.socketPath, tier });
}
print({ ready: true, pid: process.pid });

for (const signal of ['SIGINT', 'SIGTERM'] as const) {
  process.once(signal, () => {
    void Promise.all(all.map((domain) => domain.stop())).then(() => process.exit(0));
  });
}

function parseEntry(text: string): { name: string; path: string; tier: string | undefined; scopes: string[] } {
  const [id = '', rights] = text.split('=');
  const slash = id.indexOf('/');
  if (slash < 1) throw new Error(`${text}: not DOMAIN/PATH`);
  const [tier, ...scopes] = rights?.split(',') ?? [];
  return { name: id.slice(0, slash), path: id.slice(slash), tier, scopes };
}

function print(line: object): void {
  process.stdout.write(`${JSON.stringify(line)}\n`);
}
