/** Connections that carry records: `link.ts` says what a link is, one file each how. */
export { type Carrier, webSocketCarrier } from './carrier.ts';
export { dialFramed, FramedLink, type FramedListener, type FramedListenOptions, listenFramed } from './framed.ts';
export {
  HIGH_WATER_BYTES,
  type Link,
  LOW_WATER_BYTES,
  MAX_BUFFERED_BYTES,
  MAX_RECORD_BYTES,
  type Visit,
} from './link.ts';
export { type MemoryLinkOptions, type MemoryLinkPair, memoryLinkPair } from './memory.ts';
export { MemoryInternet } from './memory-carrier.ts';
export { listenAt, type SocketPlace } from './socket-path.ts';
export { dialWebSocket, type WebSocketDialOptions } from './websocket-client.ts';
export { listenWebSocket, type WebSocketListener, type WebSocketListenOptions } from './websocket-server.ts';
export { SUBPROTOCOL } from './websocket-upgrade.ts';
