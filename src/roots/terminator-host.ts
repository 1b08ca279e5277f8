/**
 * The enforcer's side of terminators in processes of their own: starts them, or lets those in that systemd started, and
 * sees to it that one that died or hangs is replaced. What a dead one held is gone with it, and nothing else.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { createServer, Socket } from 'node:net';
import { ShellstreamError } from '../../protocol/errors.ts';
import { sleep } from '../base/clock.ts';
import { LARGEST_TO_TERMINATOR } from '../enforcer/process/messages.ts';
import type { StartOrder } from '../enforcer/process/remote-enforcer.ts';
import { RemoteTerminator } from '../enforcer/process/remote-terminator.ts';
import { FramedLink, type Link, listenAt } from '../link/index.ts';
import type { EnforcerNode, Engagement } from './enforcer.ts';

export interface Command {
  readonly command: string;
  readonly args: readonly string[];
}

export interface HostOptions {
  readonly count: number;
  /** What runs `shellstream terminator` with file descriptor 3 as its enforcer. */
  readonly command: Command;
  /** Where its log goes: a file descriptor; standard error unless told. */
  readonly logFd?: number;
}

const START_MS = 30_000;
const HEARTBEAT_MS = 5_000;
const FIRST_DELAY_MS = 200;
const LONGEST_DELAY_MS = 5_000;
/** One that lived this long was no failure of its start. */
const SETTLED_MS = 30_000;
const EXIT_MS = 2_000;

/** Resolves when all of them listen; rejects when one cannot start. Disposing lets them go, and waits for their end. */
export async function hostTerminators(node: EnforcerNode, options: HostOptions): Promise<AsyncDisposable> {
  await using parts = new AsyncDisposableStack();
  const places = Array.from({ length: options.count }, (_, index) => parts.use(new Place(node, options, index)));
  await Promise.all(places.map((place) => place.start()));
  return parts.move();
}

export interface DoorOptions {
  /** Absolute path of the socket; its folder is made for the group alone. */
  readonly path: string;
  /** Whom terminators run as. Nobody else is let in. */
  readonly uid: number;
  readonly gid: number;
  /** SO_PEERCRED; a throw counts as a stranger. */
  readonly credentialsOf: (socket: Socket) => { readonly uid: number; readonly pid: number };
}

const MAX_TERMINATORS = 64;

/** Lets in terminators that something else started, systemd for one. Disposing cuts all of them off. */
export async function admitTerminators(node: EnforcerNode, options: DoorOptions): Promise<AsyncDisposable> {
  const { log, clock } = node.world;
  const inside = new Set<Promise<void>>();
  const links = new Set<Link>();
  const server = createServer((socket) => {
    socket.on('error', () => socket.destroy());
    const by = strangerTo(options, socket);
    if (by !== undefined || links.size >= MAX_TERMINATORS) {
      log.warn('a terminator was turned away', { by: by ?? 'too many' });
      socket.destroy();
      return;
    }
    const link = new FramedLink(socket, clock, LARGEST_TO_TERMINATOR);
    links.add(link);
    const served = serve(link).finally(() => {
      links.delete(link);
      inside.delete(served);
    });
    inside.add(served);
  });
  const place = await listenAt(server, { path: options.path, group: options.gid });
  return {
    async [Symbol.asyncDispose]() {
      server.close();
      for (const link of links) link.close();
      await Promise.all(inside);
      await place[Symbol.asyncDispose]();
    },
  };

  async function serve(link: Link): Promise<void> {
    const lost = Promise.withResolvers<string>();
    try {
      await using engagement = await engage(node, link, lost.resolve, { outlives: true });
      log.info('a terminator came', { terminators: node.terminators.count });
      node.mesh.nudge();
      const why = await lives(node, engagement.terminator, lost.promise);
      log.warn('a terminator is gone', { why });
    } catch (error) {
      log.error('a terminator failed', { error });
    } finally {
      link.close();
    }
  }
}

/** Who it is, unless it is whom terminators run as. */
function strangerTo({ uid, credentialsOf }: DoorOptions, socket: Socket): string | undefined {
  try {
    const peer = credentialsOf(socket);
    return peer.uid === uid ? undefined : `uid ${peer.uid}`;
  } catch {
    return 'unknown';
  }
}

/** Engages whoever is at the other end of a link. @param options as of `hire` */
export async function engage(
  node: EnforcerNode,
  link: Link,
  onLost: (detail: string) => void,
  options: { readonly outlives?: boolean } = {},
): Promise<Engagement<RemoteTerminator>> {
  const { clock } = node.world;
  const survival = options.outlives === true ? node.survival : undefined;
  return await node.hire(async (enforcer) => {
    const terminator = new RemoteTerminator({
      link,
      clock,
      enforcer,
      start: { ...startOrder(node), ...(survival === undefined ? {} : { graceMs: survival.graceMs }) },
      ...(survival === undefined ? {} : { resume: (claims) => survival.orphans.claim(claims, enforcer) }),
      onLost: (reason, detail) => onLost(detail ?? reason),
    });
    const late = clock.after(START_MS, () => terminator.close());
    try {
      await terminator.listening;
    } finally {
      late.cancel();
    }
    return terminator;
  }, options);
}

function startOrder({ world, posture }: EnforcerNode): StartOrder {
  const { listen, limits } = world.config;
  return {
    listen,
    limits: JSON.stringify(limits),
    accord: world.accord.document,
    posture: { level: posture.level, epoch: posture.epoch },
  };
}

/** Resolves when a terminator is lost, does not answer, or is to go; says why. */
async function lives(
  { world: { clock } }: EnforcerNode,
  terminator: RemoteTerminator,
  lost: Promise<string>,
  stop?: AbortSignal,
): Promise<string> {
  const over = new AbortController();
  const why = lost.then((detail) => {
    over.abort();
    return detail;
  });
  const until = stop === undefined ? over.signal : AbortSignal.any([stop, over.signal]);
  while (!until.aborted) {
    await sleep(clock, HEARTBEAT_MS, until);
    if (until.aborted) break;
    const answer = await terminator.load().catch(() => undefined);
    if (answer === undefined && !until.aborted) return 'it does not answer';
  }
  return stop?.aborted === true ? 'it is to go' : await why;
}

/** One terminator's place: at most one process in it, and a new one after the former died. */
class Place implements AsyncDisposable {
  readonly #node: EnforcerNode;
  readonly #options: HostOptions;
  readonly #index: number;
  readonly #stopped = new AbortController();
  #running: Promise<void> | undefined;

  constructor(node: EnforcerNode, options: HostOptions, index: number) {
    this.#node = node;
    this.#options = options;
    this.#index = index;
  }

  async start(): Promise<void> {
    const first = await Tenant.start(this.#node, this.#options);
    this.#running = this.#keep(first);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#stopped.abort();
    await this.#running;
  }

  async #keep(first: Tenant): Promise<void> {
    const { clock, log } = this.#node.world;
    const { signal } = this.#stopped;
    let tenant: Tenant | undefined = first;
    let failures = 0;
    while (tenant !== undefined || !signal.aborted) {
      const since = clock.monotonic();
      if (tenant !== undefined) {
        const why = await tenant.lives(signal);
        await tenant[Symbol.asyncDispose]();
        if (signal.aborted) return;
        log.error('a terminator is gone', { index: this.#index, pid: tenant.pid, why });
      }
      failures = clock.monotonic() - since > SETTLED_MS ? 0 : failures + 1;
      await sleep(clock, Math.min(FIRST_DELAY_MS * 2 ** Math.min(failures, 8), LONGEST_DELAY_MS), signal);
      if (signal.aborted) return;
      tenant = await Tenant.start(this.#node, this.#options).catch((error: unknown) => {
        log.error('a terminator does not start', { index: this.#index, error });
        return undefined;
      });
    }
  }
}

/** One terminator process. */
class Tenant implements AsyncDisposable {
  readonly #node: EnforcerNode;
  readonly #child: ChildProcess;
  readonly #engagement: Engagement<RemoteTerminator>;
  readonly #lost: Promise<string>;

  private constructor(
    node: EnforcerNode,
    child: ChildProcess,
    engagement: Engagement<RemoteTerminator>,
    lost: Promise<string>,
  ) {
    this.#node = node;
    this.#child = child;
    this.#engagement = engagement;
    this.#lost = lost;
  }

  static async start(node: EnforcerNode, { command: { command, args }, logFd = 2 }: HostOptions): Promise<Tenant> {
    const start = () => spawn(command, args, { stdio: ['ignore', logFd, logFd, 'pipe'] });
    const child = node.world.precedence?.without(start) ?? start();
    const lost = Promise.withResolvers<string>();
    try {
      await once(child, 'spawn');
      child.once('exit', (code, signal) => lost.resolve(`it exited with ${signal ?? code}`));
      const socket = child.stdio[ENFORCER_FD];
      if (!(socket instanceof Socket)) throw new ShellstreamError('INTERNAL', 'no socket to the terminator');
      const link = new FramedLink(socket, node.world.clock, LARGEST_TO_TERMINATOR);
      const engagement = await engage(node, link, lost.resolve);
      return new Tenant(node, child, engagement, lost.promise);
    } catch (error) {
      child.kill('SIGKILL');
      throw error;
    }
  }

  get pid(): number | undefined {
    return this.#child.pid;
  }

  /** Resolves when it is dead, cut off, hangs, or is to go; says why. */
  lives(stop: AbortSignal): Promise<string> {
    return lives(this.#node, this.#engagement.terminator, this.#lost, stop);
  }

  /** What it held is taken away first: nothing of it outlives the decision to let it go. */
  async [Symbol.asyncDispose](): Promise<void> {
    const { clock, log } = this.#node.world;
    try {
      await this.#engagement[Symbol.asyncDispose]();
    } catch (error) {
      log.error('not everything of a terminator could be released', { pid: this.pid, error });
    }
    this.#engagement.terminator.close();
    if (this.#child.exitCode !== null || this.#child.signalCode !== null) return;
    const exited = once(this.#child, 'exit');
    const late = clock.after(EXIT_MS, () => this.#child.kill('SIGKILL'));
    await exited;
    late.cancel();
  }
}

const ENFORCER_FD = 3;
