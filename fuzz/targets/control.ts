/**
 * The control API. The first byte's lowest bit: 0 for a console that talks to the gateway, 1 for what a console makes of a
 * gateway's answer. For the first, the second byte says in what pieces the bytes come.
 */
import { create, fromBinary, toBinary } from '@bufbuild/protobuf';
import { RequestSchema, type Response, ResponseSchema } from '../../protocol/gen/shellstream/control/v1/control_pb.ts';
import type { Reason } from '../../protocol/reasons.ts';
import { type Ask, answer, parseRequest, respond } from '../../src/control/answer.ts';
import { FACTS, ManualClock, session } from '../../src/control/fixtures.ts';
import { FrameReader, frame, LARGEST_REQUEST, LARGEST_RESPONSE } from '../../src/control/frame.ts';
import { MemoryGateway } from '../../src/control/memory-view.ts';
import {
  decodeDetail,
  decodeEvent,
  decodeFinding,
  decodePeer,
  decodePosture,
  decodeSession,
  decodeStatus,
} from '../../src/control/wire/decode.ts';
import { decodeProven, decodeRecords, decodeTended } from '../../src/control/wire/evidence.ts';
import { decodePreview } from '../../src/control/wire/preview.ts';
import { decodeDifference, decodeProposal, decodeRecord } from '../../src/control/wire/routes.ts';
import { protobuf } from '../formats/protobuf.ts';
import { behind } from '../formats/sequence.ts';
import { treeFormat } from '../formats/tree.ts';
import { alike, attempt, holds, judged, type OpenTarget } from '../target.ts';

const ID = 'a'.repeat(32);
const REFUSALS: readonly Reason[] = ['MALFORMED', 'CAPABILITY_NOT_GRANTED'];
const ACTOR = { uid: 0, gid: 0, pid: 1 };

export const open: OpenTarget = async () => {
  const asks: readonly Parameters<typeof create<typeof RequestSchema>>[1][] = [
    { ask: { case: 'status', value: {} } },
    { ask: { case: 'sessions', value: { after: '', type: 'mesh', state: 'active' } } },
    { ask: { case: 'session', value: { id: ID } } },
    { ask: { case: 'drain', value: { id: ID, deadlineMs: 100 } } },
    { ask: { case: 'end', value: { id: ID, reason: 'why' } } },
    { ask: { case: 'posture', value: {} } },
    { ask: { case: 'setPosture', value: { level: 3, reason: 'why', forMs: 1_000n, confirmWithinMs: 10n } } },
    { ask: { case: 'previewPosture', value: { level: 1 } } },
    { ask: { case: 'peers', value: {} } },
    { ask: { case: 'diagnose', value: {} } },
    { ask: { case: 'watch', value: {} } },
  ];
  const requests = asks.map((ask) => toBinary(RequestSchema, create(RequestSchema, ask)));
  const responses = await Promise.all(
    requests.map(async (bytes) =>
      toBinary(ResponseSchema, await answer(parseRequest(bytes), gateway(), ACTOR, 'owner')),
    ),
  );
  const refused = toBinary(ResponseSchema, respond({ case: 'refused', value: { reason: 300, detail: 'no' } }));
  return {
    about: 'control API: framing in any pieces, orders only when they are whole, answers of bounded size',
    covers: ['src/control/frame.ts', 'src/control/answer.ts', 'src/control/wire/', 'protocol/wire/parse.ts'],
    maxBytes: 70_000,
    format: behind(6, treeFormat(protobuf)),
    dictionary: [
      ID,
      'mesh',
      'active',
      'draining',
      'operator',
      '\u202e',
      '\n',
      Uint8Array.of(0, 0, 0, 0),
      Uint8Array.of(0, 1, 0, 1),
    ],
    seeds: [
      ...requests.map((bytes, at) => Buffer.concat([Uint8Array.of(at % 2 === 0 ? 0 : 2, at), frame(bytes)])),
      Buffer.concat([Uint8Array.of(0, 3), ...requests.map(frame)]),
      ...[...responses, refused].map((bytes) => Buffer.concat([Uint8Array.of(1, 0, 0, 0, 0, 0), bytes])),
    ],
    run(input) {
      const flags = input[0] ?? 0;
      if ((flags & 1) === 1) return `answer ${readAnswer(input.subarray(6))}`;
      return readRequests(input.subarray(2), 1 + (input[1] ?? 0), (flags & 2) === 0 ? 'owner' : 'observer');
    },
  };
};

function gateway(): MemoryGateway {
  const view = new MemoryGateway(new ManualClock(), FACTS);
  view.open(session(ID));
  view.open(session('b'.repeat(32), { state: 'draining', streams: [] }));
  return view;
}

async function readRequests(bytes: Uint8Array, size: number, standing: 'owner' | 'observer'): Promise<string> {
  const reader = new FrameReader(LARGEST_REQUEST);
  const view = gateway();
  let word = 'nothing';
  try {
    for (let at = 0; at < bytes.length; at += size) {
      reader.push(Buffer.from(bytes.subarray(at, at + size)));
      for (let message = reader.next(); message !== undefined; message = reader.next()) {
        holds(message.length <= LARGEST_REQUEST, 'a request over the limit');
        const ask = parseRequest(message);
        holds(alike(parseRequest(toBinary(RequestSchema, create(RequestSchema, { ask }))), ask), 'another ask');
        word = await carriedOut(ask, view, standing);
      }
    }
    return word;
  } catch (error) {
    return judged({ reasons: REFUSALS, longest: 400 }, error);
  }
}

async function carriedOut(ask: Ask, view: MemoryGateway, standing: 'owner' | 'observer'): Promise<string> {
  const before = view.orders.length;
  const response = await answer(ask, view, ACTOR, standing);
  const bytes = toBinary(ResponseSchema, response);
  holds(bytes.length <= LARGEST_RESPONSE, 'an answer over the limit');
  holds(standing === 'owner' || view.orders.length === before, 'an observer gave an order');
  readAnswer(bytes);
  return `${ask.case} ${response.answer.case}`;
}

function readAnswer(bytes: Uint8Array): string {
  let response: Response;
  try {
    response = fromBinary(ResponseSchema, bytes);
  } catch {
    // The client says CONNECTION_LOST.
    return 'no answer';
  }
  const read = attempt({ reasons: ['MALFORMED'], longest: 600 }, () => decoded(response.answer));
  return 'refusal' in read ? read.refusal : (response.answer.case ?? 'none');
}

function decoded(given: Response['answer']): unknown {
  switch (given.case) {
    case 'status':
      return decodeStatus(given.value);
    case 'sessions':
      return given.value.sessions.map(decodeSession);
    case 'session':
      return given.value.session && decodeDetail(given.value.session);
    case 'posture':
      return decodePosture(given.value);
    case 'posturePreview':
      return decodePreview(given.value);
    case 'peers':
      return given.value.peers.map(decodePeer);
    case 'diagnosis':
      return given.value.findings.map(decodeFinding);
    case 'event':
      return decodeEvent(given.value);
    case 'routes':
      return [given.value.routes.map(decodeRecord), given.value.differences.map(decodeDifference)];
    case 'records':
      return decodeRecords(given.value);
    case 'record':
      return decodeProven(given.value);
    case 'logTended':
      return decodeTended(given.value);
    case 'proposals':
      return given.value.proposals.map(decodeProposal);
    case 'revocations':
    case 'routeToken':
    case 'proposed':
    case 'done':
    case 'watching':
    case 'refused':
    case undefined:
      return undefined;
  }
}
