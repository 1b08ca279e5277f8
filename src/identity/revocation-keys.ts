/**
 * The private keys of an issuer of revocations: a file of one line for this user alone,
 * `shellstream-revocation-key ISSUER SEED`, the seed 32 bytes in base64.
 */
import { open } from 'node:fs/promises';
import { ShellstreamError } from '../../protocol/errors.ts';
import { fromBase64, toBase64 } from '../../protocol/evidence/bytes.ts';
import { parseSpiffeId, type SpiffeId } from '../../protocol/identity/spiffe-id.ts';
import { type Ed25519Signer, ed25519Signer } from '../base/ed25519.ts';

export interface RevocationKey extends Ed25519Signer {
  readonly issuer: SpiffeId;
}

/** Writes a new key; refuses to write over anything. Answers its public half, in base64, as a configuration names it. */
export async function createRevocationKey(
  path: string,
  issuer: SpiffeId,
  randomBytes: (length: number) => Uint8Array,
): Promise<string> {
  const seed = randomBytes(SEED_BYTES);
  try {
    await using file = await open(path, 'wx', 0o600);
    await file.writeFile(`${WORD} ${issuer} ${toBase64(seed)}\n`);
    await file.sync();
  } catch (cause) {
    throw new ShellstreamError('INTERNAL', `${path}: ${cause instanceof Error ? cause.message : 'not written'}`, {
      cause,
    });
  }
  const { publicKey } = ed25519Signer(seed);
  seed.fill(0);
  return toBase64(publicKey);
}

/** @throws ShellstreamError INTERNAL when it cannot be read, others may read it, or it is no key; never with a part of it */
export async function loadRevocationKey(path: string): Promise<RevocationKey> {
  const text = await readPrivate(path);
  const [word, issuerText = '', encoded = '', ...more] = text.trimEnd().split(' ');
  const [issuer, seed] = [parseSpiffeId(issuerText), fromBase64(encoded)];
  if (word !== WORD || issuer === undefined || seed?.length !== SEED_BYTES || more.length > 0) {
    throw unusable(path, 'no key of an issuer of revocations');
  }
  const signer = ed25519Signer(seed);
  seed.fill(0);
  return { ...signer, issuer };
}

const WORD = 'shellstream-revocation-key';
const SEED_BYTES = 32;
const MAX_FILE_BYTES = 4_096;

async function readPrivate(path: string): Promise<string> {
  await using file = await open(path, 'r').catch((cause: unknown) => {
    throw unusable(path, cause instanceof Error ? cause.message : 'cannot be read');
  });
  // Of the file that was opened, not of whatever the path names by then.
  const { mode, size } = await file.stat();
  if ((mode & 0o077) !== 0) throw unusable(path, `others may read or change it (mode ${(mode & 0o777).toString(8)})`);
  if (size > MAX_FILE_BYTES) throw unusable(path, `${size} bytes are no key`);
  return await file.readFile('utf8');
}

function unusable(path: string, why: string): ShellstreamError {
  return new ShellstreamError('INTERNAL', `${path}: ${why}`);
}
