/**
 * The log's key changed for another while the gateway runs. `begin` makes the next key beside the current one: from then on
 * every checkpoint bears both signatures, and who knows either believes it. When all outsiders have the new verifier key,
 * `finish` puts the next key in the place of the current one, which is gone then. A crash at any step leaves a log that one of
 * the two opens: what is published bears the next key's signature before the current key goes.
 */
import { rename, stat } from 'node:fs/promises';
import { dirname } from 'node:path';
import { ShellstreamError } from '../../protocol/errors.ts';
import { formatVerifierKey, type NoteSigner, openCheckpoint, type Sha256 } from '../../protocol/evidence/index.ts';
import type { CryptoProvider } from '../../protocol/noise/crypto.ts';
import { nodeEd25519 } from './ed25519.ts';
import { syncFolder } from './files.ts';
import { createLogKey, loadKey } from './keys.ts';

export const ROTATION_STEPS = ['begin', 'finish'] as const;
export type RotationStep = (typeof ROTATION_STEPS)[number];

export interface KeyPlace {
  readonly origin: string;
  /** Files, the current key first. */
  readonly keys: readonly string[];
}

/** Files of all keys that sign: those of the configuration, and the next one while there is one. */
export async function signingKeys(place: KeyPlace): Promise<readonly string[]> {
  const next = nextKey(place);
  return (await exists(next)) ? [...place.keys, next] : place.keys;
}

/** @throws ShellstreamError MALFORMED: it was begun already */
export async function makeNextKey(
  place: KeyPlace,
  crypto: Pick<CryptoProvider, 'sha256' | 'randomBytes'>,
): Promise<void> {
  const next = nextKey(place);
  if (await exists(next)) throw new ShellstreamError('MALFORMED', `a key is being changed already: ${next}`);
  await createLogKey(crypto.sha256, crypto.randomBytes, next, place.origin);
}

/** The next key, if what is published bears its signature. @throws ShellstreamError MALFORMED, EVIDENCE_FAILED */
export async function provenNextKey(
  place: KeyPlace,
  sha256: Sha256,
  published: Uint8Array | undefined,
): Promise<NoteSigner> {
  const next = nextKey(place);
  if (!(await exists(next))) throw new ShellstreamError('MALFORMED', 'no change of the key was begun');
  const key = await loadKey(sha256, next);
  const trust = { origin: place.origin, keys: [key], witnesses: [] };
  const opened = openCheckpoint(nodeEd25519, published ?? new Uint8Array(), trust);
  if ('refused' in opened) {
    throw new ShellstreamError('EVIDENCE_FAILED', `what is published does not bear ${formatVerifierKey(key)} yet`);
  }
  return key;
}

/** The former key is gone when this returns. */
export async function adoptNextKey(place: KeyPlace): Promise<void> {
  const current = currentKey(place);
  await rename(nextKey(place), current);
  await syncFolder(dirname(current));
}

function currentKey({ keys: [current] }: KeyPlace): string {
  if (current === undefined) throw new ShellstreamError('EVIDENCE_FAILED', 'a log has at least one key');
  return current;
}

function nextKey(place: KeyPlace): string {
  return `${currentKey(place)}.next`;
}

async function exists(path: string): Promise<boolean> {
  try {
    await stat(path);
    return true;
  } catch {
    return false;
  }
}
