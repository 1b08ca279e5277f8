/** What gateways and askers send to Quartermaster: submissions, questions, cursors, tokens. The first byte chooses which. */
import { fromBinary, toBinary } from '@bufbuild/protobuf';
import { ShellstreamError } from '../../protocol/errors.ts';
import {
  QueryRequestSchema,
  SubmitRequestSchema,
} from '../../protocol/gen/shellstream/quartermaster/v1/quartermaster_pb.ts';
import {
  formatCursor,
  issueRequestToken,
  parseCursor,
  parseQuestion,
  parseSubmission,
  questionKey,
  SUBMIT_LIMITS,
  verifyRequestToken,
} from '../../protocol/quartermaster/index.ts';
import { nodeEd25519, noteSigner } from '../../src/evidence/ed25519.ts';
import { sha256 } from '../../src/evidence/fixtures.ts';
import {
  mutationEntry,
  QUARTERMASTER,
  spiffeId,
  submitRequest,
  transitEntry,
} from '../../src/quartermaster/fixtures.ts';
import { attempt, holds, type OpenTarget } from '../target.ts';
import { ascii, fill } from './examples.ts';

const REASONS = ['MALFORMED', 'CAPABILITY_NOT_GRANTED', 'REQUEST_TOKEN_INVALID', 'REQUEST_TOKEN_EXPIRED'] as const;
const OPERATOR = spiffeId('spiffe://alpha.example/operator/one');
const ISSUER = noteSigner(sha256, 'issuer.alpha.example', fill(4));
const TRUST = { sha256, ed25519: nodeEd25519, issuers: [ISSUER], audience: QUARTERMASTER };
const NOW = 1_800_000_000_000;
const TERMS = {
  id: fill(1, 16),
  subject: OPERATOR,
  audience: QUARTERMASTER,
  notBeforeMs: NOW,
  expiresAtMs: NOW + 1_000,
};
const HONEST = issueRequestToken(ISSUER, TERMS);
const KEY = ascii('question');
const text = (bytes: Uint8Array): string => new TextDecoder().decode(bytes);

/** Each reads the bytes, checks what it took, and says what that was. */
const KINDS: readonly ((bytes: Uint8Array) => string)[] = [
  (bytes) => {
    const { entries, first } = parseSubmission(decoded(() => fromBinary(SubmitRequestSchema, bytes)));
    holds(entries.length > 0 && entries.length <= SUBMIT_LIMITS.entries, 'a number of entries out of its limits');
    holds(Number.isSafeInteger(first + entries.length), 'a sequence out of range');
    for (const entry of entries) if (entry.what === 'record') holds(entry.facts.atMs >= 0, 'a time before all times');
    return `${Math.min(entries.length, 3)} of ${entries[0]?.what}`;
  },
  (bytes) => {
    const request = decoded(() => fromBinary(QueryRequestSchema, bytes));
    const question = parseQuestion(request, 'journeyman');
    holds(!question.wanted.kinds.has('consoleUse'), 'a kind that the tier does not see');
    holds(question.limit > 0 && question.limit <= 500, 'a page out of its limits');
    const { wanted, newestFirst } = question;
    holds(questionKey(wanted, newestFirst).length < 8_192, 'a question without bound');
    return `question of ${question.wanted.kinds.size}`;
  },
  (bytes) => {
    const cursor = parseCursor(text(bytes), KEY);
    holds(formatCursor(cursor, KEY) === text(bytes), 'a cursor with a second spelling');
    return 'cursor';
  },
  (bytes) => {
    const asked = { caller: OPERATOR, proposal: fill(2), now: NOW };
    const { id } = verifyRequestToken(TRUST, bytes, asked);
    // The signature binds the token; what is around it has one spelling too.
    holds(Buffer.compare(bytes, HONEST) === 0, 'a forged token is believed');
    return `token ${id.length}`;
  },
];

export const open: OpenTarget = async () => ({
  about: 'submissions, questions, cursors and request tokens of Quartermaster: bounded, none forged',
  covers: ['protocol/quartermaster/'],
  maxBytes: 8_192,
  dictionary: [
    'spiffe://alpha.example/operator/one',
    'alpha.example/evidence',
    'sessionTransit',
    Uint8Array.of(0xff, 0xff),
  ],
  seeds: [
    Uint8Array.of(0, ...toBinary(SubmitRequestSchema, submitRequest(7, [transitEntry(1), mutationEntry(2)]))),
    Uint8Array.of(1, ...toBinary(QueryRequestSchema, fromBinary(QueryRequestSchema, Uint8Array.of(0x18, 9)))),
    Uint8Array.of(2, ...ascii(formatCursor({ atMs: NOW, number: 12 }, KEY))),
    Uint8Array.of(3, ...HONEST),
  ],
  run(input) {
    const at = (input[0] ?? 0) % KINDS.length;
    const kind = KINDS[at];
    if (kind === undefined) return 'none';
    const read = attempt({ reasons: REASONS }, () => kind(input.subarray(1)));
    return `${at} ${'refusal' in read ? read.refusal : read.value}`;
  },
});

/** What the gRPC library refuses never comes to us. */
function decoded<T>(decode: () => T): T {
  try {
    return decode();
  } catch (cause) {
    throw new ShellstreamError('MALFORMED', 'no message', { cause });
  }
}
