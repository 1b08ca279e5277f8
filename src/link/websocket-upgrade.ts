/** The upgrade of HTTP/1.1 to a WebSocket of ours (RFC 6455 §4), as both ends check it. */
import { hash } from 'node:crypto';
import type { IncomingHttpHeaders } from 'node:http';

export const SUBPROTOCOL = 'shellstream.v1';
export const VERSION = '13';
export const MAX_HEADER_BYTES = 8_192;

/** A client's key is 16 random bytes. */
const KEY = /^[+/0-9A-Za-z]{22}==$/;
const GUID = '258EAFA5-E914-47DA-95CA-C5AB0DC85B11';

/** The key of a request for an upgrade; undefined when it is none. */
export function requestedKey(method: string | undefined, headers: IncomingHttpHeaders): string | undefined {
  const key = headers['sec-websocket-key'];
  if (method !== 'GET' || headers.upgrade?.toLowerCase() !== 'websocket') return undefined;
  if (headers['sec-websocket-version'] !== VERSION || key === undefined || !KEY.test(key)) return undefined;
  return key;
}

/** No extension is ever agreed to: compression beside chosen text leaks secrets by their length, and expands bombs. */
export function upgradeAnswer(key: string): string {
  return `${ANSWER}${acceptOf(key)}\r\n\r\n`;
}

/** Why an answer of status 101 is not to the request that had this key. */
export function refuseAnswer(headers: IncomingHttpHeaders, key: string): string | undefined {
  if (headers.upgrade?.toLowerCase() !== 'websocket') return 'no upgrade to a WebSocket';
  if (headers['sec-websocket-accept'] !== acceptOf(key)) return 'an answer to another request';
  if (headers['sec-websocket-extensions'] !== undefined) return 'an extension that was not asked for';
  return headers['sec-websocket-protocol'] === SUBPROTOCOL ? undefined : `it does not speak ${SUBPROTOCOL}`;
}

const ANSWER = [
  'HTTP/1.1 101 Switching Protocols',
  'Upgrade: websocket',
  'Connection: Upgrade',
  `Sec-WebSocket-Protocol: ${SUBPROTOCOL}`,
  'Sec-WebSocket-Accept: ',
].join('\r\n');

function acceptOf(key: string): string {
  return hash('sha1', key + GUID, 'base64');
}
