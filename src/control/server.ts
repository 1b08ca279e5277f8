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
import { type Ask, answer, parseRequest, refusal } from './answer.ts';
import { type Answered, serve, turnAway } from './connection.ts';
import { frame } from './frame.ts';
import { LookPace, type Passed, passed, WatchedFrames } from './passed.ts';
import type { Actor, GatewayView } from './ports.ts';
import { encodeResponse } from './response.ts';
import { type EventSink, Watchers } from './watchers.ts';

export interface ControlOptions {
  /** Absolute path of the socket. */
  readonly path: string;
  readonly access: AccessRules;
  readonly view: GatewayView;
  readonly clock: Clock;
  readonly log: Logger;
  /** SO_PEERCRED of the connection; undefined, or a throw, counts as a stranger. */
  readonly credentialsOf: (socket: Socket) => Actor | undefined;
  /**
   * Told of each order, and of each look at evidence, before it is answered; while `isFull`, of everything that passes. Must
   * not throw.
   */
  readonly onUse?: (use: ConsoleUse) => Promise<void>;
  /** As the accord's row of the level has it, 1 by default: evidence is of all that passes, with its frames. */
  readonly isFull?: () => boolean;
  /** Owners and observers together; observers get at most half. 64 unless told. */
  readonly mostConnections?: number;
  /** 30 s unless told. */
  readonly idleMs?: number;
}

/** What a console had the gateway do or show. */
export interface ConsoleUse {
  readonly by: Actor;
  /** `unreadable`: the request was none. */
  readonly verb: Ask['case'] | 'unreadable';
  /** As it came. */
  readonly request: Uint8Array;
  /** Undefined: it was done. */
  readonly refused: Reason | undefined;
  /** It changed nothing, and nothing but level 1 has it recorded. */
  readonly isLook: boolean;
  /** At level 1: request and answer, or what a watching console was told since the record before. */
  readonly passed?: Passed;
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
  const pace = new LookPace(clock);
  const isFull = (): boolean => options.isFull?.() === true;
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
    socket.on('close', () => connected.delete(socket));
    serve(socket, {
      clock,
      idleMs: options.idleMs ?? 30_000,
      answer: (message) => respondTo(message, by, standing),
      watch: (watcher) => tell(watcher, by),
    });
  }

  function tell(socket: Socket, by: Actor): void {
    const frames = new WatchedFrames(clock, (all) => {
      void options.onUse?.({ by, verb: 'watch', request: WATCH, refused: undefined, isLook: true, passed: all });
    });
    const sink: EventSink = {
      get writableLength() {
        return socket.writableLength;
      },
      write(bytes) {
        if (isFull()) frames.add(bytes);
        else frames[Symbol.dispose]();
        return socket.write(bytes);
      },
    };
    socket.on('drain', () => watchers.drained(sink));
    socket.on('close', () => {
      watchers.remove(sink);
      frames[Symbol.dispose]();
    });
    watchers.add(sink);
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

  async function respondTo(request: Uint8Array, by: Actor, standing: Standing): Promise<Answered> {
    // What begins or ends with level 1 is of level 1.
    const wasFull = isFull();
    let verb: ConsoleUse['verb'] = 'unreadable';
    let after: Answered['after'] = 'hang up';
    let refused: Reason | undefined;
    let response: Response;
    try {
      const ask = parseRequest(request);
      verb = ask.case;
      after = 'read';
      if (wasFull && LOOKS.has(verb)) await pace.turn(standing);
      response = await answer(ask, view, by, standing);
      if (!LOOKS.has(verb)) log.info('console order carried out', { uid: by.uid, pid: by.pid, ask: verb });
      if (response.answer.case === 'watching') after = 'watch';
    } catch (error) {
      log.warn('console request refused', { uid: by.uid, pid: by.pid, ask: verb, error });
      refused = reasonOf(error);
      response = refusal(error);
    }
    const bytes = encodeResponse(response);
    const isLook = verb === 'unreadable' || LOOKS.has(verb);
    if (wasFull || isFull()) {
      await options.onUse?.({ by, verb, request, refused, isLook, passed: passed([frame(request), bytes]) });
    } else if (!isLook) await options.onUse?.({ by, verb, request, refused, isLook });
    return { frame: bytes, after };
  }
}

/** What changes nothing and is asked every few seconds; whatever else there is leaves a trace. */
const LOOKS: ReadonlySet<ConsoleUse['verb']> = new Set<Ask['case']>([
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

/** The request with which a console began to watch; it has but one form. */
const WATCH = toBinary(RequestSchema, create(RequestSchema, { ask: { case: 'watch', value: {} } }));

function close(server: Server): Promise<void> {
  return new Promise((resolve) => server.close(() => resolve()));
}
