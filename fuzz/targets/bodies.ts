/** The payloads of messages 1 to 3 and the bodies that evidence signs. The first byte chooses which. */
import {
  encodeConfirmBody,
  encodeEvidence,
  encodeOffer,
  encodeVerifyBody,
  parseConfirmBody,
  parseEvidence,
  parseOffer,
  parseVerifyBody,
} from '../../protocol/handshake/bodies.ts';
import { LIMITS } from '../../protocol/handshake/constants.ts';
import { protobuf } from '../formats/protobuf.ts';
import { behind } from '../formats/sequence.ts';
import { treeFormat } from '../formats/tree.ts';
import { alike, attempt, holds, type OpenTarget } from '../target.ts';
import { HANDSHAKE_PAYLOADS, OPERATOR_CONFIRM } from './examples.ts';

interface Kind<T> {
  readonly name: string;
  readonly parse: (bytes: Uint8Array) => T;
  readonly encode: (value: T) => Uint8Array;
  readonly most: number;
}

const kind = <T>(name: string, parse: Kind<T>['parse'], encode: Kind<T>['encode'], most: number) => ({
  name,
  run: (bytes: Uint8Array) => check({ name, parse, encode, most }, bytes),
});

const KINDS = [
  kind('offer', parseOffer, encodeOffer, LIMITS.initPayloadBytes),
  kind('evidence', parseEvidence, encodeEvidence, LIMITS.evidenceBytes),
  kind('verify', parseVerifyBody, encodeVerifyBody, LIMITS.bodyBytes),
  kind('confirm', parseConfirmBody, encodeConfirmBody, LIMITS.bodyBytes),
] as const;

export const open: OpenTarget = async () => ({
  about: 'offer, evidence, verify and confirm body: accepted ones read back the same',
  covers: ['protocol/handshake/bodies.ts', 'protocol/wire/'],
  maxBytes: 70_000,
  format: behind(1, treeFormat(protobuf)),
  dictionary: ['spiffe://beta.example/gateway', Uint8Array.of(0x80, 0x00), Uint8Array.of(0xff, 0xff, 0xff, 0xff, 0x0f)],
  seeds: [...HANDSHAKE_PAYLOADS.map((bytes, at) => Uint8Array.of(at, ...bytes)), Uint8Array.of(3, ...OPERATOR_CONFIRM)],
  run(input) {
    const { name, run } = KINDS[(input[0] ?? 0) % KINDS.length] ?? KINDS[0];
    return `${name} ${run(input.subarray(1))}`;
  },
});

function check<T>({ parse, encode, most }: Kind<T>, bytes: Uint8Array): string {
  const read = attempt({ reasons: ['MALFORMED'] }, () => parse(bytes));
  if ('refusal' in read) return read.refusal;
  holds(bytes.length <= most, `${bytes.length} bytes were taken, the limit being ${most}`);
  const again = parse(encode(read.value));
  holds(alike(read.value, again), 'what was read is not what it is written as');
  return `taken ${Object.keys(read.value ?? {}).length}`;
}
