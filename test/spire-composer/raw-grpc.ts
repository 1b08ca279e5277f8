/** gRPC by hand, for what no library would send. */
import { type ClientHttp2Session, connect } from 'node:http2';
import { connect as dial } from 'node:net';

export const INVALID_ARGUMENT = 3;
export const RESOURCE_EXHAUSTED = 8;
export const UNIMPLEMENTED = 12;
export const INTERNAL = 13;

export class RawClient implements Disposable {
  readonly session: ClientHttp2Session;

  constructor(socketPath: string) {
    this.session = connect('http://localhost', { createConnection: () => dial(socketPath) });
    // The other end may close on what is sent here.
    this.session.on('error', () => undefined);
  }

  /** Sends one message as it is and resolves with the status, or undefined when the stream ended without one. */
  call(path: string, message: Uint8Array, options: { gzip?: boolean } = {}): Promise<number | undefined> {
    const { gzip = false } = options;
    const stream = this.session.request({
      ':method': 'POST',
      ':path': path,
      'content-type': 'application/grpc',
      te: 'trailers',
      ...(gzip ? { 'grpc-encoding': 'gzip' } : {}),
    });
    return new Promise((resolve) => {
      let status: number | undefined;
      const read = (headers: Readonly<Record<string, unknown>>): void => {
        if (headers['grpc-status'] !== undefined) status = Number(headers['grpc-status']);
      };
      stream.on('response', read);
      stream.on('trailers', read);
      stream.on('error', () => undefined);
      stream.on('close', () => resolve(status));
      stream.resume();
      stream.end(framed(message, gzip));
    });
  }

  [Symbol.dispose](): void {
    this.session.destroy();
  }
}

function framed(message: Uint8Array, isCompressed: boolean): Buffer {
  const head = Buffer.alloc(5);
  head.writeUInt8(isCompressed ? 1 : 0, 0);
  head.writeUInt32BE(message.length, 1);
  return Buffer.concat([head, message]);
}

/** A length-delimited field of a protobuf message. */
export function field(number: number, value: Uint8Array): Buffer {
  return Buffer.concat([varint((number << 3) | 2), varint(value.length), value]);
}

function varint(value: number): Buffer {
  const bytes: number[] = [];
  for (let rest = value; ; rest >>>= 7) {
    if (rest < 0x80) return Buffer.from([...bytes, rest]);
    bytes.push((rest & 0x7f) | 0x80);
  }
}
