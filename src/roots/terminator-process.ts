/** A terminator whose enforcer is at the other end of a link: first what it is told, then the listener, then service. */
import { Socket } from 'node:net';
import { reasonOf, ShellstreamError } from '../../protocol/errors.ts';
import type { CryptoProvider } from '../../protocol/noise/crypto.ts';
import type { Reason } from '../../protocol/reasons.ts';
import { readAccord } from '../base/accord-file.ts';
import { type Clock, sleep, systemClock } from '../base/clock.ts';
import { parseLimits } from '../base/config.ts';
import { loadCryptoProvider } from '../base/crypto.ts';
import { Descriptors } from '../base/descriptors.ts';
import { createLogger, type Logger } from '../base/logger.ts';
import { enterSandbox, prepareSandbox } from '../base/sandbox.ts';
import type { TerminatorOptions } from '../cli/world.ts';
import { LARGEST_TO_TERMINATOR } from '../enforcer/process/messages.ts';
import { RemoteEnforcer, type StartOrder } from '../enforcer/process/remote-enforcer.ts';
import { ResumingEnforcer } from '../enforcer/process/resuming-enforcer.ts';
import { type Carrier, dialFramed, FramedLink, type Link, webSocketCarrier } from '../link/index.ts';
import { type LocalTerminator, startTerminator } from './terminator.ts';

export interface RemoteWorld {
  readonly link: Link;
  readonly carrier: Carrier;
  readonly descriptors: Descriptors;
  readonly crypto: CryptoProvider;
  readonly clock: Clock;
  readonly log: Logger;
  /** The enforcer is gone, and none that lets any of the sessions stand came in time. */
  readonly onLost: (reason: Reason, detail: string | undefined) => void;
  /** Called when everything is loaded and listening, before a byte of a stranger is read. */
  readonly beforeService?: () => void;
  /** Where an enforcer that is started anew is found; absent: this terminator ends with its enforcer. */
  readonly redial?: () => Promise<Link>;
}

const FIRST_RETRY_MS = 50;
const LONGEST_RETRY_MS = 500;
/** For an enforcer that takes the connection and then says nothing. */
const START_MS = 5_000;

/** @throws ShellstreamError CONNECTION_LOST when the enforcer goes before it said what to do */
export async function serveEnforcer(world: RemoteWorld): Promise<LocalTerminator> {
  const { crypto, clock, log, carrier, descriptors, redial, onLost, beforeService } = world;
  const enforcer = new ResumingEnforcer();
  let terminator: LocalTerminator | undefined;
  const first = new RemoteEnforcer({ link: world.link, clock, onLost: (why, detail) => lost(first, why, detail) });
  const order = await first.started;
  const { accord } = await readAccord(order.accord, (bytes) => crypto.sha256(bytes));
  const settings = {
    listen: { ...order.listen, reusePort: true },
    limits: parseLimits(order.limits),
    accord,
    posture: order.posture,
  };
  const started = await startTerminator({ settings, enforcer, carrier, descriptors, crypto, clock, log });
  terminator = started;
  beforeService?.();
  enforcer.follow(first);
  first.serve(started, { port: started.port });
  return started;

  function lost(line: RemoteEnforcer, why: Reason, detail: string | undefined): void {
    enforcer.lost(line);
    if (terminator === undefined || redial === undefined || !enforcer.holdsAny) return onLost(why, detail);
    log.warn('the enforcer is gone; sessions wait for the next one', { why: detail ?? why });
    comeBack(terminator, redial).then(
      (isBack) => !isBack && onLost(why, detail),
      (error: unknown) => onLost(reasonOf(error), error instanceof Error ? error.message : String(error)),
    );
  }

  /** Whether an enforcer was found in time. */
  async function comeBack(waiting: LocalTerminator, dial: () => Promise<Link>): Promise<boolean> {
    // Of these nothing is kept anywhere.
    for (const { id } of waiting.registry.all) if (!enforcer.mayResume(id)) await waiting.end(id, 'CONNECTION_LOST');
    const until = clock.monotonic() + (order.graceMs ?? 0);
    for (let delay = FIRST_RETRY_MS; clock.monotonic() < until; delay = Math.min(delay * 2, LONGEST_RETRY_MS)) {
      await sleep(clock, delay);
      if (!enforcer.holdsAny) return false;
      const link = await dial().catch(() => undefined);
      if (link !== undefined && (await resume(waiting, link))) return true;
    }
    return false;
  }

  /** False when that enforcer went before it answered. @throws ShellstreamError when it wants something else of a terminator */
  async function resume(waiting: LocalTerminator, link: Link): Promise<boolean> {
    let isFollowed = false;
    const line = new RemoteEnforcer({
      link,
      clock,
      onLost: (why, detail) => isFollowed && lost(line, why, detail),
    });
    const late = clock.after(START_MS, () => line.close());
    try {
      const next = await line.started;
      if (!asksTheSame(order, next)) {
        line.close();
        throw new ShellstreamError('CLOSED', 'the enforcer came back with another configuration');
      }
      const gone = await enforcer.resume(line);
      isFollowed = true;
      for (const session of gone) void waiting.end(session, 'CONNECTION_LOST');
      waiting.setPosture(next.posture.level, next.posture.epoch);
      line.serve(waiting, { port: waiting.port });
      await waiting.judgeSessions();
      log.info('an enforcer is back', { sessions: waiting.registry.size, ended: gone.length });
      return true;
    } catch (error) {
      if (isFollowed || reasonOf(error) !== 'CONNECTION_LOST') throw error;
      enforcer.lost(line);
      return false;
    } finally {
      late.cancel();
    }
  }
}

/** What a terminator cannot change while it runs. */
function asksTheSame(one: StartOrder, other: StartOrder): boolean {
  return (
    one.listen.address === other.listen.address &&
    one.listen.port === other.listen.port &&
    one.limits === other.limits &&
    one.graceMs === other.graceMs &&
    Buffer.compare(one.accord, other.accord) === 0
  );
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
  const redial =
    socket === undefined ? undefined : () => dialFramed(socket, { clock, maxRecordBytes: LARGEST_TO_TERMINATOR });
  const link =
    redial === undefined
      ? new FramedLink(new Socket({ fd: INHERITED_FD, readable: true, writable: true }), clock, LARGEST_TO_TERMINATOR)
      : await redial();
  const lost = Promise.withResolvers<string>();
  await using terminator = await serveEnforcer({
    link,
    carrier: webSocketCarrier,
    descriptors: Descriptors.ofProcess(),
    crypto,
    clock,
    log,
    onLost: (reason, detail) => lost.resolve(detail ?? reason),
    beforeService: () => enterSandbox({ unixSockets: redial !== undefined }),
    ...(redial === undefined ? {} : { redial }),
  });
  log.info('terminator started', { port: terminator.port });
  // Its end is the enforcer's to say: that one drains first. Asked to go itself, it goes without.
  interrupted.addEventListener('abort', () => lost.resolve('interrupted'), { once: true });
  log.info('terminator ends', { why: await lost.promise });
}
