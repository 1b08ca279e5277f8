import { assertNever, ShellstreamError } from '../errors.ts';
import type { AeadKey, CryptoProvider, SymmetricState, X25519KeyPair } from './crypto.ts';
import { isLowOrder } from './low-order.ts';
import type { HandshakePattern, Role, Token } from './patterns.ts';
import { initializeSymmetric } from './symmetric.ts';
import { MAX_MESSAGE_LENGTH } from './transport.ts';

export interface HandshakeParameters {
  readonly crypto: CryptoProvider;
  /** What both sides must agree on beforehand; mixed into h. */
  readonly prologue: Uint8Array;
  readonly staticKey?: X25519KeyPair;
  /** The peer's static public key, in patterns that know it beforehand. */
  readonly remoteStatic?: Uint8Array;
  /** A fixed ephemeral key: for test vectors only, a reused one gives the session away. */
  readonly ephemeralKey?: X25519KeyPair;
}

/** Bytes of an X25519 public key. */
const KEY_LENGTH = 32;

/**
 * The machine behind the states of `handshake.ts`. Each call names the position its state stood at: a state used
 * twice, or used after a failure, is a fault of the caller and throws.
 */
export class HandshakeCore {
  readonly #pattern: HandshakePattern;
  readonly #role: Role;
  readonly #crypto: CryptoProvider;
  readonly #symmetric: SymmetricState;
  readonly #static: X25519KeyPair | undefined;
  readonly #fixedEphemeral: X25519KeyPair | undefined;
  #ephemeral: X25519KeyPair | undefined;
  #remoteStatic: Uint8Array | undefined;
  #remoteEphemeral: Uint8Array | undefined;
  #position = 0;
  #ended = false;

  constructor(pattern: HandshakePattern, role: Role, parameters: HandshakeParameters) {
    this.#pattern = pattern;
    this.#role = role;
    this.#crypto = parameters.crypto;
    this.#static = parameters.staticKey;
    this.#remoteStatic = copy(parameters.remoteStatic);
    this.#fixedEphemeral = parameters.ephemeralKey;
    this.#symmetric = initializeSymmetric(parameters.crypto, pattern.protocolName);
    this.#symmetric.mixHash(parameters.prologue);
    for (const owner of pattern.known) {
      this.#symmetric.mixHash(
        owner === role ? needed(this.#static, 'static key').publicKey : needed(this.#remoteStatic, 'remote static key'),
      );
    }
  }

  get position(): number {
    return this.#position;
  }

  get turn(): 'write' | 'read' | 'none' {
    if (this.#position === this.#pattern.messages.length) return 'none';
    return (this.#position % 2 === 0) === (this.#role === 'initiator') ? 'write' : 'read';
  }

  get localStatic(): Uint8Array | undefined {
    return copy(this.#static?.publicKey);
  }

  get remoteStatic(): Uint8Array | undefined {
    return copy(this.#remoteStatic);
  }

  get remoteEphemeral(): Uint8Array | undefined {
    return copy(this.#remoteEphemeral);
  }

  handshakeHash(): Uint8Array {
    return this.#symmetric.handshakeHash();
  }

  ephemeralDh(publicKey: Uint8Array): Uint8Array | undefined {
    return this.#ephemeral?.dh(publicKey);
  }

  writeMessage(position: number, payload: Uint8Array): Uint8Array {
    const tokens = this.#take(position, 'write');
    const parts: Uint8Array[] = [];
    for (const token of tokens) {
      switch (token) {
        case 'e':
          this.#ephemeral = this.#fixedEphemeral ?? this.#crypto.x25519Generate();
          parts.push(this.#ephemeral.publicKey);
          this.#symmetric.mixHash(this.#ephemeral.publicKey);
          break;
        case 's':
          parts.push(this.#symmetric.encryptAndHash(needed(this.#static, 'static key').publicKey));
          break;
        case 'ee':
        case 'es':
        case 'se':
        case 'ss':
          // Unreachable through the peer: its keys were checked when they were read.
          if (!this.#mixDh(token)) throw this.#fail('a DH result is all zero');
          break;
        default:
          assertNever(token);
      }
    }
    const message = concat([...parts, this.#symmetric.encryptAndHash(payload)]);
    if (message.length > MAX_MESSAGE_LENGTH) throw this.#fail('a handshake message is too long');
    return message;
  }

  readMessage(position: number, message: Uint8Array): Uint8Array | undefined {
    const tokens = this.#take(position, 'read');
    const payload = message.length > MAX_MESSAGE_LENGTH ? undefined : this.#read(tokens, message);
    if (payload === undefined) this.#end();
    return payload;
  }

  split(position: number): { readonly send: AeadKey; readonly receive: AeadKey } {
    if (this.#ended || position !== this.#position || this.turn !== 'none')
      throw this.#fail('a handshake state was used twice');
    this.#ended = true;
    const { initiatorToResponder, responderToInitiator } = this.#symmetric.split();
    return this.#role === 'initiator'
      ? { send: initiatorToResponder, receive: responderToInitiator }
      : { send: responderToInitiator, receive: initiatorToResponder };
  }

  #read(tokens: readonly Token[], message: Uint8Array): Uint8Array | undefined {
    let offset = 0;
    for (const token of tokens) {
      switch (token) {
        case 'e': {
          const key = Uint8Array.from(message.subarray(offset, offset + KEY_LENGTH));
          offset += KEY_LENGTH;
          if (!isPublicKey(key)) return undefined;
          this.#remoteEphemeral = key;
          this.#symmetric.mixHash(key);
          break;
        }
        case 's': {
          const length = KEY_LENGTH + this.#symmetric.tagLength;
          const sealed = message.subarray(offset, offset + length);
          offset += length;
          const key = sealed.length === length ? this.#symmetric.decryptAndHash(sealed) : undefined;
          if (key === undefined || !isPublicKey(key)) return undefined;
          this.#remoteStatic = key;
          break;
        }
        case 'ee':
        case 'es':
        case 'se':
        case 'ss':
          if (!this.#mixDh(token)) return undefined;
          break;
        default:
          assertNever(token);
      }
    }
    return this.#symmetric.decryptAndHash(message.subarray(offset));
  }

  /** The first letter is the initiator's key, the second the responder's. */
  #mixDh(token: 'ee' | 'es' | 'se' | 'ss'): boolean {
    const initiating = this.#role === 'initiator';
    const ownIsStatic = token[initiating ? 0 : 1] === 's';
    const remoteIsStatic = token[initiating ? 1 : 0] === 's';
    const own = ownIsStatic ? needed(this.#static, 'static key') : needed(this.#ephemeral, 'ephemeral key');
    const remote = remoteIsStatic ? this.#remoteStatic : this.#remoteEphemeral;
    return this.#symmetric.mixDh(own, needed(remote, 'remote key'));
  }

  /** Consumes the state at `position`: from here on there is the next one, or none. */
  #take(position: number, turn: 'write' | 'read'): readonly Token[] {
    const tokens = this.#pattern.messages[position];
    if (this.#ended || position !== this.#position || this.turn !== turn || tokens === undefined) {
      throw this.#fail('a handshake state was used twice');
    }
    this.#position += 1;
    return tokens;
  }

  #end(): void {
    this.#ended = true;
    this.#symmetric.destroy();
    this.#ephemeral = undefined;
  }

  #fail(detail: string): ShellstreamError {
    this.#end();
    return new ShellstreamError('INTERNAL', detail);
  }
}

function isPublicKey(bytes: Uint8Array): boolean {
  return bytes.length === KEY_LENGTH && !isLowOrder(bytes);
}

function copy(bytes: Uint8Array | undefined): Uint8Array | undefined {
  return bytes === undefined ? undefined : Uint8Array.from(bytes);
}

function needed<T>(value: T | undefined, what: string): T {
  if (value === undefined) throw new ShellstreamError('INTERNAL', `the handshake pattern needs a ${what}`);
  return value;
}

function concat(parts: readonly Uint8Array[]): Uint8Array {
  const whole = new Uint8Array(parts.reduce((length, part) => length + part.length, 0));
  let offset = 0;
  for (const part of parts) {
    whole.set(part, offset);
    offset += part.length;
  }
  return whole;
}
