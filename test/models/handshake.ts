/** What is asked of the models in `handshake/`: each as it is, under further losses, and with parts of it removed. */
import type { Change } from './mutant.ts';

export interface HandshakeCase {
  readonly model: 'confirm' | 'sat' | 'grant' | 'stolen-static' | 'wireguard' | 'reflection';
  /** Of the protocol: what is lost or removed. Empty: nothing. */
  readonly what: string;
  readonly changes: readonly Change[];
  /** How many runs of each principal at once, for each peer it may have. */
  readonly sessions: 1 | 2;
  /** The queries that an attack must be found for; all others that are asked must hold. */
  readonly attacked: readonly string[];
  /** Absent: all of the model's. */
  readonly asked?: readonly string[];
}

const NOTHING = '';
const removed = (line: string): Change => ({ from: `\t${line}\n`, to: '' });

const RI_SECRET = 'confidentiality? r_i';
const SAT_SECRET = 'confidentiality? sat';
const CONFIRM_AGREED = 'authentication? Alice -> Bob: confirm';
const BUT_THE_SAT: readonly string[] = [
  RI_SECRET,
  'authentication? Bob -> Alice: sig_b',
  'authentication? Bob -> Alice: static_b',
  CONFIRM_AGREED,
];
const ALARM = 'confidentiality? alarm';

/** The initiator's evidence says nothing of the handshake any more. */
const NO_TRANSCRIPT_IN_CONFIRM: readonly Change[] = [
  { from: 'CONCAT(role_i, h2_a, HASH(body_a))', to: 'CONCAT(role_i, HASH(body_a))' },
  { from: 'CONCAT(role_i, h2_b, HASH(body_b))', to: 'CONCAT(role_i, HASH(body_b))' },
];
const NO_NONCE: readonly Change[] = [removed('_ = ASSERT(nonce_seen, nonce)?')];
const NO_RESPONDER_ID: readonly Change[] = [removed('_ = ASSERT(responder_seen, id_b)?')];
const NO_SAT: readonly Change[] = [removed('_ = SIGNVERIF(issuer_a, CONCAT(id_b, h2_b), sat_seen)?')];
const SATS_STOLEN: readonly Change[] = [
  { from: '\tgenerates e_i, r_i\n', to: '\tgenerates e_i, r_i\n\tleaks a_spire\n' },
];

export const HANDSHAKE: readonly HandshakeCase[] = [
  { model: 'confirm', what: NOTHING, changes: [], sessions: 1, attacked: [] },
  {
    model: 'confirm',
    what: 'without the static key in the responder’s evidence',
    changes: [
      { from: 'CONCAT(role_r, h1_b, static_b, nonce)', to: 'CONCAT(role_r, h1_b, nonce)' },
      { from: 'CONCAT(role_r, h1_a, static_b, nonce)', to: 'CONCAT(role_r, h1_a, nonce)' },
    ],
    sessions: 1,
    attacked: [RI_SECRET, SAT_SECRET, 'authentication? Bob -> Alice: static_b'],
    asked: [RI_SECRET, SAT_SECRET, 'authentication? Bob -> Alice: static_b'],
  },
  {
    model: 'confirm',
    what: 'without the dialler’s pin: any valid SVID passes for the responder’s',
    changes: [
      { from: '\tgenerates nonce\n', to: '\tgenerates nonce\n\tid_shown = PUBKEY(b)\n' },
      { from: 'Bob -> Alice: static_b, nonce, sig_b', to: 'Bob -> Alice: id_shown, static_b, nonce, sig_b' },
      { from: 'SIGNVERIF(responder, ', to: 'SIGNVERIF(id_shown, ' },
    ],
    sessions: 1,
    attacked: [RI_SECRET, SAT_SECRET, 'authentication? Bob -> Alice: sig_b', 'authentication? Bob -> Alice: static_b'],
    asked: [RI_SECRET, SAT_SECRET, 'authentication? Bob -> Alice: sig_b', 'authentication? Bob -> Alice: static_b'],
  },
  { model: 'confirm', what: 'every SAT stolen', changes: SATS_STOLEN, sessions: 1, attacked: [], asked: BUT_THE_SAT },
  {
    model: 'confirm',
    what: 'every SAT stolen, without the initiator’s signature',
    changes: [...SATS_STOLEN, removed('_ = SIGNVERIF(id_a, CONCAT(role_i, h2_b, HASH(body_b)), sig_seen)?')],
    sessions: 1,
    attacked: [CONFIRM_AGREED],
    asked: [CONFIRM_AGREED],
  },
  {
    model: 'confirm',
    what: 'relay, with nothing but the transcript in the signature against it',
    changes: [...NO_NONCE, ...NO_RESPONDER_ID, ...NO_SAT],
    sessions: 1,
    attacked: [],
  },
  {
    model: 'confirm',
    what: 'relay, with nothing but the bound SAT against it',
    changes: [...NO_TRANSCRIPT_IN_CONFIRM, ...NO_NONCE, ...NO_RESPONDER_ID],
    sessions: 1,
    attacked: [],
  },
  {
    model: 'confirm',
    what: 'relay, with nothing but the nonce against it',
    changes: [...NO_TRANSCRIPT_IN_CONFIRM, ...NO_RESPONDER_ID, ...NO_SAT],
    sessions: 1,
    attacked: [CONFIRM_AGREED],
    asked: [CONFIRM_AGREED],
  },
  { model: 'sat', what: NOTHING, changes: [], sessions: 2, attacked: [] },
  {
    model: 'sat',
    what: 'with SATs not bound to their handshake',
    changes: [
      { from: 'SIGN(a_spire, CONCAT(id_b, h2_a))', to: 'SIGN(a_spire, id_b)' },
      { from: 'SIGNVERIF(issuer_a, CONCAT(id_b, h2_b), sat)', to: 'SIGNVERIF(issuer_a, id_b, sat)' },
    ],
    sessions: 2,
    attacked: ['authentication? Alice -> Bob: e1'],
  },
  { model: 'grant', what: NOTHING, changes: [], sessions: 1, attacked: [] },
  {
    model: 'grant',
    what: 'without the static key in the initiator’s evidence',
    changes: [{ from: ', static_a, HASH(nonce, r_i))', to: ', HASH(nonce, r_i))' }],
    sessions: 1,
    attacked: ['confidentiality? r_r', 'confidentiality? psk_b', 'authentication? Alice -> Bob: static_a'],
    asked: ['confidentiality? r_r', 'confidentiality? psk_b', 'authentication? Alice -> Bob: static_a'],
  },
  {
    model: 'grant',
    what: 'without the body in the initiator’s evidence',
    changes: [{ from: ', static_a, HASH(nonce, r_i))', to: ', static_a, nonce)' }],
    sessions: 1,
    attacked: ['authentication? Alice -> Bob: r_i'],
    asked: ['authentication? Alice -> Bob: r_i'],
  },
  {
    model: 'grant',
    what: 'without transcript and nonce in the initiator’s evidence',
    changes: [
      { from: 'CONCAT(role_i, h2_a, static_a, HASH(nonce, r_i))', to: 'CONCAT(role_i, static_a, HASH(r_i))' },
      { from: 'CONCAT(role_i, h2_b, static_a, HASH(nonce, r_i))', to: 'CONCAT(role_i, static_a, HASH(r_i))' },
    ],
    sessions: 2,
    attacked: ['authentication? Alice -> Bob: sig_a', 'authentication? Alice -> Bob: r_i'],
    asked: ['authentication? Alice -> Bob: sig_a', 'authentication? Alice -> Bob: r_i'],
  },
  { model: 'stolen-static', what: NOTHING, changes: [], sessions: 2, attacked: [] },
  {
    model: 'stolen-static',
    what: 'without the transcript in the responder’s evidence',
    changes: [
      { from: 'CONCAT(role_r, h1_b, static_b)', to: 'CONCAT(role_r, static_b)' },
      { from: 'CONCAT(role_r, h1_a, static_b)', to: 'CONCAT(role_r, static_b)' },
    ],
    sessions: 1,
    attacked: [RI_SECRET, 'authentication? Bob -> Alice: verify'],
    asked: [RI_SECRET, 'authentication? Bob -> Alice: verify'],
  },
  {
    model: 'stolen-static',
    what: 'with the responder’s evidence in the clear',
    changes: [{ from: 'Bob -> Alice: e2, static_b, n2, verify', to: 'Bob -> Alice: e2, static_b, n2, verify, sig_b' }],
    sessions: 1,
    attacked: [RI_SECRET, 'authentication? Bob -> Alice: verify'],
    asked: [RI_SECRET, 'authentication? Bob -> Alice: verify'],
  },
  {
    model: 'stolen-static',
    what: 'without the initiator’s signature',
    changes: [removed('_ = SIGNVERIF(id_a, CONCAT(role_i, h2_b, r_i_seen), sig_seen_b)?')],
    sessions: 1,
    attacked: [CONFIRM_AGREED],
    asked: [CONFIRM_AGREED],
  },
  { model: 'wireguard', what: NOTHING, changes: [], sessions: 2, attacked: [] },
  {
    model: 'wireguard',
    what: 'without the proof of the key',
    changes: [removed('_ = ASSERT(MAC(DH_KEX(wg_m, e_r), h2_b), proof_m)?')],
    sessions: 1,
    attacked: [ALARM],
    asked: [ALARM],
  },
  {
    model: 'wireguard',
    what: 'without the transcript in the proof',
    changes: [
      { from: 'MAC(DH_KEX(wg_m, e_r), h2_b)', to: 'MAC(DH_KEX(wg_m, e_r), offer)' },
      { from: 'MAC(DH_KEX(e2_m, wg_secret_a), h2_a)', to: 'MAC(DH_KEX(e2_m, wg_secret_a), offer)' },
      { from: 'MAC(DH_KEX(e2, wg_secret_m), h2_m)', to: 'MAC(DH_KEX(e2, wg_secret_m), offer)' },
    ],
    sessions: 1,
    attacked: [ALARM],
    asked: [ALARM],
  },
  { model: 'reflection', what: NOTHING, changes: [], sessions: 1, attacked: [] },
  {
    model: 'reflection',
    what: 'without the role byte',
    changes: [
      { from: 'CONCAT(role_i, body_i)', to: 'HASH(body_i)' },
      { from: 'CONCAT(role_r, body_r)', to: 'HASH(body_r)' },
    ],
    sessions: 1,
    attacked: ['authentication? Bob -> Alice: body_r'],
    asked: ['authentication? Bob -> Alice: body_r'],
  },
];
