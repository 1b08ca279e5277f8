/** One of the gateways that follow the feed: identity, store and client are the gateway's own. Arguments as JSON. */
import { parseSpiffeId } from '../../protocol/identity/spiffe-id.ts';
import { systemClock } from '../../src/base/clock.ts';
import { nodeCrypto } from '../../src/base/crypto-node.ts';
import { nodeEd25519 } from '../../src/base/ed25519.ts';
import { silentLogger as log } from '../../src/base/logger.ts';
import { openIdentitySource, SvidVerifier } from '../../src/identity/index.ts';
import { RevocationFeedClient } from '../../src/identity/revocation-feed.ts';
import { type KeptRevocations, openRevocationStore } from '../../src/identity/revocation-store.ts';
import { Revocations } from '../../src/identity/revocations.ts';

interface Arguments {
  readonly socketPath: string;
  readonly folder: string;
  readonly port: number;
  readonly server: string;
  readonly issuer: string;
  readonly publicKey: string;
}

const { socketPath, folder, port, server, issuer, publicKey }: Arguments = JSON.parse(process.argv[2] ?? '{}');
const clock = systemClock;
const identity = openIdentitySource({ socketPath, clock, random: Math.random });
await identity.ready(AbortSignal.timeout(60_000));
const opened = await openRevocationStore(folder, nodeCrypto.sha256);
const revocations = new Revocations({
  keys: [{ issuer: spiffeId(issuer), publicKey: new Uint8Array(Buffer.from(publicKey, 'base64')) }],
  localSite: 'bench.test',
  staleMs: 600_000,
  opened: { ...opened, store: { save } },
  ed25519: nodeEd25519,
  clock,
  log,
});
const tls = { identity, svids: new SvidVerifier({ bundles: () => identity.bundles, clock }), clock };
const address = { host: '127.0.0.1', port };
new RevocationFeedClient({ tls, revocations, address, spiffeId: spiffeId(server), log, random: Math.random });
// A feed begins with the heartbeat where there is no statement yet.
revocations.onNews(() => {
  if (revocations.documents.length === 0) process.stdout.write('at 0\n');
});

/** Said once it is durable: it is in effect before. */
async function save(kept: () => KeptRevocations): Promise<void> {
  await opened.store.save(kept);
  process.stdout.write(`at ${revocations.documents.length}\n`);
}

function spiffeId(text: string) {
  const id = parseSpiffeId(text);
  if (id === undefined) throw new Error(text);
  return id;
}
