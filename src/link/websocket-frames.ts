/**
 * The frames that we send (RFC 6455 §5.2); those that come are read by the parser of `ws`. One record is one unfragmented
 * binary frame.
 */
export type WebSocketEnd = 'client' | 'server';

export const OPCODE = { binary: 2, close: 8, pong: 10 } as const;

/** What stands in front of a payload of that length. */
export function frameHeader(opcode: number, length: number, end: WebSocketEnd): Buffer {
  const header = Buffer.allocUnsafe(headerBytes(length, end));
  putHeader(header, opcode, length, end);
  return header;
}

/** Header and payload in one piece. */
export function wholeFrame(opcode: number, payload: Uint8Array, end: WebSocketEnd): Buffer {
  const start = headerBytes(payload.length, end);
  const frame = Buffer.allocUnsafe(start + payload.length);
  putHeader(frame, opcode, payload.length, end);
  frame.set(payload, start);
  return frame;
}

export function closeFrame(code: number, end: WebSocketEnd): Buffer {
  return wholeFrame(OPCODE.close, Uint8Array.of(code >> 8, code & 0xff), end);
}

const FIN = 0x80;
const MASKED = 0x80;
const MASK_BYTES = 4;
const LARGEST_IN_ONE_BYTE = 125;
const LARGEST_IN_TWO_BYTES = 65_535;

function headerBytes(length: number, end: WebSocketEnd): number {
  const lengthBytes = length <= LARGEST_IN_ONE_BYTE ? 0 : length <= LARGEST_IN_TWO_BYTES ? 2 : 8;
  return 2 + lengthBytes + (end === 'client' ? MASK_BYTES : 0);
}

/**
 * A client masks so that no chosen bytes of a script appear on the wire, where old proxies took them for requests
 * (§10.3). Ours are a Noise handshake's and ciphertext, chosen by nobody: the mask is zero, and neither end spends a pass
 * over every byte on it.
 */
function putHeader(header: Buffer, opcode: number, length: number, end: WebSocketEnd): void {
  const masked = end === 'client' ? MASKED : 0;
  let at = 2;
  header[0] = FIN | opcode;
  if (length <= LARGEST_IN_ONE_BYTE) {
    header[1] = masked | length;
  } else if (length <= LARGEST_IN_TWO_BYTES) {
    header[1] = masked | 126;
    header.writeUInt16BE(length, at);
    at += 2;
  } else {
    header[1] = masked | 127;
    header.writeUInt32BE(0, at);
    header.writeUInt32BE(length, at + 4);
    at += 8;
  }
  if (end === 'client') header.fill(0, at, at + MASK_BYTES);
}
