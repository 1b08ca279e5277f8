/**
 * Custody of the log's keys: files of one line each, in the form that golang.org/x/mod/sumdb/note keeps them, for this user
 * alone. To change a key: make the new one, run with both (every checkpoint then bears both signatures, and who knows
 * either accepts it), tell the outsiders the new verifier key, then run with the new one alone.
 */
import { open, stat } from 'node:fs/promises';
import { dirname } from 'node:path';
import { ShellstreamError } from '../../protocol/errors.ts';
import {
  formatSecret,
  formatVerifierKey,
  hexId,
  type NoteSigner,
  parseSecret,
  type Sha256,
} from '../../protocol/evidence/index.ts';
import { noteSigner } from './ed25519.ts';
import { makeFolder, writeDurably } from './files.ts';

/** Writes a new key; refuses to write over one. Returns its verifier key, to be given to outsiders. */
export async function createLogKey(
  sha256: Sha256,
  randomBytes: (length: number) => Uint8Array,
  path: string,
  origin: string,
): Promise<string> {
  if (await exists(path)) throw refused(`${path}: there is a key already`);
  const seed = randomBytes(SEED_BYTES);
  const signer = noteSigner(sha256, origin, seed);
  const line = `${formatSecret(sha256, { name: origin, seed }, signer.publicKey)}\n`;
  seed.fill(0);
  await makeFolder(dirname(path), 0o700);
  await writeDurably(path, Buffer.from(line), { mode: 0o600 });
  return formatVerifierKey(signer);
}

/**
 * The keys that sign, first the current one. @throws ShellstreamError EVIDENCE_FAILED when a file is readable by others, is of
 * another log, or is no key; never with a part of the key.
 */
export async function loadLogKeys(sha256: Sha256, paths: readonly string[], origin: string): Promise<NoteSigner[]> {
  const signers: NoteSigner[] = [];
  for (const path of paths) {
    const signer = await loadKey(sha256, path);
    if (signer.name !== origin) throw refused(`${path}: the key is of ${signer.name}, not of ${origin}`);
    if (signers.some(({ id }) => id === signer.id)) throw refused(`${path}: the same key twice`);
    signers.push(signer);
  }
  if (signers.length === 0) throw refused('a log has at least one key');
  return signers;
}

/** One key, whoever's. @throws as {@link loadLogKeys} */
export async function loadKey(sha256: Sha256, path: string): Promise<NoteSigner> {
  return readKey(sha256, path, await readPrivate(path));
}

const SEED_BYTES = 32;
const MAX_FILE_BYTES = 1_024;

function readKey(sha256: Sha256, path: string, text: string): NoteSigner {
  let secret: ReturnType<typeof parseSecret>;
  try {
    secret = parseSecret(text.trimEnd());
  } catch (cause) {
    throw refused(`${path}: no signing key of a log`, cause);
  }
  const signer = noteSigner(sha256, secret.name, secret.seed);
  secret.seed.fill(0);
  if (hexId(signer.id) !== secret.id) throw refused(`${path}: the key is damaged, its id is another’s`);
  return signer;
}

async function readPrivate(path: string): Promise<string> {
  let file: Awaited<ReturnType<typeof open>>;
  try {
    file = await open(path, 'r');
  } catch (cause) {
    throw refused(`${path}: cannot be read`, cause);
  }
  try {
    // Of the file that was opened, not of whatever the path names by then.
    const { mode, uid, size } = await file.stat();
    if ((mode & 0o077) !== 0)
      throw refused(`${path}: others may read or change it (mode ${(mode & 0o777).toString(8)})`);
    if (uid !== process.getuid?.()) throw refused(`${path}: it belongs to user ${uid}`);
    if (size > MAX_FILE_BYTES) throw refused(`${path}: ${size} bytes are no key`);
    return await file.readFile('utf8');
  } finally {
    await file.close();
  }
}

async function exists(path: string): Promise<boolean> {
  try {
    await stat(path);
    return true;
  } catch {
    return false;
  }
}

function refused(what: string, cause?: unknown): ShellstreamError {
  return new ShellstreamError('EVIDENCE_FAILED', what, { cause });
}
