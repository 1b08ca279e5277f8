import { readFileSync } from 'node:fs';
import { ed25519 } from '@noble/curves/ed25519.js';
import { describe, expect, it } from 'vitest';
import { ShellstreamError } from '../errors.ts';
import { utf8 } from './bytes.ts';
import { formatCheckpoint, parseCheckpoint } from './checkpoint.ts';
import { cosign, verifyCosignatures } from './cosignature.ts';
import { nobleEd25519 } from './ed25519.ts';
import { LOG_KEY, ORIGIN, sha256, signer, WITNESS, withWrongSignature } from './fixtures.ts';
import { formatNote, parseNote, signNote, verifyNote } from './note.ts';
import { formatSecret, formatVerifierKey, noteKey, parseSecret, parseVerifierKey } from './note-key.ts';

const PUBLIC: { verifierKey: string; signingKey: string; text: string; note: string } = JSON.parse(
  readFileSync(new URL('../vectors/tlog/note.json', import.meta.url), 'utf8'),
);
const TEXT = `${ORIGIN}\n3\nAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n`;

describe('a signed note', () => {
  it('of golang.org/x/mod verifies, and is signed again to the byte', () => {
    const key = parseVerifierKey(sha256, PUBLIC.verifierKey);
    const note = parseNote(utf8(PUBLIC.note));
    expect(note.text).toBe(PUBLIC.text);
    expect(verifyNote(nobleEd25519, note, [key])).toEqual({ signedBy: [key] });
    const { seed, id } = parseSecret(PUBLIC.signingKey);
    expect(id).toBe('c74f20a3');
    const signed = signNote(PUBLIC.text, [{ ...key, sign: (message) => ed25519.sign(message, seed) }]);
    expect(formatNote(signed)).toEqual(utf8(PUBLIC.note));
    expect(formatVerifierKey(key)).toBe(PUBLIC.verifierKey);
    expect(formatSecret(sha256, { name: key.name, seed }, key.publicKey)).toBe(PUBLIC.signingKey);
  });

  it('with a second signature by a key not known is believed for the first', () => {
    const stranger = signer('log', 'stranger.example/log', 9);
    const note = signNote(TEXT, [stranger, LOG_KEY]);
    expect(verifyNote(nobleEd25519, note, [LOG_KEY])).toMatchObject({ signedBy: [{ name: ORIGIN }] });
  });

  it('is refused when nobody known signed it, or one of the known wrongly', () => {
    const next = signer('log', ORIGIN, 3);
    const note = signNote(TEXT, [LOG_KEY, next]);
    expect(verifyNote(nobleEd25519, note, [WITNESS])).toEqual({ refused: 'no known key signed it' });
    const wrong = parseNote(withWrongSignature(formatNote(note)));
    expect(verifyNote(nobleEd25519, wrong, [LOG_KEY, next])).toHaveProperty('refused');
    expect(verifyNote(nobleEd25519, wrong, [LOG_KEY])).toHaveProperty('signedBy');
    expect(verifyNote(nobleEd25519, { ...note, text: note.text.replace('3', '4') }, [LOG_KEY])).toHaveProperty(
      'refused',
    );
  });

  it.each([
    ['no signature', TEXT],
    ['no empty line', `${TEXT}— a AAAAAAA=\n`],
    ['no last newline', `${TEXT}\n— a AAAAAAA=`],
    ['a hyphen for the dash', `${TEXT}\n- a AAAAAAA=\n`],
    ['a key name with a plus', `${TEXT}\n— a+b AAAAAAA=\n`],
    ['a key name with a space of another script', `${TEXT}\n— a\u2003b AAAAAAA=\n`],
    ['a second spelling of the same bytes', `${TEXT}\n— a AAAAAAB=\n`],
    ['base64 without its padding', `${TEXT}\n— a AAAAAAA\n`],
    ['a signature that is a key id alone', `${TEXT}\n— a AAAAAA==\n`],
    ['a control character', `a\tb\n\n— a AAAAAAA=\n`],
    ['65 signatures', `${TEXT}\n${'— a AAAAAAA=\n'.repeat(65)}`],
    ['more bytes than a reader should keep', `${'x'.repeat(131_072)}\n\n— a AAAAAAA=\n`],
  ])('is no note with %s', (_, text) => {
    expect(() => parseNote(utf8(text))).toThrow(ShellstreamError);
  });

  it('is no note when it is not UTF-8', () => {
    expect(() => parseNote(Uint8Array.of(0xff, 0x0a, 0x0a))).toThrow('not UTF-8');
  });

  it('splits at the last empty line: a text may have its own', () => {
    const text = `${TEXT}\nextension\n`;
    expect(parseNote(formatNote(signNote(text, [LOG_KEY]))).text).toBe(text);
  });
});

describe('a verifier key', () => {
  it('is read as it is written', () => {
    for (const key of [LOG_KEY, WITNESS]) {
      const { type, name, id, publicKey } = key;
      expect(parseVerifierKey(sha256, formatVerifierKey(key))).toEqual({ type, name, id, publicKey });
    }
  });

  it.each([
    ['an id of another key', formatVerifierKey({ ...LOG_KEY, id: LOG_KEY.id ^ 1 })],
    ['a type that is none of ours', 'PeterNeumann+173116ae+ZRpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW'],
    ['a key of another length', 'PeterNeumann+cc469956+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TWBADKEY=='],
    ['a type exchanged for the other', formatVerifierKey({ ...LOG_KEY, type: 'cosigner' })],
    ['nothing', ''],
  ])('with %s is refused', (_, text) => {
    expect(() => parseVerifierKey(sha256, text)).toThrow(ShellstreamError);
  });

  it('has no name that a note could not carry', () => {
    for (const name of ['', 'a b', 'a+b', 'a\nb', '\u00a0', 'x'.repeat(256)]) {
      expect(() => noteKey(sha256, 'log', name, new Uint8Array(32))).toThrow(ShellstreamError);
    }
  });

  it('that does not parse is not repeated in the error: it may be secret', () => {
    const text = `${PUBLIC.signingKey.slice(0, -8)}********`;
    const error = catches(() => parseSecret(text));
    expect(String(error)).not.toContain('AYEKFALVFGyN');
  });
});

describe('a checkpoint', () => {
  const checkpoint = { origin: ORIGIN, size: 20_852_163, root: new Uint8Array(32).fill(7), extensions: ['one', 'two'] };

  it('is read as it is written', () => {
    expect(parseCheckpoint(formatCheckpoint(checkpoint))).toEqual(checkpoint);
  });

  it.each([
    ['a size with a leading zero', TEXT.replace('\n3\n', '\n03\n')],
    ['a negative size', TEXT.replace('\n3\n', '\n-3\n')],
    ['a size above what is exact', TEXT.replace('\n3\n', '\n9007199254740993\n')],
    ['a size in another notation', TEXT.replace('\n3\n', '\n3e1\n')],
    ['no origin', TEXT.replace(ORIGIN, '')],
    ['a root of 31 bytes', `${ORIGIN}\n3\n${btoa('x'.repeat(31))}\n`],
    ['no root', `${ORIGIN}\n3\n`],
    ['an empty extension', `${TEXT}\n`],
    ['no newline', TEXT.slice(0, -1)],
  ])('with %s is refused', (_, text) => {
    expect(() => parseCheckpoint(text)).toThrow(ShellstreamError);
  });
});

describe('a cosignature', () => {
  const cosigned = (time = 1_700_000_000) => {
    const note = signNote(TEXT, [LOG_KEY]);
    return { ...note, signatures: [...note.signatures, cosign(WITNESS, TEXT, time)] };
  };

  it('of a known witness tells when it was given', () => {
    const { good, wrong } = verifyCosignatures(nobleEd25519, cosigned(), [WITNESS]);
    expect(good).toMatchObject([{ witness: { name: WITNESS.name }, time: 1_700_000_000 }]);
    expect(wrong).toEqual([]);
  });

  it('counts once, however often it is there: one witness is no quorum of two', () => {
    const note = cosigned();
    const doubled = { ...note, signatures: [...note.signatures, cosign(WITNESS, TEXT, 1_700_000_001)] };
    expect(verifyCosignatures(nobleEd25519, doubled, [WITNESS]).good).toHaveLength(1);
  });

  it('of another checkpoint, at another time, or cut is wrong, and its witness is named', () => {
    const note = cosigned();
    expect(verifyCosignatures(nobleEd25519, { ...note, text: TEXT.replace('3', '4') }, [WITNESS]).wrong).toEqual([
      WITNESS.name,
    ]);
    const last = note.signatures.at(-1)?.signature ?? new Uint8Array();
    for (const signature of [last.slice(0, -1), Uint8Array.from(last, (byte, i) => (i === 7 ? byte ^ 1 : byte))]) {
      const spoilt = { ...note, signatures: [{ name: WITNESS.name, keyId: WITNESS.id, signature }] };
      expect(verifyCosignatures(nobleEd25519, spoilt, [WITNESS])).toEqual({ good: [], wrong: [WITNESS.name] });
    }
  });

  it('is not the log’s own signature under another name, nor the other way round', () => {
    const same = { ...signer('cosigner', ORIGIN, 1) };
    const [own] = signNote(TEXT, [LOG_KEY]).signatures;
    const passedOff = { text: TEXT, signatures: [{ ...(own ?? fail()), keyId: same.id }] };
    expect(verifyCosignatures(nobleEd25519, passedOff, [same]).good).toEqual([]);
    const reverse = { text: TEXT, signatures: [{ ...cosign(same, TEXT, 1), keyId: LOG_KEY.id }] };
    expect(verifyNote(nobleEd25519, reverse, [LOG_KEY])).toHaveProperty('refused');
  });
});

function catches(action: () => unknown): unknown {
  try {
    return action();
  } catch (error) {
    return error;
  }
}

function fail(): never {
  throw new Error('a note without its signature');
}
