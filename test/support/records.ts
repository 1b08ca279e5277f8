/** What a session's records look like from outside: WebSocket frames out of captured TCP segments. */
import { type IpPacket, type Packet, TCP } from './pcap.ts';

export interface WireRecord {
  readonly from: 'initiator' | 'responder';
  /** The first byte: 1 ATTEST-INIT, 2 ATTEST-VERIFY, 3 ATTEST-CONFIRM, 4 REFUSED, 16 under the session's keys. */
  readonly type: number;
  readonly bytes: number;
  /** When its last segment was captured, milliseconds since the epoch. */
  readonly atMs: number;
}

export interface WireConversation {
  /** The initiator's address and port. */
  readonly initiator: string;
  readonly records: readonly WireRecord[];
}

/** Every connection to a session port, in the order of their opening, each with its records. */
export function conversations(packets: readonly Packet[], port: number): readonly WireConversation[] {
  const byInitiator = new Map<string, { up: Segments; down: Segments }>();
  for (const { ip, atMs } of packets) {
    if (ip?.protocol !== TCP || (ip.destinationPort !== port && ip.sourcePort !== port)) continue;
    const isUp = ip.destinationPort === port;
    const initiator = isUp ? `${ip.source} ${ip.sourcePort}` : `${ip.destination} ${ip.destinationPort}`;
    const connection = byInitiator.get(initiator) ?? { up: new Segments(), down: new Segments() };
    byInitiator.set(initiator, connection);
    (isUp ? connection.up : connection.down).add(ip, atMs);
  }
  return [...byInitiator].map(([initiator, { up, down }]) => ({
    initiator,
    records: [...recordsOf('initiator', up), ...recordsOf('responder', down)].sort((a, b) => a.atMs - b.atMs),
  }));
}

/** One direction of a connection, put together by sequence number; retransmissions count once. */
class Segments {
  readonly #parts = new Map<number, { readonly bytes: Buffer; readonly atMs: number }>();
  #first: number | undefined;

  add({ sequence, payload }: IpPacket, atMs: number): void {
    if (payload.length === 0) return;
    this.#first ??= sequence;
    const offset = (sequence - this.#first) >>> 0;
    if (!this.#parts.has(offset)) this.#parts.set(offset, { bytes: payload, atMs });
  }

  /** Bytes without a gap from the start, and when the byte at an offset came. */
  assemble(): { readonly bytes: Buffer; readonly atMs: (offset: number) => number } {
    const whole: { readonly end: number; readonly atMs: number; readonly bytes: Buffer }[] = [];
    let end = 0;
    for (const [offset, { bytes, atMs }] of [...this.#parts].sort(([a], [b]) => a - b)) {
      if (offset !== end) break;
      end += bytes.length;
      whole.push({ end, atMs, bytes });
    }
    return {
      bytes: Buffer.concat(whole.map(({ bytes }) => bytes)),
      atMs: (offset) => whole.find((part) => offset < part.end)?.atMs ?? Number.NaN,
    };
  }
}

function recordsOf(from: WireRecord['from'], segments: Segments): readonly WireRecord[] {
  const { bytes, atMs } = segments.assemble();
  const upgraded = bytes.indexOf('\r\n\r\n');
  if (upgraded < 0) return [];
  const records: WireRecord[] = [];
  let at = upgraded + 4;
  for (;;) {
    const frame = readFrame(bytes, at);
    if (frame === undefined) return records;
    at = frame.end;
    const [type] = frame.payload;
    if (frame.opcode === OPCODE_BINARY && type !== undefined) {
      records.push({ from, type, bytes: frame.payload.length, atMs: atMs(frame.end - 1) });
    }
  }
}

/** RFC 6455 §5.2. Undefined: it is not all there yet. */
function readFrame(bytes: Buffer, at: number): { opcode: number; payload: Buffer; end: number } | undefined {
  if (bytes.length < at + 2) return undefined;
  const opcode = (bytes[at] ?? 0) & 0x0f;
  const second = bytes[at + 1] ?? 0;
  const short = second & 0x7f;
  const lengthBytes = short === 126 ? 2 : short === 127 ? 8 : 0;
  const maskBytes = second & 0x80 ? 4 : 0;
  const start = at + 2 + lengthBytes + maskBytes;
  if (bytes.length < start) return undefined;
  const length =
    lengthBytes === 2 ? bytes.readUInt16BE(at + 2) : lengthBytes === 8 ? bytes.readUInt32BE(at + 6) : short;
  if (bytes.length < start + length) return undefined;
  const mask = bytes.subarray(start - maskBytes, start);
  const payload = Buffer.from(bytes.subarray(start, start + length));
  if (maskBytes > 0) for (const [i, byte] of payload.entries()) payload[i] = byte ^ (mask[i % 4] ?? 0);
  return { opcode, payload, end: start + length };
}

const OPCODE_BINARY = 2;
