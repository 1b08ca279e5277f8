/**
 * The handshake patterns of the Noise specification (revision 34, sections 7.4, 7.5 and 18.1) as data.
 * shellstream/1 speaks XX only (`xx.ts`); the others are here because the public vectors of all of them prove the
 * machinery that XX runs on. Patterns with pre-shared keys are left out: the machinery has no `psk` token.
 */
export type Token = 'e' | 's' | 'ee' | 'es' | 'se' | 'ss';
export type Role = 'initiator' | 'responder';

export interface HandshakePattern {
  readonly name: string;
  /** The name that starts the transcript, in ASCII, e.g. Noise_XX_25519_ChaChaPoly_SHA256. */
  readonly protocolName: Uint8Array;
  /** Whose static public key the other side holds beforehand. */
  readonly known: readonly Role[];
  /** Messages in turn, the initiator's first. */
  readonly messages: readonly (readonly Token[])[];
}

export const XX = pattern('XX', [], [['e'], ['e', 'ee', 's', 'es'], ['s', 'se']]);

const NOBODY: readonly Role[] = [];
const INITIATOR: readonly Role[] = ['initiator'];
const RESPONDER: readonly Role[] = ['responder'];
const BOTH: readonly Role[] = ['initiator', 'responder'];

// biome-ignore format: one pattern a line, as in the specification
const ROWS: readonly (readonly [string, readonly Role[], readonly (readonly Token[])[]])[] = [
  // one-way, section 7.4
  ['N',    RESPONDER, [['e', 'es']]],
  ['K',    BOTH,      [['e', 'es', 'ss']]],
  ['X',    RESPONDER, [['e', 'es', 's', 'ss']]],
  // interactive, section 7.5
  ['NN',   NOBODY,    [['e'], ['e', 'ee']]],
  ['NK',   RESPONDER, [['e', 'es'], ['e', 'ee']]],
  ['NX',   NOBODY,    [['e'], ['e', 'ee', 's', 'es']]],
  ['XN',   NOBODY,    [['e'], ['e', 'ee'], ['s', 'se']]],
  ['XK',   RESPONDER, [['e', 'es'], ['e', 'ee'], ['s', 'se']]],
  ['KN',   INITIATOR, [['e'], ['e', 'ee', 'se']]],
  ['KK',   BOTH,      [['e', 'es', 'ss'], ['e', 'ee', 'se']]],
  ['KX',   INITIATOR, [['e'], ['e', 'ee', 'se', 's', 'es']]],
  ['IN',   NOBODY,    [['e', 's'], ['e', 'ee', 'se']]],
  ['IK',   RESPONDER, [['e', 'es', 's', 'ss'], ['e', 'ee', 'se']]],
  ['IX',   NOBODY,    [['e', 's'], ['e', 'ee', 'se', 's', 'es']]],
  // deferred, section 18.1
  ['NK1',  RESPONDER, [['e'], ['e', 'ee', 'es']]],
  ['NX1',  NOBODY,    [['e'], ['e', 'ee', 's'], ['es']]],
  ['X1N',  NOBODY,    [['e'], ['e', 'ee'], ['s'], ['se']]],
  ['X1K',  RESPONDER, [['e', 'es'], ['e', 'ee'], ['s'], ['se']]],
  ['XK1',  RESPONDER, [['e'], ['e', 'ee', 'es'], ['s', 'se']]],
  ['X1K1', RESPONDER, [['e'], ['e', 'ee', 'es'], ['s'], ['se']]],
  ['X1X',  NOBODY,    [['e'], ['e', 'ee', 's', 'es'], ['s'], ['se']]],
  ['XX1',  NOBODY,    [['e'], ['e', 'ee', 's'], ['es', 's', 'se']]],
  ['X1X1', NOBODY,    [['e'], ['e', 'ee', 's'], ['es', 's'], ['se']]],
  ['K1N',  INITIATOR, [['e'], ['e', 'ee'], ['se']]],
  ['K1K',  BOTH,      [['e', 'es'], ['e', 'ee'], ['se']]],
  ['KK1',  BOTH,      [['e'], ['e', 'ee', 'se', 'es']]],
  ['K1K1', BOTH,      [['e'], ['e', 'ee', 'es'], ['se']]],
  ['K1X',  INITIATOR, [['e'], ['e', 'ee', 's', 'es'], ['se']]],
  ['KX1',  INITIATOR, [['e'], ['e', 'ee', 'se', 's'], ['es']]],
  ['K1X1', INITIATOR, [['e'], ['e', 'ee', 's'], ['se', 'es']]],
  ['I1N',  NOBODY,    [['e', 's'], ['e', 'ee'], ['se']]],
  ['I1K',  RESPONDER, [['e', 'es', 's'], ['e', 'ee'], ['se']]],
  ['IK1',  RESPONDER, [['e', 's'], ['e', 'ee', 'se', 'es']]],
  ['I1K1', RESPONDER, [['e', 's'], ['e', 'ee', 'es'], ['se']]],
  ['I1X',  NOBODY,    [['e', 's'], ['e', 'ee', 's', 'es'], ['se']]],
  ['IX1',  NOBODY,    [['e', 's'], ['e', 'ee', 'se', 's'], ['es']]],
  ['I1X1', NOBODY,    [['e', 's'], ['e', 'ee', 's'], ['se', 'es']]],
];

/** All patterns by name. */
export const PATTERNS: ReadonlyMap<string, HandshakePattern> = new Map([
  ['XX', XX],
  ...ROWS.map(([name, known, messages]): [string, HandshakePattern] => [name, pattern(name, known, messages)]),
]);

function pattern(name: string, known: readonly Role[], messages: readonly (readonly Token[])[]): HandshakePattern {
  const protocolName = new TextEncoder().encode(`Noise_${name}_25519_ChaChaPoly_SHA256`);
  return { name, protocolName, known, messages };
}
