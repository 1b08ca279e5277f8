/** How a node's evidence is opened: keys, then spool, then those who are asked to cosign what is published. */
import { stat } from 'node:fs/promises';
import { join } from 'node:path';
import type { NoteSigner } from '../../protocol/evidence/index.ts';
import type { CryptoProvider } from '../../protocol/noise/crypto.ts';
import type { Clock } from '../base/clock.ts';
import { nodeEd25519 } from './ed25519.ts';
import type { EvidencePlace } from './evidence-place.ts';
import { createLogKey, loadLogKeys } from './keys.ts';
import { signingKeys } from './rotation.ts';
import { Spool, type SpoolParts } from './spool.ts';
import { witnessAt } from './witness-http.ts';
import { Witnesses } from './witnesses.ts';

export interface OpenedSpool {
  readonly spool: Spool;
  readonly signers: readonly NoteSigner[];
  /** Of its database. */
  readonly path: string;
}

/** @throws ShellstreamError EVIDENCE_FAILED */
export async function openSpool(
  place: EvidencePlace,
  { sha256, randomBytes }: CryptoProvider,
  timed: NonNullable<SpoolParts['timed']>,
): Promise<OpenedSpool> {
  const { origin, budgetBytes } = place;
  const path = join(place.directory, 'spool', 'evidence.db');
  // A spool that has lost its key is not given another one: nobody could tell it from one that was put in its place.
  if (!(await exists(path))) {
    for (const key of place.keys) {
      if (!(await exists(key))) await createLogKey(sha256, randomBytes, key, origin);
    }
  }
  const signers = await loadLogKeys(sha256, await signingKeys(place), origin);
  const reserveBytes = Math.min(Math.floor(budgetBytes / RESERVE_SHARE), MOST_RESERVE);
  const room = { budgetBytes, reserveBytes };
  return {
    spool: Spool.open({ path, sha256, ed25519: nodeEd25519, randomBytes, origin, signers, timed, ...room }),
    signers,
    path,
  };
}

/** Undefined where nobody is to be asked. */
export function witnessesOf(
  { witnesses }: EvidencePlace,
  { sha256 }: CryptoProvider,
  clock: Clock,
): Witnesses | undefined {
  if (witnesses === undefined) return undefined;
  const { quorum, timeoutMs, ask } = witnesses;
  const all = ask.map(({ key, url }) => ({ key, ask: witnessAt(url, timeoutMs, clock) }));
  return new Witnesses({ sha256, ed25519: nodeEd25519, clock, quorum, all });
}

/** One eighth of the budget is for what may not be refused; more than the ends of as many sessions as there can be, never. */
const RESERVE_SHARE = 8;
const MOST_RESERVE = 32 * 2 ** 20;

async function exists(path: string): Promise<boolean> {
  try {
    await stat(path);
    return true;
  } catch {
    return false;
  }
}
