/**
 * What a browser verifies a log with: one module, without anything of Node (deploy/build.sh makes it:
 * `dist/browser/verify-log.js`). Hashes and signatures are @noble's: WebCrypto answers later, and a tree is not checked in
 * as many turns as it has leaves.
 */
import { ShellstreamError } from '../errors.ts';
import type { CryptoProvider } from '../noise/crypto.ts';
import { nobleCrypto } from '../noise/crypto-noble.ts';
import { nobleEd25519 } from './ed25519.ts';
import { describeFinding } from './finding.ts';
import type { LogSource } from './log-source.ts';
import { MemoryLog } from './memory-log.ts';
import { type NoteKey, parseVerifierKey } from './note-key.ts';
import { bundlePath, tilePath } from './tile.ts';
import { type LogReport, verifyLog } from './verify-log.ts';

export { auditRecords } from './audit.ts';
export { checkRecords } from './record-check.ts';
export { MemoryLog };

/** For `auditRecords`, by whoever was given records. */
export const crypto: Pick<CryptoProvider, 'sha256' | 'hmacSha256'> = nobleCrypto(() => {
  throw new ShellstreamError('INTERNAL', 'who verifies draws nothing');
});

export interface BrowserVerification {
  readonly source: LogSource;
  /** The log that it must be. */
  readonly origin: string;
  /** Verifier keys of the log, `NAME+ID+KEY`. */
  readonly keys: readonly string[];
  /** Of witnesses. */
  readonly witnesses?: readonly string[];
  readonly quorum?: number;
  /** Checkpoints kept from earlier. */
  readonly held?: readonly Uint8Array[];
  readonly minimumIndex?: number;
}

/** As `shellstream verify-log`; `told` are the findings in words. @throws ShellstreamError MALFORMED for a key that is none */
export async function verify(parts: BrowserVerification): Promise<LogReport & { readonly told: readonly string[] }> {
  const { source, origin, keys, witnesses = [], quorum = 0, held = [], minimumIndex = 0 } = parts;
  const { sha256 } = crypto;
  const known = (type: NoteKey['type']) => (text: string) => {
    const key = parseVerifierKey(sha256, text);
    if (key.type !== type) throw new ShellstreamError('MALFORMED', `the key of ${key.name} is one of a ${key.type}`);
    return key;
  };
  const trust = { origin, keys: keys.map(known('log')), witnesses: witnesses.map(known('cosigner')) };
  const report = await verifyLog({ sha256, ed25519: nobleEd25519, source, trust, quorum, held, minimumIndex });
  return { ...report, told: report.findings.map(describeFinding) };
}

/** What of `fetch` is used. */
export type FetchFile = (url: string) => Promise<{
  readonly ok: boolean;
  readonly status: number;
  arrayBuffer(): Promise<ArrayBuffer>;
}>;

/** A log as its server has it, c2sp.org/tlog-tiles. @param prefix of its URL, without a slash at its end */
export function logAt(prefix: string, fetchFile: FetchFile): LogSource {
  const file = async (path: string): Promise<Uint8Array | undefined> => {
    const answer = await fetchFile(`${prefix}/${path}`);
    if (answer.ok) return new Uint8Array(await answer.arrayBuffer());
    if (answer.status === 404) return undefined;
    throw new ShellstreamError('EVIDENCE_FAILED', `${path}: status ${answer.status}`);
  };
  return {
    checkpoint: () => file('checkpoint'),
    tile: (tile) => file(tilePath(tile)),
    entries: (bundle) => file(bundlePath(bundle)),
  };
}
