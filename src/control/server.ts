/**
 * The control API on a unix socket. It works at every posture level and needs neither SPIRE nor a peer; who may ask what
 * follows from the peer credentials of the connection alone.
 */
import { createServer, type Server, type Socket } from 'node:net';
import { create, toBinary } from '@bufbuild/protobuf';
import { reasonOf, ShellstreamError } from '../../protocol/errors.ts';
import { RequestSchema, type Response } from '../../protocol/gen/shellstream/control/v1/control_pb.ts';
import type { Reason } from '../../protocol/reasons.ts';
import type { Clock } from '../base/clock.ts';
import type { Logger } from '../base/logger.ts';
import { listenAt } from '../link/index.ts';
import { type AccessRules, type Standing, standingOf } from './access.ts';
import { type Ask, answer } from './answer.ts';
import { serve, turnAway } from './connection.ts';
import type { Actor, GatewayView } from './ports.ts';
import { Watchers } from './watchers.ts';

export interface ControlOptions {
  /** Absolute path of the socket. */
  readonly path: string;
  readonly access: AccessRules;
  readonly view: GatewayView;
  readonly clock: Clock;
  readonly log: Logger;
  /** SO_PEERCRED of the connection; undefined, or a throw, counts as a stranger. */
  readonly credentialsOf: (socket: Socket) => Actor | undefined;
  /** Told of each order, and of each look at evidence, before it is answered. Must not throw. */
  readonly onUse?: (use: ConsoleUse) => Promise<void>;
  /** Owners and observers together; observers get at most half. 64 unless told. */
  readonly mostConnections?: number;
  /** 30 s unless told. */
  readonly idleMs?: number;
}

/** What a console had the gateway do, or show of its evidence. */
export interface ConsoleUse {
  readonly by: Actor;
  readonly verb: Ask['case'];
  /** As it came, encoded again. */
  readonly request: Uint8Array;
  /** Undefined: it was done. */
  readonly refused: Reason | undefined;
}

export interface ControlServer extends AsyncDisposable {
  readonly path: string;
}

/** Refuses (INTERNAL) when the path is another gateway's, or could be replaced by another user. */
export async function startControl(options: ControlOptions): Promise<ControlServer> {
  const { view, clock, log, access } = options;
  const most = options.mostConnections ?? 64;
  const connected = new Map<Socket, Standing>();
  const refused = new Set<Socket>();
  const watchers = new Watchers(view, clock);
  const server = createServer(accept);
  const place = await listenAt(server, { path: options.path, group: access.observerGroup });
  server.on('error', (error) => log.error('control socket failed', { error }));

  return {
    path: options.path,
    async [Symbol.asyncDispose]() {
      watchers[Symbol.dispose]();
      for (const socket of [...connected.keys(), ...refused]) socket.destroy();
      await close(server);
      await place[Symbol.asyncDispose]();
    },
  };

  function accept(socket: Socket): void {
    const by = credentialsOf(socket);
    const standing = standingOf(by, access);
    if (by === undefined || standing === undefined) {
      log.warn('a stranger at the control socket was refused', { uid: by?.uid, pid: by?.pid });
      const who = by === undefined ? 'the kernel does not say who asks' : `user ${by.uid} is no site owner here`;
      refuse(socket, new ShellstreamError('CAPABILITY_NOT_GRANTED', who));
      return;
    }
    if (!hasRoom(standing)) {
      refuse(socket, new ShellstreamError('OVERLOADED', 'too many consoles are connected'));
      return;
    }
    connected.set(socket, standing);
    socket.on('close', () => {
      connected.delete(socket);
      watchers.remove(socket);
    });
    serve(socket, {
      clock,
      idleMs: options.idleMs ?? 30_000,
      answer: (ask) => respondTo(ask, by, standing),
      watch(watcher) {
        watcher.on('drain', () => watchers.drained(watcher));
        watchers.add(watcher);
      },
    });
  }

  // Whoever hangs up before he is asked for must not bring the gateway down.
  function credentialsOf(socket: Socket): Actor | undefined {
    try {
      return options.credentialsOf(socket);
    } catch (error) {
      log.warn('no peer credentials', { error });
      return undefined;
    }
  }

  // Each stranger holds a descriptor until he has read why; a crowd of them is not told.
  function refuse(socket: Socket, error: ShellstreamError): void {
    if (refused.size >= most) {
      socket.destroy();
      return;
    }
    refused.add(socket);
    socket.on('close', () => refused.delete(socket));
    turnAway(socket, clock, error);
  }

  // Whoever may only look must not be able to keep the site owner out by holding every place.
  function hasRoom(standing: Standing): boolean {
    if (connected.size >= most) return false;
    if (standing === 'owner') return true;
    let observers = 0;
    for (const other of connected.values()) if (other === 'observer') observers += 1;
    return observers < Math.floor(most / 2);
  }

  async function respondTo(ask: Ask, by: Actor, standing: Standing): Promise<Response> {
    try {
      const response = await answer(ask, view, by, standing);
      if (!LOOKS.has(ask.case)) log.info('console order carried out', { uid: by.uid, pid: by.pid, ask: ask.case });
      await witness(ask, by, undefined);
      return response;
    } catch (error) {
      log.warn('console request refused', { uid: by.uid, pid: by.pid, ask: ask.case, error });
      await witness(ask, by, reasonOf(error));
      throw error;
    }
  }

  async function witness(ask: Ask, by: Actor, refused: Reason | undefined): Promise<void> {
    if (LOOKS.has(ask.case)) return;
    await options.onUse?.({
      by,
      verb: ask.case,
      request: toBinary(RequestSchema, create(RequestSchema, { ask })),
      refused,
    });
  }
}

/** What changes nothing and is asked every few seconds; whatever else there is leaves a trace. */
const LOOKS: ReadonlySet<Ask['case']> = new Set<Ask['case']>([
  'status',
  'sessions',
  'session',
  'posture',
  'previewPosture',
  'peers',
  'diagnose',
  'watch',
  'routes',
  'proposals',
  'revocations',
]);

function close(server: Server): Promise<void> {
  return new Promise((resolve) => server.close(() => resolve()));
}
