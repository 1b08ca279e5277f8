/** One console at the socket: a request, its answer, the next request; or, after `watch`, events until it goes. */
import type { Socket } from 'node:net';
import { toBinary } from '@bufbuild/protobuf';
import type { ShellstreamError } from '../../protocol/errors.ts';
import { type Response, ResponseSchema } from '../../protocol/gen/shellstream/control/v1/control_pb.ts';
import type { Clock, Timer } from '../base/clock.ts';
import { type Ask, parseRequest, refusal, refused } from './answer.ts';
import { FrameReader, frame, LARGEST_REQUEST, LARGEST_RESPONSE } from './frame.ts';

export interface ConnectionOwner {
  readonly clock: Clock;
  /** How long a console may take for its next request, or to read an answer, milliseconds. */
  readonly idleMs: number;
  answer(ask: Ask): Promise<Response>;
  /** The console wants events from here on. */
  watch(socket: Socket): void;
}

export function serve(socket: Socket, owner: ConnectionOwner): void {
  const reader = new FrameReader(LARGEST_REQUEST);
  let state: 'reading' | 'answering' | 'watching' | 'refused' = 'reading';
  let idle: Timer | undefined;

  socket.on('data', (bytes) => {
    // A watcher has nothing more to say; whatever comes would pile up.
    if (state === 'watching') return void socket.destroy();
    if (state === 'refused') return;
    reader.push(bytes);
    next();
  });
  socket.on('error', () => socket.destroy());
  socket.on('close', () => idle?.cancel());
  restartIdle();

  function next(): void {
    if (state !== 'reading' || socket.destroyed) return;
    let ask: Ask;
    try {
      const message = reader.next();
      if (message === undefined) return;
      ask = parseRequest(message);
    } catch (error) {
      // After a length or a message that makes no sense nothing tells where the next one begins.
      state = 'refused';
      socket.end(encode(refusal(error)));
      return;
    }
    state = 'answering';
    idle?.cancel();
    socket.pause();
    void answer(ask);
  }

  async function answer(ask: Ask): Promise<void> {
    const response = await owner.answer(ask).catch(refusal);
    if (socket.destroyed) return;
    const watches = response.answer.case === 'watching';
    // The clock runs again while the answer is read: a console that does not read cannot stay.
    restartIdle();
    socket.write(encode(response), () => {
      if (socket.destroyed) return;
      restartIdle();
      state = 'reading';
      if (watches) {
        if (!reader.isEmpty) return void socket.destroy();
        idle?.cancel();
        state = 'watching';
        owner.watch(socket);
      }
      socket.resume();
      next();
    });
  }

  // Bytes of an unfinished request do not restart it: one byte a second is no way to hold a place.
  function restartIdle(): void {
    idle?.cancel();
    idle = owner.clock.after(owner.idleMs, () => socket.destroy());
  }
}

/**
 * Tells why and hangs up. What the other end sent meanwhile is read and dropped: a socket closed over unread bytes may
 * take the answer with it. After a second it is over either way.
 */
export function turnAway(socket: Socket, clock: Clock, error: ShellstreamError): void {
  const timer = clock.after(LINGER_MS, () => socket.destroy());
  socket.on('error', () => socket.destroy());
  socket.on('close', () => timer.cancel());
  socket.resume();
  socket.end(encode(refusal(error)));
}

const LINGER_MS = 1_000;

function encode(response: Response): Buffer {
  const bytes = toBinary(ResponseSchema, response);
  if (bytes.length <= LARGEST_RESPONSE) return frame(bytes);
  return encode(refused('INTERNAL', `the answer takes ${bytes.length} bytes`));
}
