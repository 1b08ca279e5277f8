/**
 * HandshakeState of the Noise specification, section 5.3, without I/O. A handshake is a chain of states, each used
 * once: `writeMessage` and `readMessage` consume theirs and return the next, whose type says what is legal there.
 * A failed read returns undefined and ends the chain.
 */
import { HandshakeCore, type HandshakeParameters } from './core.ts';
import type { HandshakePattern, Role } from './patterns.ts';
import { type TransportCipher, transportCipher } from './transport.ts';

/** What every state tells. Keys and hashes are 32 bytes, copies of the caller's own. */
export interface HandshakeView {
  /** h as it stands in this state: after the prologue, or after the message that led here. */
  readonly handshakeHash: Uint8Array;
  /** Public part of the own static key; undefined in patterns without one. */
  readonly localStatic: Uint8Array | undefined;
  /** Undefined until the peer's message carried it, and nothing proves its owner before that message's payload was read. */
  readonly remoteStatic: Uint8Array | undefined;
  readonly remoteEphemeral: Uint8Array | undefined;
  /**
   * DH of the own ephemeral private key with any public key, for proofs bound to this handshake.
   * Undefined for a point of low order, and as long as there is no own ephemeral key.
   */
  ephemeralDh(publicKey: Uint8Array): Uint8Array | undefined;
}

/** Our turn. */
export interface Writing<Next> extends HandshakeView {
  readonly turn: 'write';
  /** `payload` is encrypted as far as the pattern allows here: not at all in a first message. At most 65535 bytes in all. */
  writeMessage(payload: Uint8Array): { readonly message: Uint8Array; readonly next: Next };
}

/** The peer's turn. */
export interface Reading<Next> extends HandshakeView {
  readonly turn: 'read';
  /** Undefined when the message is malformed, too long, holds a key of low order, or does not authenticate. Never throws on its content. */
  readMessage(message: Uint8Array): { readonly payload: Uint8Array; readonly next: Next } | undefined;
}

/** All messages are through. */
export interface Finished extends HandshakeView {
  readonly turn: 'none';
  split(): { readonly send: TransportCipher; readonly receive: TransportCipher; readonly handshakeHash: Uint8Array };
}

/** Some state of a pattern known at run time only. */
export type AnyState = Writing<AnyState> | Reading<AnyState> | Finished;

export function startHandshake(pattern: HandshakePattern, role: Role, parameters: HandshakeParameters): AnyState {
  return anyState(new HandshakeCore(pattern, role, parameters));
}

function anyState(core: HandshakeCore): AnyState {
  const turn = core.turn;
  if (turn === 'none') return finished(core);
  return turn === 'write' ? writing(core, anyState) : reading(core, anyState);
}

export function writing<Next>(core: HandshakeCore, then: (core: HandshakeCore) => Next): Writing<Next> {
  const position = core.position;
  return {
    turn: 'write',
    ...view(core),
    writeMessage(payload) {
      const message = core.writeMessage(position, payload);
      return { message, next: then(core) };
    },
  };
}

export function reading<Next>(core: HandshakeCore, then: (core: HandshakeCore) => Next): Reading<Next> {
  const position = core.position;
  return {
    turn: 'read',
    ...view(core),
    readMessage(message) {
      const payload = core.readMessage(position, message);
      return payload === undefined ? undefined : { payload, next: then(core) };
    },
  };
}

export function finished(core: HandshakeCore): Finished {
  const position = core.position;
  const seen = view(core);
  return {
    turn: 'none',
    ...seen,
    split() {
      const { send, receive } = core.split(position);
      return {
        send: transportCipher(send),
        receive: transportCipher(receive),
        handshakeHash: Uint8Array.from(seen.handshakeHash),
      };
    },
  };
}

function view(core: HandshakeCore): HandshakeView {
  return {
    handshakeHash: core.handshakeHash(),
    localStatic: core.localStatic,
    remoteStatic: core.remoteStatic,
    remoteEphemeral: core.remoteEphemeral,
    ephemeralDh: (publicKey) => core.ephemeralDh(publicKey),
  };
}
