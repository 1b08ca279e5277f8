/** Honest messages to start from: a mesh session's, as the wire vectors have them. */
import { readFileSync } from 'node:fs';
import type { Target as Destination } from '../../protocol/capability/model.ts';
import type { Frame } from '../../protocol/channel/frame.ts';
import type { GrantBody } from '../../protocol/channel/grant.ts';
import {
  type ConfirmBody,
  encodeConfirmBody,
  encodeEvidence,
  encodeOffer,
  encodeVerifyBody,
  type Offer,
} from '../../protocol/handshake/bodies.ts';
import type { Evidence } from '../../protocol/handshake/evidence.ts';
import { parsePrefix } from '../../protocol/net/prefix.ts';

export const fill = (value: number, length = 32): Uint8Array => new Uint8Array(length).fill(value);
export const ascii = (text: string): Uint8Array => new TextEncoder().encode(text);
export const repositoryFile = (path: string): Uint8Array =>
  Uint8Array.from(readFileSync(new URL(`../../${path}`, import.meta.url)));

export const OFFER: Offer = { versions: [1], sessionType: 'mesh', mode: 'overlay' };
export const HOST: Destination = { prefix: parsePrefix('10.2.0.10/32'), protocol: 6, port: 8080 };
const WIREGUARD = { publicKey: fill(3), proof: fill(4), port: 51_840, addresses: [fill(10, 4), fill(0xfd, 16)] };

export const EVIDENCE: Evidence = {
  chain: [fill(0x30, 40), fill(0x30, 24)],
  signature: fill(9, 64),
  body: fill(1, 20),
};

export const CONFIRM: ConfirmBody = {
  offer: OFFER,
  nonce: fill(1),
  responderId: 'spiffe://beta.example/gateway',
  sat: 'eyJhbGciOiJFUzI1NiJ9.e30.AAAA',
  postureLevel: 5,
  postureEpoch: 7n,
  request: { capabilities: ['OBSERVE', 'CONNECT'], targets: [HOST], advertise: [parsePrefix('10.1.0.0/24')] },
  wireguard: WIREGUARD,
  secret: fill(2),
};

export const GRANT: GrantBody = {
  mode: 'overlay',
  capabilities: ['OBSERVE', 'CONNECT'],
  targets: [HOST, { prefix: parsePrefix('fd00:2::/48'), protocol: 17, port: 0 }],
  advertise: [HOST.prefix],
  reachable: [parsePrefix('10.1.0.0/24')],
  lifetimeMs: 3_600_000,
  effectiveLevel: 4,
  governedBy: 'responder',
  postureLevel: 4,
  postureEpoch: 9n,
  accordHash: fill(5),
  wireguard: WIREGUARD,
  secret: fill(6),
};

export const HANDSHAKE_PAYLOADS: readonly Uint8Array[] = [
  encodeOffer(OFFER),
  encodeEvidence(EVIDENCE),
  encodeVerifyBody({ version: 1, nonce: fill(1), freshSat: true, denial: 301 }),
  encodeVerifyBody({ version: 1, nonce: fill(1), freshSat: false, wireguardHash: fill(7) }),
  encodeConfirmBody({ ...CONFIRM, offered: [{ prefix: parsePrefix('10.1.0.20/32'), protocol: 6, port: 631 }] }),
];

const OPERATOR: Offer = { ...OFFER, sessionType: 'operator' };
const { wireguard: _, ...CONFIRM_ALONE } = CONFIRM;
export const OPERATOR_CONFIRM: Uint8Array = encodeConfirmBody({ ...CONFIRM_ALONE, offer: OPERATOR });

export const FRAMES: readonly Frame[] = [
  { type: 'GRANT', grant: GRANT },
  { type: 'DENY', reason: 'POSTURE_CHANGED' },
  { type: 'POSTURE', level: 3, epoch: 8n },
  { type: 'DRAIN', reason: 'POSTURE_DRAIN', level: 3, epoch: 8n, deadlineMs: 4_000 },
  { type: 'DRAINED' },
  { type: 'TUNNEL', state: 'ready', generation: 1 },
  { type: 'REATTEST', record: fill(1, 40) },
  { type: 'STREAM_OPEN', stream: 2, target: HOST, window: 1_000 },
  { type: 'STREAM_DATA', stream: 2, data: fill(7, 12) },
  { type: 'STREAM_WINDOW', stream: 2, credit: 500 },
  { type: 'STREAM_CLOSE', stream: 2, reason: undefined },
  { type: 'STREAM_CLOSE', stream: 2, reason: 'CLOSED' },
  { type: 'PING', opaque: 1n },
  { type: 'PONG', opaque: 1n },
  { type: 'CLOSE', reason: 'CLOSED' },
];
