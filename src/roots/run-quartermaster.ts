/** `shellstream quartermaster`: Quartermaster by itself, for many gateways, until a signal ends it. */
import { join } from 'node:path';
import { systemClock } from '../base/clock.ts';
import { nodeCrypto } from '../base/crypto-node.ts';
import { createLogger, type Logger, logFile } from '../base/logger.ts';
import { peerCredentialsOf } from '../dataplane/linux/index.ts';
import { nodeEd25519 } from '../evidence/ed25519.ts';
import { type IdentitySource, openIdentitySource, SvidVerifier } from '../identity/index.ts';
import { loadQuartermasterConfig, type QuartermasterConfig } from '../quartermaster/config.ts';
import {
  createQuartermaster,
  keepWithin,
  type Ledger,
  LocalLedger,
  passedInStore,
  type QuartermasterParts,
  SharedLedger,
  SharedStream,
  Store,
  serveLocally,
  serveRemotely,
} from '../quartermaster/index.ts';
import { machineUptime } from './boot-id.ts';
import { privateDirectory } from './private-directory.ts';

/** How long the first SVID may take; SPIRE's agent needs about 5 s after its own start. */
const IDENTITY_TIMEOUT_MS = 30_000;

/** Resolves when it has shut down; rejects when it cannot start. */
export async function runQuartermaster(configPath: string, interrupted: AbortSignal): Promise<void> {
  const config = await loadQuartermasterConfig(configPath);
  const { level, file } = config.log;
  const log = createLogger({ level, ...(file === undefined ? {} : { destination: logFile(file) }) });
  const clock = systemClock;
  await using parts = new AsyncDisposableStack();
  await privateDirectory(config.stateDirectory);
  await privateDirectory(config.runtimeDirectory);
  const identity = parts.use(openIdentitySource({ socketPath: config.workloadApi.socket, clock, random: Math.random }));
  await identity.ready(AbortSignal.any([interrupted, AbortSignal.timeout(IDENTITY_TIMEOUT_MS)]));

  const ledger = await openLedger(config, parts, log, interrupted);
  const quartermaster = parts.use(createQuartermaster({ ledger, clock, log, tokens: tokensOf(config, identity) }));
  const socket = join(config.runtimeDirectory, 'quartermaster.sock');
  parts.use(
    await serveLocally({
      path: socket,
      quartermaster,
      siteOwners: new Set(config.console.siteOwners),
      credentialsOf: peerCredentialsOf,
      log,
    }),
  );
  const { submitters, readers, proposals } = config;
  const listener = parts.use(
    await serveRemotely({
      tls: { identity, svids: new SvidVerifier({ bundles: () => identity.bundles, clock }), clock },
      host: config.listen.address,
      port: config.listen.port,
      quartermaster,
      rules: { submitters, readers, proposers: proposals?.proposers ?? [] },
      log,
    }),
  );
  log.info('ready', { port: listener.address.port, spiffeId: identity.current().spiffeId, socket });
  await ended(interrupted);
  await parts.disposeAsync();
  log.info('Quartermaster stopped', {});
}

async function openLedger(
  config: QuartermasterConfig,
  parts: AsyncDisposableStack,
  log: Logger,
  interrupted: AbortSignal,
): Promise<Ledger> {
  const { stateDirectory, runtimeDirectory, retentionDays, nats } = config;
  const budgetBytes = config.budgetMegabytes * 2 ** 20;
  const path = join(stateDirectory, 'store.db');
  // With replicas the stream they share is what lasts, and the store is filled from it.
  const store = parts.use(Store.open({ path, budgetBytes, durability: nats === undefined ? 'own' : 'behind-spool' }));
  const passed = parts.use(passedInStore(store, systemClock, await machineUptime(runtimeDirectory), log));
  parts.use(keepWithin({ store, days: retentionDays, passed, clock: systemClock, log }));
  if (nats === undefined) return parts.use(new LocalLedger(store, passed));
  const stream = parts.use(await SharedStream.open({ ...nats, retentionDays }, systemClock, interrupted));
  return parts.use(SharedLedger.start(stream, store, systemClock, log));
}

function tokensOf({ proposals }: QuartermasterConfig, identity: IdentitySource): QuartermasterParts['tokens'] {
  if (proposals === undefined) return undefined;
  // A Quartermaster is one identity for as long as it runs: tokens name it.
  const audience = identity.current().spiffeId;
  return { sha256: nodeCrypto.sha256, ed25519: nodeEd25519, issuers: proposals.issuers, audience };
}

function ended(signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) resolve();
    else signal.addEventListener('abort', () => resolve(), { once: true });
  });
}
