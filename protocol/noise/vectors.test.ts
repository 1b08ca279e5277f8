import { readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { PROVIDERS } from '../../src/base/crypto-under-test.ts';
import type { CryptoProvider } from './crypto.ts';
import { type AnyState, type Finished, startHandshake } from './handshake.ts';
import { PATTERNS, type Role } from './patterns.ts';

interface Vector {
  readonly protocol_name: string;
  readonly init_prologue: string;
  readonly init_static?: string;
  readonly init_ephemeral: string;
  readonly init_remote_static?: string;
  readonly resp_prologue: string;
  readonly resp_static?: string;
  readonly resp_ephemeral?: string;
  readonly resp_remote_static?: string;
  readonly handshake_hash: string;
  readonly messages: readonly { readonly payload: string; readonly ciphertext: string }[];
}

const FILE = new URL('../vectors/noise/cacophony-25519-chachapoly-sha256.json', import.meta.url);
const { vectors }: { vectors: readonly Vector[] } = JSON.parse(readFileSync(FILE, 'utf8'));
const withoutPsk = vectors.filter((vector) => !vector.protocol_name.includes('psk'));

test('the file holds the 38 vectors without a pre-shared key, one for each pattern', () => {
  expect(withoutPsk).toHaveLength(38);
  expect(withoutPsk.map(patternName).sort()).toEqual([...PATTERNS.keys()].sort());
});

describe.each(PROVIDERS.map(({ provider }) => [provider.name, provider] as const))(
  'with %s, every message of the public vectors, written by one side and read by the other',
  (_, crypto) => {
    test.each(withoutPsk.map((vector) => [patternName(vector), vector] as const))('%s', (name, vector) => {
      let initiator = start(crypto, name, 'initiator', vector);
      let responder = start(crypto, name, 'responder', vector);
      const messages = [...vector.messages];

      while (initiator.turn !== 'none' || responder.turn !== 'none') {
        const next = messages.shift();
        if (next === undefined) throw new Error('the vector ended inside the handshake');
        if (initiator.turn === 'write') [initiator, responder] = exchange(initiator, responder, next);
        else [responder, initiator] = exchange(responder, initiator, next);
      }
      expect(hex(initiator.handshakeHash)).toBe(vector.handshake_hash);
      expect(hex(responder.handshakeHash)).toBe(vector.handshake_hash);

      checkTransport(initiator, responder, messages, vector.messages.length - messages.length);
    });
  },
);

function exchange(writer: AnyState, reader: AnyState, vector: Vector['messages'][number]): [AnyState, AnyState] {
  if (writer.turn !== 'write' || reader.turn !== 'read') throw new Error('both sides want the same turn');
  const written = writer.writeMessage(unhex(vector.payload));
  expect(hex(written.message)).toBe(vector.ciphertext);
  const read = reader.readMessage(written.message);
  if (read === undefined) throw new Error('a message of the vector was refused');
  expect(hex(read.payload)).toBe(vector.payload);
  return [written.next, read.next];
}

/** Turns go on alternating after the handshake; in one-way patterns, those of a single message, the initiator alone sends. */
function checkTransport(
  initiator: Finished,
  responder: Finished,
  messages: readonly Vector['messages'][number][],
  handshakeLength: number,
): void {
  const ends = [initiator.split(), responder.split()] as const;
  const oneWay = handshakeLength === 1;
  messages.forEach((vector, index) => {
    const initiatorSends = oneWay || (index + handshakeLength) % 2 === 0;
    const [from, to] = initiatorSends ? ends : [ends[1], ends[0]];
    const sealed = from.send.seal(unhex(vector.payload));
    expect(hex(sealed)).toBe(vector.ciphertext);
    expect(hex(to.receive.open(sealed) ?? new Uint8Array())).toBe(vector.payload);
  });
}

function start(crypto: CryptoProvider, name: string, role: Role, vector: Vector): AnyState {
  const pattern = PATTERNS.get(name);
  if (pattern === undefined) throw new Error(`no pattern ${name}`);
  const initiating = role === 'initiator';
  const prologue = initiating ? vector.init_prologue : vector.resp_prologue;
  const staticKey = initiating ? vector.init_static : vector.resp_static;
  const remoteStatic = initiating ? vector.init_remote_static : vector.resp_remote_static;
  const ephemeral = initiating ? vector.init_ephemeral : vector.resp_ephemeral;
  return startHandshake(pattern, role, {
    crypto,
    prologue: unhex(prologue),
    ...(staticKey === undefined ? {} : { staticKey: crypto.x25519FromPrivate(unhex(staticKey)) }),
    ...(remoteStatic === undefined ? {} : { remoteStatic: unhex(remoteStatic) }),
    ...(ephemeral === undefined ? {} : { ephemeralKey: crypto.x25519FromPrivate(unhex(ephemeral)) }),
  });
}

function patternName(vector: Vector): string {
  return vector.protocol_name.split('_')[1] ?? '';
}

function hex(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString('hex');
}

function unhex(text: string): Uint8Array {
  return Uint8Array.from(Buffer.from(text, 'hex'));
}
