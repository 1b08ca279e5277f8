/**
 * A copy of a node's evidence, and back. The keys are not in it: they have their own custody.
 *
 * What is put back must hold all that others saw of the log: the log that is still here, checkpoints that somebody kept, and
 * the configured witnesses. An older state would give second entries to numbers that are taken: such a log has ended, and
 * another one is begun under another name.
 */
import { cp, mkdir, rename, rm, stat } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { ShellstreamError } from '../../protocol/errors.ts';
import { describeFinding, type NoteSigner, type Sha256, verifyLog } from '../../protocol/evidence/index.ts';
import { nodeEd25519 } from './ed25519.ts';
import { makeFolder, syncFolder } from './files.ts';
import { LogDirectory } from './log-directory.ts';
import { Publisher } from './publisher.ts';
import { Spool } from './spool.ts';
import type { Witnesses } from './witnesses.ts';

export interface BackedUp {
  /** `spool/` and `log/` are in it; for this user alone. */
  readonly path: string;
  /** Entries of the log; those that came meanwhile may be in it too. */
  readonly size: number;
}

/** Copies what is there now into a folder that is made anew. The spool goes on recording meanwhile. */
export async function backUp(spool: Spool, logPath: string, path: string): Promise<BackedUp> {
  await rm(path, { recursive: true, force: true });
  await mkdir(join(path, 'spool'), { recursive: true, mode: 0o700 });
  // The log first: the spool that comes after holds at least what the copied checkpoint speaks of.
  const checkpoint = await new LogDirectory(logPath).checkpoint();
  if (checkpoint !== undefined) await copyLog(logPath, join(path, 'log'));
  const { size } = spool;
  await spool.copyTo(spoolOf(path));
  for (const folder of [join(path, 'spool'), path, dirname(path)]) await syncFolder(folder);
  return { path, size };
}

export interface RestoreParts {
  readonly sha256: Sha256;
  readonly randomBytes: (length: number) => Uint8Array;
  readonly origin: string;
  readonly signers: readonly NoteSigner[];
  readonly witnesses?: Witnesses;
  /** Where evidence is kept; what is there of a spool must have been put aside. */
  readonly directory: string;
  /** Checkpoints that somebody kept of this log. */
  readonly held: readonly Uint8Array[];
}

/**
 * Puts a copy in the place of what is gone; the gateway must not run. Returns the entries it holds.
 * @throws ShellstreamError EVIDENCE_ROLLED_BACK: somebody saw more of the log, or another one; EVIDENCE_FAILED: the copy is
 * damaged, or something is in its place. Nothing was changed then.
 */
export async function restore(from: string, parts: RestoreParts): Promise<number> {
  const { directory } = parts;
  if (await exists(spoolOf(directory))) {
    throw new ShellstreamError('EVIDENCE_FAILED', `${spoolOf(directory)}: there is a spool; put it aside first`);
  }
  const staging = join(directory, 'restoring');
  await rm(staging, { recursive: true, force: true });
  await makeFolder(staging, 0o700);
  try {
    await cp(from, staging, { recursive: true });
    const size = await judge(staging, parts);
    await rm(join(directory, 'log'), { recursive: true, force: true });
    // The log before the spool: a crash between leaves no spool, and so a place that can be restored into again.
    await rename(join(staging, 'log'), join(directory, 'log'));
    await rename(join(staging, 'spool'), join(directory, 'spool'));
    await syncFolder(directory);
    return size;
  } finally {
    await rm(staging, { recursive: true, force: true });
  }
}

/** The copy as a log of its own: whole, signed by our keys, and holding all that anybody saw. */
async function judge(staging: string, parts: RestoreParts): Promise<number> {
  const { sha256, randomBytes, origin, signers, witnesses, directory, held } = parts;
  if (!(await exists(spoolOf(staging)))) throw new ShellstreamError('EVIDENCE_FAILED', 'there is no spool in the copy');
  const shared = { sha256, ed25519: nodeEd25519, origin };
  using spool = Spool.open({ ...shared, path: spoolOf(staging), randomBytes, signers, ...NO_LIMITS });
  const path = join(staging, 'log');
  const asked = witnesses === undefined ? {} : { witnesses };
  const publisher = await Publisher.open({ ...shared, ...asked, path, spool, keys: signers });
  await publisher.publish();
  const here = await new LogDirectory(join(directory, 'log')).checkpoint();
  const { findings } = await verifyLog({
    ...shared,
    source: new LogDirectory(path),
    trust: { origin, keys: signers, witnesses: [] },
    held: here === undefined ? held : [...held, here],
    minimumIndex: spool.reader.firstEntry(),
  });
  const [first] = findings;
  if (first === undefined) return spool.size;
  const reason = first.kind === 'held' && first.what !== 'unreadable' ? 'EVIDENCE_ROLLED_BACK' : 'EVIDENCE_FAILED';
  throw new ShellstreamError(reason, describeFinding(first));
}

/** Files come and go while the log grows: one that is gone was a partial tile, and the spool has what was in it. */
async function copyLog(from: string, to: string): Promise<void> {
  for (let attempt = 1; ; attempt += 1) {
    try {
      return await cp(from, to, { recursive: true, force: true });
    } catch (error) {
      const code = error instanceof Error && 'code' in error ? error.code : undefined;
      if (code !== 'ENOENT' || attempt === COPY_ATTEMPTS) throw error;
    }
  }
}

const COPY_ATTEMPTS = 10;
/** A restored spool takes no more here. */
const NO_LIMITS = { budgetBytes: Number.MAX_SAFE_INTEGER, reserveBytes: 0 };

function spoolOf(directory: string): string {
  return join(directory, 'spool', 'evidence.db');
}

async function exists(path: string): Promise<boolean> {
  try {
    await stat(path);
    return true;
  } catch {
    return false;
  }
}
