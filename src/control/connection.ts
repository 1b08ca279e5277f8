/** One console at the socket: a request, its answer, the next request; or, after `watch`, events until it goes. */
import type { Socket } from 'node:net';
import type { ShellstreamError } from '../../protocol/errors.ts';
import type { Clock, Timer } from '../base/clock.ts';
import { refusal } from './answer.ts';
import { FrameReader, LARGEST_REQUEST } from './frame.ts';
import { encodeResponse } from './response.ts';

export interface ConnectionOwner {
  readonly clock: Clock;
  /** How long a console may take for its next request, or to read an answer, milliseconds. */
  readonly idleMs: number;
  /** Of a request as it came. Must not reject. */
  answer(message: Uint8Array): Promise<Answered>;
  /** The console wants events from here on. */
  watch(socket: Socket): void;
}

export interface Answered {
  /** The bytes that leave. */
  readonly frame: Buffer;
  /** After a message that makes no sense nothing tells where the next one begins. */
  readonly after: 'read' | 'watch' | 'hang up';
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
    let message: Uint8Array | undefined;
    try {
      message = reader.next();
    } catch (error) {
      // After a length that makes no sense, neither.
      state = 'refused';
      socket.end(encodeResponse(refusal(error)));
      return;
    }
    if (message === undefined) return;
    state = 'answering';
    idle?.cancel();
    socket.pause();
    void answer(message);
  }

  async function answer(message: Uint8Array): Promise<void> {
    const { frame, after } = await owner.answer(message);
    if (socket.destroyed) return;
    // The clock runs again while the answer is read: a console that does not read cannot stay.
    restartIdle();
    if (after === 'hang up') {
      state = 'refused';
      socket.resume();
      socket.end(frame);
      return;
    }
    socket.write(frame, () => {
      if (socket.destroyed) return;
      restartIdle();
      state = 'reading';
      if (after === 'watch') {
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
  socket.end(encodeResponse(refusal(error)));
}

const LINGER_MS = 1_000;
