/** One subscription to the gateway, encoded once, for every console that watches. */
import { create, toBinary } from '@bufbuild/protobuf';
import { ResponseSchema } from '../../protocol/gen/shellstream/control/v1/control_pb.ts';
import type { Clock } from '../base/clock.ts';
import { frame } from './frame.ts';
import type { GatewayView, WatchedEvent } from './ports.ts';
import { encodeEvent } from './wire/encode.ts';

/** The half of a socket that a watcher needs. */
export interface EventSink {
  readonly writableLength: number;
  write(bytes: Buffer): boolean;
}

export class Watchers implements Disposable {
  readonly #view: GatewayView;
  readonly #clock: Clock;
  /** How many events each watcher was too slow for since the last one it got. */
  readonly #lost = new Map<EventSink, number>();
  #subscription: Disposable | undefined;

  constructor(view: GatewayView, clock: Clock) {
    this.#view = view;
    this.#clock = clock;
  }

  add(sink: EventSink): void {
    this.#lost.set(sink, 0);
    this.#subscription ??= this.#view.watch((event) => this.#send(event));
  }

  remove(sink: EventSink): void {
    this.#lost.delete(sink);
    if (this.#lost.size === 0) this[Symbol.dispose]();
  }

  /** To be called when the sink has room again. */
  drained(sink: EventSink): void {
    const lost = this.#lost.get(sink);
    if (lost === undefined || lost === 0) return;
    this.#lost.set(sink, 0);
    sink.write(framed({ kind: 'lost', atMs: this.#clock.now(), events: lost }));
  }

  [Symbol.dispose](): void {
    this.#subscription?.[Symbol.dispose]();
    this.#subscription = undefined;
    this.#lost.clear();
  }

  #send(event: WatchedEvent): void {
    const bytes = framed(event);
    for (const [sink, lost] of this.#lost) {
      // A console that stops reading while denials flood in costs this much memory, and loses events, no more.
      if (sink.writableLength > MOST_UNREAD) this.#lost.set(sink, lost + 1);
      else {
        this.drained(sink);
        sink.write(bytes);
      }
    }
  }
}

function framed(event: WatchedEvent): Buffer {
  return frame(
    toBinary(ResponseSchema, create(ResponseSchema, { answer: { case: 'event', value: encodeEvent(event) } })),
  );
}

const MOST_UNREAD = 256 * 1024;
