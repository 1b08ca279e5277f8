/** The console's end of the control socket: a `GatewayView` in all but the actor, which the kernel names. */
import { connect, type Socket } from 'node:net';
import { create, fromBinary, toBinary } from '@bufbuild/protobuf';
import { ShellstreamError } from '../../protocol/errors.ts';
import { RequestSchema, type Response, ResponseSchema } from '../../protocol/gen/shellstream/control/v1/control_pb.ts';
import type { PostureLevel } from '../../protocol/posture/level.ts';
import { reasonFromWire } from '../../protocol/reasons.ts';
import type { Clock } from '../base/clock.ts';
import type { Answer, AnswerOf, Asked } from './ask.ts';
import type { RemoteEvidenceDesk } from './evidence-desk.ts';
import { FrameReader, frame, LARGEST_RESPONSE } from './frame.ts';
import type {
  ConsoleStatement,
  Finding,
  GatewayStatus,
  PeerView,
  PosturePreview,
  PostureView,
  SessionDetail,
  SessionFilter,
  SessionView,
  WatchedEvent,
} from './ports.ts';
import { remoteEvidence } from './remote-evidence.ts';
import { remoteRoutes } from './remote-routes.ts';
import type { RemoteRevocations } from './revocation-desk.ts';
import type { RemoteRouteDesk } from './route-desk.ts';
import {
  decodeDetail,
  decodeEvent,
  decodeFinding,
  decodePeer,
  decodePosture,
  decodeSession,
  decodeStatus,
} from './wire/decode.ts';
import { decodePreview } from './wire/preview.ts';
import { readRevocations } from './wire/revocations.ts';

/**
 * Every verb throws the gateway's refusal with its own reason, CONNECTION_LOST when the gateway goes or does not answer
 * in time, MALFORMED when its answer makes no sense. Concurrent calls wait for each other.
 */
export interface ControlClient extends Disposable {
  status(): Promise<GatewayStatus>;
  /** All of them, page after page: a session that opens or ends meanwhile may be missing or there. */
  sessions(filter: SessionFilter): Promise<readonly SessionView[]>;
  session(id: string): Promise<SessionDetail | undefined>;
  drain(id: string, deadlineMs: number): Promise<boolean>;
  end(id: string, why: string): Promise<boolean>;
  posture(): Promise<PostureView>;
  setPosture(statement: ConsoleStatement): Promise<PostureView>;
  confirmPosture(epoch: bigint): Promise<PostureView>;
  previewPosture(level: PostureLevel): Promise<PosturePreview>;
  setAside(source: string, why: string, epoch?: bigint): Promise<PostureView>;
  holdPeer(peer: string, why: string): Promise<void>;
  releasePeer(peer: string, why: string): Promise<boolean>;
  deliverRelease(document: Uint8Array): Promise<void>;
  readonly evidence: RemoteEvidenceDesk;
  readonly underlay: RemoteRouteDesk;
  readonly revocations: RemoteRevocations;
  peers(): Promise<readonly PeerView[]>;
  diagnose(): Promise<readonly Finding[]>;
  /** From here on the client gives events and nothing else; ends when it is disposed, throws when the gateway goes. */
  watch(): AsyncGenerator<WatchedEvent, void, undefined>;
}

export interface ClientOptions {
  /** Of the gateway's control socket. */
  readonly path: string;
  readonly clock: Clock;
  /** For connecting and for each answer; 10 s unless told. */
  readonly timeoutMs?: number | undefined;
}

export async function connectControl({ path, clock, timeoutMs = 10_000 }: ClientOptions): Promise<ControlClient> {
  const socket = connect(path);
  let isDisposed = false;
  await within(() => opened(socket, path));
  const answers = responses(socket);
  let turn: Promise<unknown> = Promise.resolve();

  return {
    async status() {
      return decodeStatus((await ask({ case: 'status', value: {} }, 'status')).value);
    },
    async sessions(filter) {
      const all: SessionView[] = [];
      let after = '';
      do {
        const { value } = await ask({ case: 'sessions', value: { ...filter, after } }, 'sessions');
        all.push(...value.sessions.map(decodeSession));
        // A gateway whose pages do not move on would keep us asking for ever.
        if (value.next !== '' && value.next <= after) throw new ShellstreamError('MALFORMED', 'pages out of order');
        after = value.next;
      } while (after !== '');
      return all;
    },
    async session(id) {
      const { session } = (await ask({ case: 'session', value: { id } }, 'session')).value;
      return session && decodeDetail(session);
    },
    async drain(id, deadlineMs) {
      return (await ask({ case: 'drain', value: { id, deadlineMs } }, 'done')).value.known;
    },
    async end(id, why) {
      return (await ask({ case: 'end', value: { id, reason: why } }, 'done')).value.known;
    },
    async posture() {
      return decodePosture((await ask({ case: 'posture', value: {} }, 'posture')).value);
    },
    async setPosture({ level, reason, forMs, confirmWithinMs }) {
      const value = { level, reason, forMs: maybeBig(forMs), confirmWithinMs: maybeBig(confirmWithinMs) };
      return decodePosture((await ask({ case: 'setPosture', value }, 'posture')).value);
    },
    async confirmPosture(epoch) {
      return decodePosture((await ask({ case: 'confirmPosture', value: { epoch } }, 'posture')).value);
    },
    async previewPosture(level) {
      return decodePreview((await ask({ case: 'previewPosture', value: { level } }, 'posturePreview')).value);
    },
    async setAside(source, reason, epoch) {
      const value = { source, reason, ...(epoch === undefined ? {} : { epoch }) };
      return decodePosture((await ask({ case: 'setAside', value }, 'posture')).value);
    },
    async holdPeer(peer, reason) {
      await ask({ case: 'hold', value: { peer, reason } }, 'done');
    },
    async releasePeer(peer, reason) {
      return (await ask({ case: 'release', value: { peer, reason } }, 'done')).value.known;
    },
    async deliverRelease(document) {
      await ask({ case: 'deliverRelease', value: { document } }, 'done');
    },
    evidence: remoteEvidence((asked, expected) => ask(asked, expected)),
    underlay: remoteRoutes((asked, expected) => ask(asked, expected)),
    revocations: {
      list: () =>
        readRevocations(async (skip) => (await ask({ case: 'revocations', value: { skip } }, 'revocations')).value),
      offer: async (statement) => !(await ask({ case: 'revoke', value: { statement } }, 'done')).value.known,
    },
    async peers() {
      return (await ask({ case: 'peers', value: {} }, 'peers')).value.peers.map(decodePeer);
    },
    async diagnose() {
      return (await ask({ case: 'diagnose', value: {} }, 'diagnosis')).value.findings.map(decodeFinding);
    },
    async *watch() {
      await ask({ case: 'watch', value: {} }, 'watching');
      try {
        for await (const { answer } of answers) {
          yield decodeEvent(expect(answer, 'event').value);
        }
      } catch (error) {
        if (!isDisposed) throw error;
      }
      if (!isDisposed) throw lost();
    },
    [Symbol.dispose]() {
      isDisposed = true;
      socket.destroy();
    },
  };

  function ask<Case extends NonNullable<Answer['case']>>(asked: Asked, expected: Case): Promise<AnswerOf<Case>> {
    const answered = turn.then(() =>
      within(async () => {
        socket.write(frame(toBinary(RequestSchema, create(RequestSchema, { ask: asked }))));
        const { value: response, done } = await answers.next();
        if (done) throw lost();
        return expect(response.answer, expected);
      }),
    );
    turn = answered.catch(() => {});
    return answered;
  }

  async function within<T>(action: () => Promise<T>): Promise<T> {
    const timer = clock.after(timeoutMs, () => {
      socket.destroy(new ShellstreamError('CONNECTION_LOST', `the gateway did not answer within ${timeoutMs} ms`));
    });
    try {
      return await action();
    } finally {
      timer.cancel();
    }
  }
}

async function* responses(socket: Socket): AsyncGenerator<Response, void, undefined> {
  const reader = new FrameReader(LARGEST_RESPONSE);
  try {
    for await (const bytes of socket) {
      reader.push(bytes);
      for (let message = reader.next(); message !== undefined; message = reader.next()) {
        yield fromBinary(ResponseSchema, message);
      }
    }
  } catch (error) {
    throw error instanceof ShellstreamError ? error : lost(error);
  }
}

function expect<Case extends Answer['case']>(answer: Answer, expected: Case): AnswerOf<Case> {
  if (answer.case === 'refused') {
    throw new ShellstreamError(reasonFromWire(answer.value.reason), withoutReason(answer.value.detail));
  }
  if (isCase(answer, expected)) return answer;
  throw new ShellstreamError('MALFORMED', 'the gateway answered something else than was asked');
}

function isCase<Case extends Answer['case']>(answer: Answer, expected: Case): answer is AnswerOf<Case> {
  return answer.case === expected;
}

/** The detail is the gateway's error message, which begins with its reason; the error made of it says it again. */
function withoutReason(detail: string): string {
  return detail.replace(/^[A-Z_]+: /, '');
}

function opened(socket: Socket, path: string): Promise<void> {
  return new Promise((resolve, reject) => {
    socket.once('connect', resolve);
    socket.once('error', (error) => {
      if (error instanceof ShellstreamError) return reject(error);
      const why = 'code' in error && error.code === 'EACCES' ? 'this user may not open it' : 'no gateway answers there';
      reject(new ShellstreamError('CONNECTION_LOST', `${path}: ${why}`, { cause: error }));
    });
  });
}

function maybeBig(value: number | undefined): bigint | undefined {
  return value === undefined ? undefined : BigInt(value);
}

function lost(cause?: unknown): ShellstreamError {
  return new ShellstreamError('CONNECTION_LOST', 'the gateway closed the control connection', { cause });
}
