/**
 * `shellstream gateway`: a gateway on this host's kernel, until a signal ends it. This process is the enforcer; whatever
 * listens and parses runs in terminators, processes of their own without privileges.
 */
import { join } from 'node:path';
import { LOCKDOWN, type PostureLevel } from '../../protocol/posture/index.ts';
import { loadAccord } from '../base/accord-file.ts';
import { systemClock } from '../base/clock.ts';
import { type Config, loadConfig } from '../base/config.ts';
import { loadCryptoProvider } from '../base/crypto.ts';
import { createLogger, type Logger, logFile } from '../base/logger.ts';
import { openPrecedence } from '../base/precedence.ts';
import { startControl } from '../control/server.ts';
import { openLinuxDataPlane, peerCredentialsOf, probeTunnelDriver } from '../dataplane/linux/index.ts';
import { openStandingStore, type StandingStore } from '../enforcer/standing-store.ts';
import { openIdentitySource } from '../identity/index.ts';
import { openRevocationStore } from '../identity/revocation-store.ts';
import { openUdpRelay } from '../link/udp-relay.ts';
import { openHoldStore } from '../mesh/hold-store.ts';
import { serveReleases } from '../mesh/release-webhook.ts';
import { levelAtStart } from '../posture/recovery.ts';
import { openPostureStore } from '../posture/store.ts';
import { openUnconfirmedStore } from '../posture/unconfirmed-store.ts';
import { openUnderlayRecords } from '../underlay/records.ts';
import { machineUptime } from './boot-id.ts';
import { startEnforcer } from './enforcer.ts';
import type { EnforcerWorld } from './enforcer-world.ts';
import { evidencePlace } from './evidence.ts';
import { consoleEvidence } from './evidence-console.ts';
import { gatewayView } from './gateway-view.ts';
import { serveMetrics } from './metrics.ts';
import { privateDirectory } from './private-directory.ts';
import { attachQuartermaster } from './quartermaster.ts';
import { serveLogAt } from './serve-log.ts';
import { openTerminators } from './terminators.ts';
import { packageVersion } from './version.ts';

/** How long the first SVID may take; SPIRE's agent needs about 5 s after its own start. */
const IDENTITY_TIMEOUT_MS = 30_000;
/** At lockdown SPIRE may be cut off, and the console is the way back: it does not wait for who we are. */
const IDENTITY_AT_LOCKDOWN_MS = 2_000;
/** For everything that comes after the drain. */
const SHUTDOWN_GRACE_SECONDS = 5;

/** Resolves when the gateway has shut down after SIGINT or SIGTERM; rejects when it cannot start. */
export async function runGateway(configPath: string): Promise<void> {
  const config = await loadConfig(configPath);
  const log = openLog(config.log).child({ instance: config.instance });
  const interrupted = interruption();
  await using parts = new AsyncDisposableStack();
  await privateDirectory(config.runtimeDirectory);
  await privateDirectory(config.stateDirectory);

  const crypto = loadCryptoProvider();
  const accord = await loadAccord(config.accord.file, (bytes) => crypto.sha256(bytes));
  const clock = systemClock;
  const identity = parts.use(openIdentitySource({ socketPath: config.workloadApi.socket, clock, random: Math.random }));
  const uptime = await machineUptime(config.runtimeDirectory);
  const { boot } = uptime;
  const place = { folder: config.stateDirectory, bootId: boot, sha256: crypto.sha256 };
  const posture = await openPostureStore(place, clock.now());
  const unconfirmed = await openUnconfirmedStore(config.stateDirectory);
  const remembered = { ...posture, initial: config.posture.initial, former: unconfirmed.kept?.former.level };
  await firstIdentity(identity, levelAtStart(remembered, clock.now()), interrupted, log);
  const tunnels = chooseTunnelDriver(config);
  log.info('drivers chosen', { crypto: crypto.name, tunnels: tunnels.kind, why: tunnels.why });
  const dataplane = parts.use(
    await openLinuxDataPlane({
      instance: config.instance,
      governancePage: join(config.runtimeDirectory, 'governance'),
      tunnels: tunnels.kind,
    }),
  );

  const holds = await openHoldStore(config.stateDirectory, crypto.sha256);
  const revocations = await openRevocationStore(config.stateDirectory, crypto.sha256);
  const underlay = await openUnderlayRecords(config.stateDirectory, crypto.sha256);
  const precedence = openPrecedence();
  if (precedence === undefined) log.info('changes of the level have no precedence at the cores: it may not be taken');
  const world = {
    config,
    accord,
    identity,
    dataplane,
    crypto,
    clock,
    log,
    random: Math.random,
    posture,
    holds,
    revocations,
    openRelay: openUdpRelay,
    underlay,
    precedence,
  };
  const standing =
    dataplane.tunnels.survives && config.terminators.socket !== undefined
      ? { standing: await openStanding(world, boot) }
      : {};
  const node = await startEnforcer({ ...world, ...standing, unconfirmed, ...evidencePlace(config, uptime) });
  // They go after the node's end, which drains their sessions; and the node ends when they cannot start.
  const hosts = parts.use(new AsyncDisposableStack());
  parts.use(node);
  hosts.use(await openTerminators(node));
  node.mesh.start();
  log.info('gateway started', {
    port: config.listen.port,
    terminators: node.terminators.count,
    interface: node.overlay?.device.name,
    level: node.posture.level,
  });
  const quartermaster = await attachQuartermaster(world, node.evidence?.store);
  if (quartermaster !== undefined) parts.use(quartermaster);
  const view = gatewayView(node, { version: packageVersion(), tunnelWhy: tunnels.why, quartermaster });
  parts.use(
    await startControl({
      path: config.control.socket,
      access: { siteOwners: new Set(config.control.siteOwners) },
      view,
      clock,
      log: log.child({ part: 'control' }),
      credentialsOf: peerCredentialsOf,
      ...consoleEvidence(node),
    }),
  );
  if (config.evidence?.serve !== undefined && node.evidence !== undefined) {
    parts.use(await serveLogAt(config.evidence.serve, node.evidence.store.logPath));
  }
  if (config.metrics.address !== undefined) {
    parts.use(await serveMetrics(config.metrics.address, node, view, quartermaster));
  }
  if (config.mesh.releases.address !== undefined) {
    parts.use(await serveReleases({ ...config.mesh.releases.address, holds: node.holds, clock, log }));
  }
  log.info('ready', { control: config.control.socket });
  await ended(interrupted);
  await giveUpAfter(config.shutdownSeconds + SHUTDOWN_GRACE_SECONDS, log, parts.disposeAsync());
  log.info('gateway stopped', {});
}

/** Rejects when there is none in time; at lockdown the gateway begins without, and nobody comes in until there is one. */
async function firstIdentity(
  identity: ReturnType<typeof openIdentitySource>,
  level: PostureLevel,
  interrupted: AbortSignal,
  log: Logger,
): Promise<void> {
  const patience = AbortSignal.timeout(level === LOCKDOWN ? IDENTITY_AT_LOCKDOWN_MS : IDENTITY_TIMEOUT_MS);
  try {
    await identity.ready(AbortSignal.any([interrupted, patience]));
  } catch (error) {
    if (level !== LOCKDOWN || interrupted.aborted) throw error;
    log.warn('at lockdown without an identity: the console is all there is', { error });
  }
}

/** Terminators that came by themselves outlive this process, and with them sessions whose tunnels are the kernel's. */
async function openStanding({ config, accord, crypto, log }: EnforcerWorld, boot: string): Promise<StandingStore> {
  const { instance, site, listen, limits, wireguard, mesh, posture } = config;
  const told = JSON.stringify(
    [packageVersion(), boot, instance, site, listen, limits, wireguard, mesh, posture],
    (_, value) => (value instanceof Uint8Array ? [...value] : value),
  );
  const circumstances = crypto.sha256(Buffer.concat([accord.hash, Buffer.from(told)]));
  return await openStandingStore({ folder: join(config.runtimeDirectory, 'standing'), circumstances, log });
}

function openLog({ level, file }: Config['log']): Logger {
  return createLogger({ level, ...(file === undefined ? {} : { destination: logFile(file) }) });
}

function chooseTunnelDriver({ wireguard }: Config): ReturnType<typeof probeTunnelDriver> {
  if (wireguard.driver === 'auto') return probeTunnelDriver();
  return { kind: wireguard.driver, why: 'the configuration says so' };
}

function interruption(): AbortSignal {
  const controller = new AbortController();
  for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => controller.abort());
  return controller.signal;
}

function ended(signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) resolve();
    else signal.addEventListener('abort', () => resolve(), { once: true });
  });
}

/** A shutdown that hangs must not keep a supervisor waiting; the lease ends the flows in any case. */
async function giveUpAfter(seconds: number, log: Logger, shutdown: Promise<void>): Promise<void> {
  const timer = systemClock.after(seconds * 1000, () => {
    log.error('shutdown took too long', { seconds });
    process.exit(1);
  });
  await shutdown;
  timer.cancel();
}
