/** A terminator whose enforcer is at the other end of a link: first what it is told, then the listener, then service. */
import { Socket } from 'node:net';
import type { CryptoProvider } from '../../protocol/noise/crypto.ts';
import type { Reason } from '../../protocol/reasons.ts';
import { readAccord } from '../base/accord-file.ts';
import { type Clock, systemClock } from '../base/clock.ts';
import { parseLimits } from '../base/config.ts';
import { loadCryptoProvider } from '../base/crypto.ts';
import { createLogger, type Logger } from '../base/logger.ts';
import { enterSandbox, prepareSandbox } from '../base/sandbox.ts';
import type { TerminatorOptions } from '../cli/world.ts';
import { LARGEST_TO_TERMINATOR } from '../enforcer/process/messages.ts';
import { RemoteEnforcer } from '../enforcer/process/remote-enforcer.ts';
import { type Carrier, dialFramed, FramedLink, type Link, webSocketCarrier } from '../link/index.ts';
import { type LocalTerminator, startTerminator } from './terminator.ts';

export interface RemoteWorld {
  readonly link: Link;
  readonly carrier: Carrier;
  readonly crypto: CryptoProvider;
  readonly clock: Clock;
  readonly log: Logger;
  /** The enforcer is gone. */
  readonly onLost: (reason: Reason, detail: string | undefined) => void;
  /** Called when everything is loaded and listening, before a byte of a stranger is read. */
  readonly beforeService?: () => void;
}

/** @throws ShellstreamError CONNECTION_LOST when the enforcer goes before it said what to do */
export async function serveEnforcer(world: RemoteWorld): Promise<LocalTerminator> {
  const { link, crypto, clock, log, carrier, onLost, beforeService } = world;
  const enforcer = new RemoteEnforcer({ link, clock, onLost });
  const order = await enforcer.started;
  const { accord } = await readAccord(order.accord, (bytes) => crypto.sha256(bytes));
  const settings = {
    listen: { ...order.listen, reusePort: true },
    limits: parseLimits(order.limits),
    accord,
    posture: order.posture,
  };
  const terminator = await startTerminator({ settings, enforcer, carrier, crypto, clock, log });
  beforeService?.();
  enforcer.serve(terminator, { port: terminator.port });
  return terminator;
}

const INHERITED_FD = 3;

/** `shellstream terminator`, whose enforcer is at a socket or at file descriptor 3; resolves when its enforcer let it go; rejects when it cannot start. */
export async function runTerminator(
  { socket, instance, logLevel }: TerminatorOptions,
  interrupted: AbortSignal,
): Promise<void> {
  prepareSandbox(socket === undefined ? [INHERITED_FD] : []);
  const log = createLogger({ level: logLevel }).child({ instance, terminator: process.pid });
  const clock = systemClock;
  const crypto = loadCryptoProvider();
  const link =
    socket === undefined
      ? new FramedLink(new Socket({ fd: INHERITED_FD, readable: true, writable: true }), clock, LARGEST_TO_TERMINATOR)
      : await dialFramed(socket, { clock, maxRecordBytes: LARGEST_TO_TERMINATOR });
  const lost = Promise.withResolvers<string>();
  await using terminator = await serveEnforcer({
    link,
    carrier: webSocketCarrier,
    crypto,
    clock,
    log,
    onLost: (reason, detail) => lost.resolve(detail ?? reason),
    beforeService: enterSandbox,
  });
  log.info('terminator started', { port: terminator.port });
  // Its end is the enforcer's to say: that one drains first. Asked to go itself, it goes without.
  interrupted.addEventListener('abort', () => lost.resolve('interrupted'), { once: true });
  log.info('terminator ends', { why: await lost.promise });
}
