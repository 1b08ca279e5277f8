/**
 * A terminator put together: listener, admission, handshakes, live sessions and their streams. It owns no identity and no
 * data plane; everything that needs either it asks of the enforcer it was given, which may be in another process.
 */
import { reasonOf, ShellstreamError } from '../../protocol/errors.ts';
import { formatAddress } from '../../protocol/net/address.ts';
import type { CryptoProvider } from '../../protocol/noise/crypto.ts';
import type { Accord, PostureLevel } from '../../protocol/posture/index.ts';
import type { Clock } from '../base/clock.ts';
import type { Config } from '../base/config.ts';
import type { Descriptors } from '../base/descriptors.ts';
import { Listeners } from '../base/listeners.ts';
import type { Logger } from '../base/logger.ts';
import type { Enforcer, PostureReader, SessionId } from '../enforcer/ports.ts';
import {
  type DialOrder,
  type HandshakeOutcome,
  MAX_STREAMS_TOLD,
  type Terminator,
  type TerminatorEvent,
} from '../enforcer/terminator-port.ts';
import { acceptLink } from '../gateway/accept.ts';
import { AdmissionControl } from '../gateway/admission.ts';
import type { Carrier } from '../link/index.ts';
import { openOver } from '../mesh/dial.ts';
import { SessionRegistry } from '../session/registry.ts';
import { tellCarried } from '../session/tell-carried.ts';

export interface TerminatorSettings {
  readonly listen: Config['listen'] & { readonly reusePort?: boolean };
  readonly limits: Config['limits'];
  readonly accord: Accord;
  readonly posture: PostureReader;
}

export interface TerminatorWorld {
  readonly settings: TerminatorSettings;
  readonly enforcer: Enforcer;
  readonly carrier: Carrier;
  readonly descriptors: Descriptors;
  readonly crypto: CryptoProvider;
  readonly clock: Clock;
  readonly log: Logger;
}

/** A terminator in this process. Disposing ends its connections without a word; `drainAll` comes before. */
export interface LocalTerminator extends Terminator, AsyncDisposable {
  readonly port: number;
  readonly registry: SessionRegistry;
  readonly admission: AdmissionControl;
}

const SILENT_PERIODS = 3;

export async function startTerminator(world: TerminatorWorld): Promise<LocalTerminator> {
  const { settings, enforcer, carrier, descriptors, crypto, clock, log } = world;
  const { limits, accord } = settings;
  await using parts = new AsyncDisposableStack();

  const events = new Listeners<TerminatorEvent>();
  const posture: { level: PostureLevel; epoch: bigint } = { ...settings.posture };
  // Noise static keys live as long as the process.
  const handshake = { crypto, staticKey: crypto.x25519Generate() };
  const timeoutMs = limits.handshakeSeconds * 1000;
  const registry = new SessionRegistry({
    clock,
    enforcer,
    posture,
    accord,
    handshake,
    log: log.child({ part: 'session' }),
    pingMs: (limits.silenceSeconds * 1000) / SILENT_PERIODS,
    maxStreams: limits.streamsPerSession,
    windowBytes: limits.streamWindowBytes,
    descriptors,
  });
  parts.use(registry.onEvent((event) => tell(event)));
  parts.use(tellCarried({ clock, enforcer, registry }));
  /** Descriptors of sessions that were opened from here. */
  const dialled = new Map<SessionId, Disposable>();
  const gatewayLog = log.child({ part: 'gateway' });
  const admission = parts.use(
    new AdmissionControl({
      posture,
      accord,
      clock,
      limits,
      descriptors,
      onRefused: (reason, count) => {
        gatewayLog.warn('connections turned away', { reason, count });
        events.tell({ kind: 'turned-away', reason, count });
      },
    }),
  );

  const acceptParts = {
    clock,
    log: gatewayLog,
    enforcer,
    handshake,
    registry,
    admission,
    handshakeTimeoutMs: timeoutMs,
    onOutcome: (outcome: HandshakeOutcome['outcome'], seconds: number) =>
      events.tell({ kind: 'handshake', role: 'responder', outcome, seconds }),
  };
  const listener = parts.use(
    await carrier.listen({
      ...settings.listen,
      meet: (remoteAddress) => admission.meet(remoteAddress),
      admit: (remoteAddress) => admission.refuses(remoteAddress) === undefined,
      accept: (link) => void acceptLink(acceptParts, link),
    }),
  );

  const owned = parts.move();
  return {
    port: listener.port,
    registry,
    admission,
    setPosture: (level, epoch) => {
      posture.level = level;
      posture.epoch = epoch;
    },
    judgeSessions: () => registry.postureChanged(),
    identityRotated: () => registry.identityRotated(),
    drain: (session, reason, deadlineMs) => registry.get(session)?.drain(reason, deadlineMs),
    end: (session, reason) => registry.end(session, reason),
    drainAll: (reason, deadlineMs) => {
      admission.close();
      return registry.drainAll(reason, deadlineMs);
    },
    dial,
    streams: async (session) =>
      (registry.get(session)?.streams.all ?? []).slice(0, MAX_STREAMS_TOLD).map((stream) => ({
        id: stream.stream,
        address: formatAddress(stream.target.prefix.address),
        port: stream.target.port,
        openedBy: stream.openedBy,
        openedAtMs: stream.openedAtMs,
        receivedBytes: stream.receivedBytes,
        sentBytes: stream.sentBytes,
      })),
    packet: (session, packet) => registry.get(session)?.packet(packet),
    load: async () => ({
      pendingHandshakes: admission.pending,
      streams: registry.all.reduce((sum, session) => sum + session.streams.all.length, 0),
    }),
    onEvent: (listen) => events.add(listen),
    [Symbol.asyncDispose]: async () => {
      await owned.disposeAsync();
      await registry.endAll('CLOSED');
    },
  };

  async function dial({ approach, address, port }: DialOrder, signal: AbortSignal): Promise<SessionId> {
    const started = clock.monotonic();
    const outcome = (what: HandshakeOutcome['outcome']): void =>
      events.tell({
        kind: 'handshake',
        role: 'initiator',
        outcome: what,
        seconds: (clock.monotonic() - started) / 1000,
      });
    // One that we reach may soon reach for us.
    admission.learn(address);
    const descriptor = descriptors.take();
    try {
      if (descriptor === undefined) throw new ShellstreamError('OVERLOADED', 'no descriptor is left');
      const link = await carrier.dial({ host: address, port }, { signal, timeoutMs });
      const session = await openOver(link, { clock, enforcer, handshake, timeoutMs, registry }, approach);
      if (session.state === 'ended') descriptor[Symbol.dispose]();
      else dialled.set(session.id, descriptor);
      outcome('granted');
      return session.id;
    } catch (error) {
      descriptor?.[Symbol.dispose]();
      outcome(reasonOf(error));
      throw error;
    }
  }

  function tell(event: Parameters<Parameters<SessionRegistry['onEvent']>[0]>[0]): void {
    switch (event.kind) {
      case 'draining':
        return events.tell({ kind: 'draining', session: event.session.id });
      case 'drain-received': {
        const { reason, level, epoch, deadlineMs } = event;
        return events.tell({ kind: 'drain-received', session: event.session.id, reason, level, epoch, deadlineMs });
      }
      case 'ended':
        dialled.get(event.session.id)?.[Symbol.dispose]();
        dialled.delete(event.session.id);
        return;
      case 'opened':
        return;
    }
  }
}
