import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { nodeCrypto as crypto } from '../../src/base/crypto-node.ts';
import { ShellstreamError } from '../errors.ts';
import { MAX_MESSAGE_LENGTH, MAX_PLAINTEXT_LENGTH, noiseXX } from './index.ts';
import { transportCipher } from './transport.ts';

const prologue = ascii('shellstream/1');
const staticOfInitiator = crypto.x25519Generate();
const staticOfResponder = crypto.x25519Generate();

describe('XX between two honest sides', () => {
  test('both learn the other’s keys, the same hash after each message, and the payloads', () => {
    const { one, readOne, two, readTwo, three, readThree } = wholeHandshake();
    expect(text(readOne.payload)).toBe('one');
    expect(text(readTwo.payload)).toBe('two');
    expect(text(readThree.payload)).toBe('three');
    expect(hex(one.next.handshakeHash)).toBe(hex(readOne.next.handshakeHash));
    expect(hex(two.next.handshakeHash)).toBe(hex(readTwo.next.handshakeHash));
    expect(hex(three.next.handshakeHash)).toBe(hex(readThree.next.handshakeHash));
    expect(new Set([one, two, three].map(({ next }) => hex(next.handshakeHash))).size).toBe(3);

    expect(readOne.next.remoteStatic).toBeUndefined();
    expect(hex(readTwo.next.remoteStatic)).toBe(hex(staticOfResponder.publicKey));
    expect(hex(readThree.next.remoteStatic)).toBe(hex(staticOfInitiator.publicKey));
    expect(hex(readOne.next.localStatic)).toBe(hex(staticOfResponder.publicKey));
    expect(hex(readOne.next.remoteEphemeral)).toBe(hex(one.message.subarray(0, 32)));
    expect(hex(readTwo.next.remoteEphemeral)).toBe(hex(two.message.subarray(0, 32)));
  });

  test('a third key can prove itself against the ephemeral keys, from either side', () => {
    const { one, two, readTwo } = wholeHandshake();
    const third = crypto.x25519Generate();
    expect(hex(two.next.ephemeralDh(third.publicKey))).toBe(hex(third.dh(two.message.subarray(0, 32))));
    expect(hex(readTwo.next.ephemeralDh(third.publicKey))).toBe(hex(third.dh(one.message.subarray(0, 32))));
  });

  test('another prologue, another transcript: message 2 is refused', () => {
    const one = initiator().writeMessage(ascii('one'));
    const other = noiseXX.responder({ crypto, prologue: ascii('shellstream/2'), staticKey: staticOfResponder });
    const two = must(other.readMessage(one.message)).next.writeMessage(ascii('two'));
    expect(one.next.readMessage(two.message)).toBeUndefined();
  });

  test('what a caller does to a hash or key it was given changes nothing inside', () => {
    const one = initiator().writeMessage(ascii('one'));
    const readOne = must(responder().readMessage(one.message));
    one.next.handshakeHash.fill(0);
    one.next.localStatic?.fill(0);
    readOne.next.remoteEphemeral?.fill(0);
    one.message.fill(0);
    const two = readOne.next.writeMessage(ascii('two'));
    expect(text(must(one.next.readMessage(two.message)).payload)).toBe('two');
  });
});

describe('an attacker on the path', () => {
  test('flips any one bit of message 2 or 3: refused; of message 1: refused by the time of message 2', () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 3 }), fc.nat(), (which, position) => {
        expect(outcome((number, message) => (number === which ? flipBit(message, position) : message))).not.toBe(
          'done',
        );
      }),
    );
  });

  test('truncates any message: refused', () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 3 }), fc.nat(), (which, position) => {
        const cut = (number: number, message: Uint8Array): Uint8Array =>
          number === which ? message.subarray(0, position % message.length) : message;
        expect(outcome(cut)).not.toBe('done');
      }),
    );
  });

  test('appends bytes to any message: refused', () => {
    for (const which of [1, 2, 3]) {
      const grown = (number: number, message: Uint8Array): Uint8Array =>
        number === which ? Buffer.concat([message, Buffer.of(0)]) : message;
      expect(outcome(grown)).not.toBe('done');
    }
  });

  test('replays or reorders messages of this or another handshake: refused', () => {
    const other = wholeHandshake();
    const recorded = [other.one.message, other.two.message, other.three.message];
    for (const which of [2, 3]) {
      for (const stale of recorded) {
        expect(outcome((number, message) => (number === which ? stale : message))).not.toBe('done');
      }
    }
  });

  test('reflects the initiator’s own first message as message 2: refused', () => {
    const one = initiator().writeMessage(new Uint8Array(120));
    expect(one.next.readMessage(one.message)).toBeUndefined();
  });

  test.each([
    '00'.repeat(32),
    `01${'00'.repeat(31)}`,
    'e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800',
    '5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157',
    `ec${'ff'.repeat(30)}7f`,
    `ed${'ff'.repeat(30)}7f`,
    `ee${'ff'.repeat(30)}7f`,
  ])('sends the ephemeral key %s of low order: refused when read, with either top bit', (point) => {
    for (const topBit of [0, 0x80]) {
      const key = Buffer.from(point, 'hex');
      key.writeUInt8((key[31] ?? 0) | topBit, 31);
      expect(crypto.x25519Generate().dh(key)).toBeUndefined();
      expect(responder().readMessage(key)).toBeUndefined();
    }
  });

  test('sends a message longer than 65535 bytes: refused, though it would parse', () => {
    expect(
      responder().readMessage(initiator().writeMessage(new Uint8Array(MAX_MESSAGE_LENGTH - 32)).message),
    ).toBeDefined();
    const tooLong = Buffer.concat([crypto.x25519Generate().publicKey, new Uint8Array(MAX_MESSAGE_LENGTH - 31)]);
    expect(responder().readMessage(tooLong)).toBeUndefined();
  });
});

describe('a state is used once', () => {
  test('a second write, a second read and a second split throw and end the handshake', () => {
    const start = initiator();
    const one = start.writeMessage(ascii('one'));
    expect(() => start.writeMessage(ascii('again'))).toThrow(ShellstreamError);
    const two = must(responder().readMessage(one.message)).next.writeMessage(ascii('two'));
    expect(() => one.next.readMessage(two.message)).toThrow(ShellstreamError);

    const { one: first, readOne, readThree } = wholeHandshake();
    expect(() => readOne.next.writeMessage(ascii('two'))).toThrow(ShellstreamError);
    expect(() => first.next.readMessage(ascii('two'))).toThrow(ShellstreamError);
    expect(() => readThree.next.split()).toThrow(ShellstreamError);

    const done = wholeHandshake().readThree.next;
    done.split();
    expect(() => done.split()).toThrow(ShellstreamError);
  });

  test('after a refused message the state is dead: the genuine one is too late', () => {
    const one = initiator().writeMessage(ascii('one'));
    const two = must(responder().readMessage(one.message)).next.writeMessage(ascii('two'));
    expect(one.next.readMessage(flipBit(two.message, 300))).toBeUndefined();
    expect(one.next.ephemeralDh(staticOfResponder.publicKey)).toBeUndefined();
    expect(() => one.next.readMessage(two.message)).toThrow(ShellstreamError);
  });

  test('a payload that makes the message longer than 65535 bytes is not written', () => {
    expect(() => initiator().writeMessage(new Uint8Array(MAX_MESSAGE_LENGTH))).toThrow(ShellstreamError);
  });
});

describe('the transport', () => {
  test('flipping, cutting, replaying, swapping or reflecting a message kills the receiving cipher', () => {
    fc.assert(
      fc.property(
        fc.uint8Array({ minLength: 1, maxLength: 100 }),
        fc.nat(),
        fc.nat(4),
        (plaintext, position, attack) => {
          const { initiatorEnd, responderEnd } = ends();
          const [a, b] = [initiatorEnd.send.seal(plaintext), initiatorEnd.send.seal(plaintext)];
          const forged = [
            flipBit(a, position),
            a.subarray(0, position % a.length),
            b,
            Buffer.concat([a, a]),
            responderEnd.send.seal(plaintext),
          ];
          expect(responderEnd.receive.open(forged[attack] ?? a)).toBeUndefined();
          expect(responderEnd.receive.open(a)).toBeUndefined();
        },
      ),
    );
  });

  test('a replayed message is refused after it was opened once', () => {
    const { initiatorEnd, responderEnd } = ends();
    const sealed = initiatorEnd.send.seal(ascii('pay'));
    expect(text(must(responderEnd.receive.open(sealed)))).toBe('pay');
    expect(responderEnd.receive.open(sealed)).toBeUndefined();
  });

  test('associated data must be the same', () => {
    const { initiatorEnd, responderEnd } = ends();
    expect(responderEnd.receive.open(initiatorEnd.send.seal(ascii('x'), ascii('a')), ascii('b'))).toBeUndefined();
  });

  test('the longest message passes, a longer one is neither sealed nor opened', () => {
    const { initiatorEnd, responderEnd } = ends();
    const longest = initiatorEnd.send.seal(new Uint8Array(MAX_PLAINTEXT_LENGTH));
    expect(longest).toHaveLength(MAX_MESSAGE_LENGTH);
    expect(responderEnd.receive.open(longest)).toHaveLength(MAX_PLAINTEXT_LENGTH);
    expect(() => initiatorEnd.send.seal(new Uint8Array(MAX_PLAINTEXT_LENGTH + 1))).toThrow(ShellstreamError);
    const key = crypto.aead(new Uint8Array(32));
    const genuine = key.seal(0n, new Uint8Array(), new Uint8Array(MAX_PLAINTEXT_LENGTH + 1));
    expect(transportCipher(key).open(genuine)).toBeUndefined();
  });

  test('a key is never used at counter 2^64 - 1, neither to seal nor to open', () => {
    const key = crypto.aead(new Uint8Array(32));
    const last = 2n ** 64n - 2n;
    const [sender, receiver] = [transportCipher(key, last), transportCipher(key, last)];
    expect(text(must(receiver.open(sender.seal(ascii('last')))))).toBe('last');
    expect(() => sender.seal(ascii('one too many'))).toThrow(ShellstreamError);
    expect(receiver.open(key.seal(last + 1n, new Uint8Array(), ascii('one too many')))).toBeUndefined();
  });
});

function initiator() {
  return noiseXX.initiator({ crypto, prologue, staticKey: staticOfInitiator });
}

function responder() {
  return noiseXX.responder({ crypto, prologue, staticKey: staticOfResponder });
}

function wholeHandshake() {
  const one = initiator().writeMessage(ascii('one'));
  const readOne = must(responder().readMessage(one.message));
  const two = readOne.next.writeMessage(ascii('two'));
  const readTwo = must(one.next.readMessage(two.message));
  const three = readTwo.next.writeMessage(ascii('three'));
  const readThree = must(two.next.readMessage(three.message));
  return { one, readOne, two, readTwo, three, readThree };
}

function ends() {
  const { three, readThree } = wholeHandshake();
  return { initiatorEnd: three.next.split(), responderEnd: readThree.next.split() };
}

/** Runs a handshake through an attacker and tells at which message it ended. */
function outcome(attacker: (number: number, message: Uint8Array) => Uint8Array): number | 'done' {
  const one = initiator().writeMessage(ascii('one'));
  const readOne = responder().readMessage(attacker(1, one.message));
  if (readOne === undefined) return 1;
  const two = readOne.next.writeMessage(ascii('two'));
  const readTwo = one.next.readMessage(attacker(2, two.message));
  if (readTwo === undefined) return 2;
  const three = readTwo.next.writeMessage(ascii('three'));
  return two.next.readMessage(attacker(3, three.message)) === undefined ? 3 : 'done';
}

function flipBit(message: Uint8Array, position: number): Uint8Array {
  const bit = position % (message.length * 8);
  return message.map((byte, index) => (index === bit >> 3 ? byte ^ (1 << (bit & 7)) : byte));
}

function must<T>(value: T | undefined): T {
  if (value === undefined) throw new Error('refused');
  return value;
}

function hex(bytes: Uint8Array | undefined): string {
  return Buffer.from(must(bytes)).toString('hex');
}

function text(bytes: Uint8Array): string {
  return new TextDecoder().decode(bytes);
}

function ascii(string: string): Uint8Array {
  return new TextEncoder().encode(string);
}
