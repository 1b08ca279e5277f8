/**
 * What comes to a terminator from its enforcer. The first byte's lowest bit: 0 for orders and answers while it serves, 1
 * for how it begins: the start itself, with the accord and the limits that go over in it.
 */
import { ShellstreamError } from '../../protocol/errors.ts';
import { encodeEvidence, encodeOffer } from '../../protocol/handshake/index.ts';
import { parseSpiffeId } from '../../protocol/identity/spiffe-id.ts';
import { requestToWire } from '../../protocol/wire/convert.ts';
import { nodeCrypto as crypto } from '../../src/base/crypto-node.ts';
import { Descriptors } from '../../src/base/descriptors.ts';
import { silentLogger } from '../../src/base/logger.ts';
import { SimulatedClock } from '../../src/base/simulated-clock.ts';
import { admissionTo } from '../../src/enforcer/process/convert.ts';
import { encodeToTerminator, type ToTerminatorInit } from '../../src/enforcer/process/messages.ts';
import { RemoteEnforcer } from '../../src/enforcer/process/remote-enforcer.ts';
import type { Terminator } from '../../src/enforcer/terminator-port.ts';
import { type Link, MemoryInternet, memoryLinkPair } from '../../src/link/index.ts';
import { serveEnforcer } from '../../src/roots/terminator-process.ts';
import { ACCORD, REQUEST } from '../../test/support/memory-nodes.ts';
import { protobuf } from '../formats/protobuf.ts';
import { behind, joined, pieces, sequenceOf } from '../formats/sequence.ts';
import { treeFormat } from '../formats/tree.ts';
import { holds, type OpenTarget } from '../target.ts';
import { settled } from './enforcer-world.ts';
import { EVIDENCE, fill, GRANT, OFFER } from './examples.ts';

const SESSION = 'a'.repeat(32);
const START: ToTerminatorInit = {
  case: 'start',
  value: { address: '192.0.2.1', port: 7_843, limits: '{}', accord: ACCORD.document, level: 5, epoch: 1n },
};
const NEWS: readonly ToTerminatorInit[] = [
  START,
  { case: 'setPosture', value: { level: 3, epoch: 2n } },
  { case: 'identityRotated', value: {} },
  { case: 'drain', value: { session: SESSION, reason: 605, deadlineMs: 100 } },
  { case: 'cancel', value: { order: 4 } },
];
const ORDERS: readonly ToTerminatorInit[] = [
  { case: 'judgeSessions', value: {} },
  { case: 'end', value: { session: SESSION, reason: 600 } },
  { case: 'drainAll', value: { reason: 405, deadlineMs: 100 } },
  {
    case: 'dial',
    value: {
      offer: encodeOffer(OFFER),
      expectedId: 'spiffe://a.test/gateway',
      request: requestToWire(REQUEST),
      address: '192.0.2.1',
      port: 7_843,
    },
  },
  { case: 'tellStreams', value: { session: SESSION } },
  { case: 'tellLoad', value: {} },
];

export const open: OpenTarget = async () => {
  const spiffeId = parseSpiffeId('spiffe://a.test/gateway');
  if (spiffeId === undefined) throw new Error('no SPIFFE ID');
  const { mode, capabilities, reachable, lifetimeMs } = GRANT;
  const targets = GRANT.targets.map((target) => ({ ...target, class: 'ordinary' as const, floor: 3 }));
  const admission = admissionTo({
    id: SESSION,
    peer: { spiffeId, trustDomain: 'a.test', tier: 'master' },
    offer: OFFER,
    grant: { mode, capabilities, targets, reachable, lifetimeMs },
    effectiveLevel: 4,
    governedBy: 'both',
    peerLevel: 4,
    peerEpoch: 1n,
    toldEpoch: 1n,
    expiresAt: 1_800_000_000_000,
    reattestSecret: fill(1),
    answer: GRANT,
    tunnelGeneration: 1,
  });
  const answers: readonly ToTerminatorInit[] = [
    { case: 'evidence', value: { evidence: encodeEvidence(EVIDENCE) } },
    { case: 'admission', value: admission },
    { case: 'failed', value: { reason: 301, detail: 'POSTURE_ISOLATED: no', byPeer: true } },
    { case: 'resumed', value: { sessions: [SESSION] } },
    { case: 'done', value: {} },
    { case: 'released', value: { failures: [] } },
    { case: 'released', value: { failures: [{ place: 1, why: { reason: 502, detail: 'it stays' } }] } },
  ];
  const serving = (...records: readonly Uint8Array[]): Uint8Array => Buffer.concat([Uint8Array.of(0), joined(records)]);
  const beginning = (...records: readonly Uint8Array[]): Uint8Array =>
    Buffer.concat([Uint8Array.of(1), joined(records)]);
  return {
    about:
      'what an enforcer says: obeyed as it was meant or refused, each question with one end, and a start that is whole or none',
    covers: ['src/enforcer/process/', 'src/base/accord-file.ts', 'protocol/wire/parse.ts'],
    maxBytes: 12_000,
    format: behind(1, treeFormat(sequenceOf(protobuf))),
    dictionary: [SESSION, '192.0.2.1', '{"sessions":1}', 'spiffe://a.test/gateway', fill(0), Uint8Array.of(8, 1)],
    seeds: [
      ...NEWS.map((body) => serving(encodeToTerminator(0, body))),
      ...ORDERS.map((body, at) => serving(encodeToTerminator(at + 1, body))),
      ...answers.map((body, at) => serving(encodeToTerminator(at + 1, body))),
      serving(...[...answers].reverse().map((body, at) => encodeToTerminator(at + 1, body))),
      serving(...ORDERS.map((body, at) => encodeToTerminator(at + 1, body)), encodeToTerminator(0, NEWS[4] ?? START)),
      beginning(encodeToTerminator(0, START)),
      beginning(encodeToTerminator(0, START), encodeToTerminator(1, ORDERS[5] ?? START)),
      beginning(encodeToTerminator(0, NEWS[1] ?? START), encodeToTerminator(0, START)),
    ],
    steps: (bytes) => 600_000 + 4_000 * bytes,
    async run(input) {
      const records = pieces(input.subarray(1)).filter(({ length }) => length > 0);
      return ((input[0] ?? 0) & 1) === 0 ? await serve(records) : await begin(records);
    },
  };
};

/**
 * Questions are open while the records come; at the end of the link each of them has had an end, and one only. The two
 * releases go in one question.
 */
async function serve(records: readonly Uint8Array[]): Promise<string> {
  const clock = new SimulatedClock();
  const links = memoryLinkPair({ clock });
  let losses = 0;
  const enforcer = new RemoteEnforcer({ link: links.initiator, clock, onLost: () => (losses += 1) });
  enforcer.serve(OBEDIENT, { port: 1 });
  const connection = { localAddress: '192.0.2.1', localPort: 1, remoteAddress: '192.0.2.2', remotePort: 2 };
  const questions = [
    enforcer.challenge({ offer: OFFER, transcript: fill(1), staticKey: fill(2) }),
    enforcer.accept({ nonce: fill(1), grant: GRANT, handshakeHash: fill(2), connection }),
    enforcer.setPeerLevel(SESSION, 3),
    enforcer.mayRenew(SESSION),
    enforcer.release(SESSION, 'CLOSED'),
    enforcer.release('b'.repeat(32), 'CLOSED', true, { streams: 1, receivedBytes: 2n, sentBytes: 3n }),
  ];
  const ends = Promise.allSettled(questions);
  const answered = count(links.responder);
  for (const record of records) links.responder.send(record);
  await settled();
  const isCutOff = links.initiator.isClosed;
  links.cut();
  const outcomes = await ends;
  for (const outcome of outcomes) if (outcome.status === 'rejected') refusal(outcome.reason);
  await settled();
  holds(losses === 1, `the end of the link was told ${losses} times`);
  return `${isCutOff ? 'cut off' : 'stays'} ${outcomes.map(({ status }) => status[0]).join('')} ${Math.min(answered(), 8)}`;
}

/** Either a terminator that listens where it was told, or an error, and then nothing that listens. */
async function begin(records: readonly Uint8Array[]): Promise<string> {
  const clock = new SimulatedClock();
  const links = memoryLinkPair({ clock });
  const internet = new MemoryInternet({ clock });
  const listening = new Set<object>();
  const host = internet.host('192.0.2.1');
  const carrier: typeof host = {
    ...host,
    listen: async (options) => {
      const listener = await host.listen(options);
      listening.add(listener);
      return { ...listener, [Symbol.asyncDispose]: async () => void listening.delete(listener) };
    },
  };
  const starting = serveEnforcer({
    link: links.initiator,
    carrier,
    descriptors: new Descriptors(64),
    crypto,
    clock,
    log: silentLogger,
    onLost: () => undefined,
  }).then(
    async (terminator) => {
      await terminator[Symbol.asyncDispose]();
      return 'started';
    },
    (error: unknown) => refusal(error),
  );
  links.responder.onRecord(() => undefined);
  for (const record of records) links.responder.send(record);
  for (let turns = 0; turns < 4; turns += 1) await settled();
  links.cut();
  const word = await starting;
  holds(listening.size === 0, 'something listens that nobody serves');
  return word;
}

const OBEDIENT: Terminator = {
  setPosture: () => undefined,
  judgeSessions: async () => undefined,
  identityRotated: () => undefined,
  drain: () => undefined,
  end: async () => undefined,
  drainAll: async () => undefined,
  dial: (_, signal) =>
    new Promise((resolve, reject) => {
      if (signal.aborted) reject(new ShellstreamError('CLOSED'));
      signal.addEventListener('abort', () => resolve(SESSION));
    }),
  streams: async () => [
    { id: 1, address: '10.2.0.10', port: 1, openedBy: 'peer', openedAtMs: 1, receivedBytes: 1n, sentBytes: 2n },
  ],
  load: async () => ({ pendingHandshakes: 1, streams: 1 }),
  onEvent: () => ({ [Symbol.dispose]: () => undefined }),
};

function count(link: Link): () => number {
  let seen = 0;
  link.onRecord(() => (seen += 1));
  return () => seen;
}

function refusal(error: unknown): string {
  if (!(error instanceof ShellstreamError)) throw error;
  return `${error.reason} ${error.message.replace(/"[^"]*"?|[0-9]+/g, '0').slice(0, 60)}`;
}
