/** `verify-log` for files on a disk: by the node itself, or by an auditor with a copy and the keys. */
import { ShellstreamError } from '../../protocol/errors.ts';
import {
  type LogReport,
  MAX_NOTE_BYTES,
  type NoteKey,
  parseVerifierKey,
  type Sha256,
  type VerifyLog,
  verifyLog,
} from '../../protocol/evidence/index.ts';
import { nodeEd25519 } from './ed25519.ts';
import { readBounded } from './files.ts';
import { LogDirectory } from './log-directory.ts';

export interface VerifyDirectory {
  readonly sha256: Sha256;
  /** Folder of the log. */
  readonly path: string;
  readonly origin: string;
  /** Verifier keys of the log, `NAME+ID+KEY`. */
  readonly keys: readonly string[];
  /** Verifier keys of witnesses. */
  readonly witnesses?: readonly string[];
  /** Cosignatures that must be there. */
  readonly quorum?: number;
  /** Files with checkpoints kept from earlier. */
  readonly held?: readonly string[];
  readonly minimumIndex?: number;
  readonly onEntry?: VerifyLog['onEntry'];
}

/** @throws ShellstreamError MALFORMED for a key that is none, EVIDENCE_FAILED for a file that cannot be read. */
export async function verifyLogDirectory(parts: VerifyDirectory): Promise<LogReport> {
  const { sha256, path, origin, witnesses = [], quorum = 0, held = [], minimumIndex = 0 } = parts;
  const keys = parts.keys.map((key) => keyOf(sha256, key, 'log'));
  const trust = { origin, keys, witnesses: witnesses.map((key) => keyOf(sha256, key, 'cosigner')) };
  const kept = await Promise.all(held.map(readHeld));
  return verifyLog({
    sha256,
    ed25519: nodeEd25519,
    source: new LogDirectory(path),
    trust,
    quorum,
    held: kept,
    minimumIndex,
    ...(parts.onEntry === undefined ? {} : { onEntry: parts.onEntry }),
  });
}

function keyOf(sha256: Sha256, text: string, type: NoteKey['type']): NoteKey {
  const key = parseVerifierKey(sha256, text);
  if (key.type !== type) throw new ShellstreamError('MALFORMED', `the key of ${key.name} is one of a ${key.type}`);
  return key;
}

async function readHeld(path: string): Promise<Uint8Array> {
  try {
    return await readBounded(path, MAX_NOTE_BYTES + 1);
  } catch (cause) {
    throw new ShellstreamError('EVIDENCE_FAILED', `${path} cannot be read`, { cause });
  }
}
