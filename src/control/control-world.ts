/** A control server on a socket of its own, and those who talk to it: for the tests beside this file. */
import { once } from 'node:events';
import { connect } from 'node:net';
import { join } from 'node:path';
import { create, fromBinary, type MessageInitShape, toBinary } from '@bufbuild/protobuf';
import { reasonOf } from '../../protocol/errors.ts';
import { RequestSchema, type Response, ResponseSchema } from '../../protocol/gen/shellstream/control/v1/control_pb.ts';
import { type Reason, reasonFromWire } from '../../protocol/reasons.ts';
import { systemClock } from '../base/clock.ts';
import { silentLogger } from '../base/logger.ts';
import { type ControlClient, connectControl } from './client.ts';
import { FACTS, ManualClock, temporaryFolder } from './fixtures.ts';
import { FrameReader, LARGEST_RESPONSE } from './frame.ts';
import { MemoryGateway } from './memory-view.ts';
import type { Actor } from './ports.ts';
import { type ControlOptions, type ControlServer, startControl } from './server.ts';

export class ControlWorld implements AsyncDisposable {
  readonly stack = new AsyncDisposableStack();
  readonly clock = new ManualClock();
  readonly view = new MemoryGateway(this.clock, FACTS);
  readonly folder: string;
  readonly path: string;
  /** Who connects, by the kernel's word. */
  caller: Actor | undefined = { uid: 0, gid: 0, pid: 4242 };

  static async create(): Promise<ControlWorld> {
    return new ControlWorld(await temporaryFolder());
  }

  private constructor(folder: AsyncDisposable & { readonly path: string }) {
    this.folder = this.stack.use(folder).path;
    this.path = join(this.folder, 'test', 'control.sock');
  }

  options(changes: Partial<ControlOptions> = {}): ControlOptions {
    return {
      path: this.path,
      access: { siteOwners: new Set([0]) },
      view: this.view,
      clock: this.clock,
      log: silentLogger,
      credentialsOf: () => this.caller,
      ...changes,
    };
  }

  async start(changes: Partial<ControlOptions> = {}): Promise<ControlServer> {
    return this.stack.use(await startControl(this.options(changes)));
  }

  async console(): Promise<ControlClient> {
    return this.stack.use(await connectControl({ path: this.path, clock: systemClock }));
  }

  /** A client that writes whatever bytes the test wants. */
  async stranger() {
    const raw = connect(this.path);
    this.stack.defer(() => void raw.destroy());
    await once(raw, 'connect');
    const reader = new FrameReader(LARGEST_RESPONSE);
    raw.on('error', () => {});
    raw.on('data', (bytes) => {
      reader.push(bytes);
      raw.emit('progress');
    });
    const next = async (): Promise<Response['answer'] | { readonly case: 'refused'; readonly refused: Reason }> => {
      for (;;) {
        const message = reader.next();
        if (message !== undefined) {
          const { answer } = fromBinary(ResponseSchema, message);
          return answer.case === 'refused'
            ? { case: answer.case, refused: reasonFromWire(answer.value.reason) }
            : answer;
        }
        await once(raw, 'progress');
      }
    };
    return { raw, next };
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.stack.disposeAsync();
  }
}

export function request(ask: NonNullable<MessageInitShape<typeof RequestSchema>['ask']>): Buffer {
  return Buffer.from(toBinary(RequestSchema, create(RequestSchema, { ask })));
}

/** Both ends live in this process: after a few turns of its loop the server has read what was written. */
export async function seenByServer(): Promise<void> {
  for (let turn = 0; turn < 5; turn++) await turnOfTheLoop();
}

export async function settled(isTrue: () => boolean | Promise<boolean>): Promise<void> {
  while (!(await isTrue())) await turnOfTheLoop();
}

export async function reason(outcome: Promise<unknown>): Promise<string> {
  return outcome.then(
    () => 'no refusal',
    (error: unknown) => reasonOf(error),
  );
}

/** A turn in which the loop also polls its sockets. */
function turnOfTheLoop(): Promise<void> {
  return new Promise((resolve) => void systemClock.after(0, resolve));
}
