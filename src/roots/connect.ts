/** `shellstream connect`: a session that this process opens by itself, with streams only. No WireGuard, no eBPF, no root. */
import { ShellstreamError } from '../../protocol/errors.ts';
import { VERSION } from '../../protocol/handshake/index.ts';
import type { Reason } from '../../protocol/reasons.ts';
import { loadAccord } from '../base/accord-file.ts';
import { systemClock as clock } from '../base/clock.ts';
import { loadConfig } from '../base/config.ts';
import { loadCryptoProvider } from '../base/crypto.ts';
import { Descriptors } from '../base/descriptors.ts';
import type { ConnectedSession, ConnectRequest, IdentityPlace, SessionNotice } from '../cli/session-port.ts';
import { StreamsOnlyEnforcer } from '../enforcer/streams-only.ts';
import type { Approach } from '../enforcer/terminator-port.ts';
import { SpiffeAttestor } from '../identity/attestor.ts';
import { openIdentitySource, SpireSatVerifier, SvidVerifier } from '../identity/index.ts';
import { webSocketCarrier } from '../link/index.ts';
import { attestOver } from '../mesh/dial.ts';
import { Session, type SessionListener } from '../session/session.ts';
import { asSeenHere } from './gateway-view.ts';

const IDENTITY_TIMEOUT_MS = 10_000;
const HANDSHAKE_TIMEOUT_MS = 10_000;
const PING_MS = 20_000;
const MAX_STREAMS = 64;
const WINDOW_BYTES = 262_144;

/** Resolves at GRANT. Rejects with the reason of the refusal, or with CLOSED when `interrupted` aborts. */
export async function connectSession(request: ConnectRequest, interrupted: AbortSignal): Promise<ConnectedSession> {
  await using parts = new AsyncDisposableStack();
  const crypto = loadCryptoProvider();
  const { socketPath, accord } = await placeOf(request.identity, (bytes) => crypto.sha256(bytes));
  const identity = parts.use(openIdentitySource({ socketPath, clock, random: Math.random }));
  await identity.ready(AbortSignal.any([interrupted, AbortSignal.timeout(IDENTITY_TIMEOUT_MS)]));
  const own = identity.current();
  const attestor = new SpiffeAttestor({
    source: identity,
    svids: new SvidVerifier({ bundles: () => identity.bundles, clock }),
    sats: new SpireSatVerifier({ source: identity }),
    clock,
  });
  const posture = { level: request.posture, epoch: BigInt(clock.now()) };
  const enforcer = new StreamsOnlyEnforcer({ crypto, clock, attestor, posture, ...accord });
  const handshake = { crypto, staticKey: crypto.x25519Generate() };
  const { type: sessionType, mode, capabilities, targets } = request;
  const approach: Approach = {
    offer: { versions: [VERSION], sessionType, mode },
    expectedId: request.gatewayId,
    request: { capabilities, targets, advertise: [] },
  };
  const link = await webSocketCarrier.dial(request.gateway, {
    signal: interrupted,
    timeoutMs: HANDSHAKE_TIMEOUT_MS,
  });
  const attested = await attestOver(link, { clock, enforcer, handshake, timeoutMs: HANDSHAKE_TIMEOUT_MS }, approach);

  const ended = Promise.withResolvers<{ readonly reason: Reason; readonly byPeer: boolean }>();
  const notices = new Set<(notice: SessionNotice) => void>();
  const pings: ((ms: number) => void)[] = [];
  const notify = (notice: SessionNotice): void => {
    for (const listener of notices) listener(notice);
  };
  const listener: SessionListener = {
    levelChanged: (session) =>
      notify({ kind: 'level', effectiveLevel: session.effectiveLevel, governedBy: governedBy(session) }),
    drainReceived: (_, { reason, deadlineMs }) => notify({ kind: 'draining', reason, deadlineMs }),
    attestedAgain: (session) => notify({ kind: 'attested-again', expiresAtMs: session.admission.expiresAt }),
    roundTrip: (_, ms) => {
      for (const resolve of pings.splice(0)) resolve(ms);
    },
    ended: (_, reason, byPeer) => ended.resolve({ reason, byPeer }),
  };
  const session = new Session(
    {
      clock,
      enforcer,
      posture,
      handshake,
      pingMs: PING_MS,
      maxStreams: MAX_STREAMS,
      windowBytes: WINDOW_BYTES,
      descriptors: Descriptors.ofProcess(),
    },
    link,
    attested,
    listener,
    approach,
  );
  parts.use(identity.onChange((change) => change === 'identity' && session.identityRotated()));
  const owned = parts.move();

  return {
    id: session.id,
    spiffeId: own.spiffeId,
    mode: attested.admission.grant.mode,
    capabilities: attested.admission.grant.capabilities,
    targets: attested.admission.grant.targets,
    effectiveLevel: session.effectiveLevel,
    governedBy: governedBy(session),
    expiresAtMs: attested.admission.expiresAt,
    ended: ended.promise,
    ping: () =>
      Promise.race([
        new Promise<number>((resolve) => {
          pings.push(resolve);
          session.ping();
        }),
        ended.promise.then(({ reason }): never => {
          throw new ShellstreamError(reason);
        }),
      ]),
    openStream: (target) => session.streams.open(target),
    onNotice: (added) => {
      notices.add(added);
      return { [Symbol.dispose]: () => void notices.delete(added) };
    },
    async [Symbol.asyncDispose]() {
      session.end('CLOSED');
      await ended.promise;
      await session.released();
      await owned.disposeAsync();
    },
  };
}

function governedBy(session: Session): ConnectedSession['governedBy'] {
  return asSeenHere(session.governedBy, session.role);
}

async function placeOf(identity: IdentityPlace, sha256: (bytes: Uint8Array) => Uint8Array) {
  if (identity.kind === 'workload-api') return { socketPath: identity.socket, accord: {} };
  const config = await loadConfig(identity.path);
  const { accord } = await loadAccord(config.accord.file, sha256);
  return { socketPath: config.workloadApi.socket, accord: { accord } };
}
