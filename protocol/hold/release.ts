/**
 * The document that ends a hold: a signed note (c2sp.org/signed-note) of the held site's site_owner. It goes by any way
 * at all but the session that was cut, and counts once.
 */
import { ShellstreamError } from '../errors.ts';
import type { Ed25519 } from '../evidence/ed25519.ts';
import { formatNote, type Note, parseNote, signNote, verifyNote } from '../evidence/note.ts';
import type { NoteKey, NoteSigner } from '../evidence/note-key.ts';
import { parseSpiffeId, type SpiffeId } from '../identity/spiffe-id.ts';
import { isPostureLevel, LOCKDOWN, type PostureLevel } from '../posture/level.ts';
import type { Hold } from './hold.ts';

export interface Release {
  readonly hold: string;
  readonly peer: SpiffeId;
  readonly anchor: SpiffeId;
  /** Of the held site now. */
  readonly level: PostureLevel;
  /** Wall time, milliseconds. */
  readonly expiresAtMs: number;
}

/** Two identities of 2,048 bytes, and signatures. */
export const MAX_RELEASE_BYTES = 8_192;
/** A used release is remembered until it has expired: this bounds for how long. */
export const LONGEST_RELEASE_MS = 7 * 86_400_000;

export function signRelease(release: Release, signer: NoteSigner): Uint8Array {
  return formatNote(signNote(releaseText(release), [signer]));
}

/** Nothing of it is believed yet. @throws ShellstreamError MALFORMED */
export function parseRelease(bytes: Uint8Array): { readonly release: Release; readonly note: Note } {
  if (bytes.length > MAX_RELEASE_BYTES) throw malformed(`${bytes.length} bytes, at most ${MAX_RELEASE_BYTES}`);
  const note = parseNote(bytes);
  const [, hold, peerText = '', anchorText = '', levelText, expires] = FORM.exec(note.text) ?? [];
  const [peer, anchor] = [parseSpiffeId(peerText), parseSpiffeId(anchorText)];
  const [level, expiresAtMs] = [Number(levelText), Number(expires)];
  if (hold === undefined || peer === undefined || anchor === undefined || !isPostureLevel(level)) {
    throw malformed('the lines of a release');
  }
  return { release: { hold, peer, anchor, level, expiresAtMs }, note };
}

/** What the anchor knows when a release comes. */
export interface ReleaseWorld {
  readonly ed25519: Ed25519;
  readonly now: number;
  /** The hold that stands of that peer by a DRAIN. */
  readonly standing: Hold | undefined;
  /** Of the peer's site_owner, by the anchor's configuration. */
  readonly keys: readonly NoteKey[];
  readonly isSpent: boolean;
}

/**
 * Each line is a refusal. The signature comes first: who cannot sign learns nothing of holds.
 * @throws ShellstreamError RELEASE_UNTRUSTED, RELEASE_EXPIRED, RELEASE_LEVEL, RELEASE_SPENT, RELEASE_MISMATCH
 */
export function judgeRelease(release: Release, note: Note, world: ReleaseWorld): void {
  const { ed25519, now, standing, keys, isSpent } = world;
  const verdict = verifyNote(ed25519, note, keys);
  if ('refused' in verdict) throw new ShellstreamError('RELEASE_UNTRUSTED', verdict.refused);
  const { expiresAtMs, level, hold, peer, anchor } = release;
  if (expiresAtMs <= now) throw new ShellstreamError('RELEASE_EXPIRED');
  if (expiresAtMs > now + LONGEST_RELEASE_MS) {
    throw new ShellstreamError('RELEASE_EXPIRED', 'it is good for longer than seven days');
  }
  if (level === LOCKDOWN) throw new ShellstreamError('RELEASE_LEVEL');
  if (isSpent) throw new ShellstreamError('RELEASE_SPENT');
  if (standing?.id !== hold) throw new ShellstreamError('RELEASE_MISMATCH', 'no such hold stands');
  if (standing.peer !== peer || standing.anchor !== anchor) {
    throw new ShellstreamError('RELEASE_MISMATCH', 'the identities are not those of the hold');
  }
}

function releaseText({ hold, peer, anchor, level, expiresAtMs }: Release): string {
  return `${HEADING}\nhold ${hold}\npeer ${peer}\nanchor ${anchor}\nlevel ${level}\nexpires ${expiresAtMs}\n`;
}

const HEADING = 'shellstream/1 release';
const FORM = new RegExp(
  `^${HEADING}\nhold ([0-9a-f]{32})\npeer (\\S{1,2048})\nanchor (\\S{1,2048})\nlevel ([1-5])\nexpires ([1-9]\\d{0,15})\n$`,
);

function malformed(what: string): ShellstreamError {
  return new ShellstreamError('MALFORMED', `release: ${what}`);
}
