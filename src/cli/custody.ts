/** `shellstream evidence rotate-key`, `trust-clock`, `backup`, `restore`: what keeps a log a log over years. */
import { cp, readFile, rename, rm } from 'node:fs/promises';
import { resolve } from 'node:path';
import type { Command } from 'commander';
import { ShellstreamError } from '../../protocol/errors.ts';
import { type EvidenceConfig, loadConfig } from '../base/config.ts';
import { nodeCrypto } from '../base/crypto-node.ts';
import type { ControlClient } from '../control/client.ts';
import { connectControl } from '../control/client.ts';
import type { LogAct, TendedLog } from '../control/evidence-desk.ts';
import { restore } from '../evidence/backup.ts';
import { nodeEd25519 } from '../evidence/ed25519.ts';
import { loadLogKeys } from '../evidence/keys.ts';
import { signingKeys } from '../evidence/rotation.ts';
import { witnessAt } from '../evidence/witness-http.ts';
import { Witnesses } from '../evidence/witnesses.ts';
import { collected } from './arguments.ts';
import { asksGateway, type ConsoleOptions, controlSocket } from './console.ts';
import { json, pairs } from './output.ts';
import type { CliWorld } from './world.ts';

interface RotateOptions extends ConsoleOptions {
  readonly finish?: boolean;
}

interface RestoreOptions {
  readonly config: string;
  readonly held?: readonly string[];
  readonly json?: boolean;
}

/** Below the verb `evidence`, which is there. */
export function addCustody(program: Command, world: CliWorld): void {
  const evidence = program.commands.find((command) => command.name() === 'evidence') ?? program.command('evidence');

  asksGateway(evidence.command('rotate-key'))
    .description('change the key that signs the log: first both sign, and outsiders are told the new one')
    .option('--finish', 'when they were: the former key goes, and the new one signs alone')
    .action(async (options: RotateOptions) => {
      const { verifierKeys } = await tend(world, options, options.finish ? 'finish-rotation' : 'begin-rotation');
      if (options.json) return world.out.write(json({ verifierKeys }));
      world.out.write(pairs(verifierKeys.map((key) => ['verifier key', key])));
      if (!options.finish)
        world.out.write('tell outsiders the last one, then: shellstream evidence rotate-key --finish\n');
    });

  asksGateway(evidence.command('trust-clock'))
    .description('the clock is right although it jumped: what is due by it may be forgotten')
    .action(async (options: ConsoleOptions) => {
      await tend(world, options, 'trust-clock');
      world.out.write(options.json ? json({ trusted: true }) : 'what is due by the clock is forgotten from now on\n');
    });

  asksGateway(evidence.command('backup'))
    .description('copy spool and log into a new folder while the gateway runs; the keys are not in it')
    .argument('<folder>', 'to be made')
    .action(async (folder: string, options: ConsoleOptions) => {
      const { path, size } = await tend(world, options, 'back-up');
      const to = resolve(folder);
      await take(path, to);
      world.out.write(options.json ? json({ folder: to, size }) : `${size} entries of the log are in ${to}\n`);
    });

  evidence
    .command('restore')
    .description(
      'put a copy in the place of evidence that is gone, if nobody saw more of the log; the gateway must not run',
    )
    .argument('<folder>', 'that `evidence backup` made')
    .requiredOption('--config <file>', 'of the gateway: where evidence is, its keys, its witnesses')
    .option('--held <file>', 'a checkpoint of this log that somebody kept; repeatable', collected(String))
    .option('--json', 'one JSON object')
    .action(async (folder: string, { config, held = [], json: asJson }: RestoreOptions) => {
      const size = await restored(world, resolve(folder), config, held);
      world.out.write(asJson ? json({ size }) : `${size} entries of the log are back\n`);
    });
}

async function tend(world: CliWorld, options: ConsoleOptions, act: LogAct): Promise<TendedLog> {
  using gateway: ControlClient = await connectControl({
    path: controlSocket(options),
    clock: world.clock,
    timeoutMs: LONGEST_COPY_MS,
  });
  return await gateway.evidence.tend(act);
}

/** The gateway writes beside its own evidence only: where a copy goes is for the rights of who asked. */
async function take(path: string, to: string): Promise<void> {
  try {
    await rename(path, to);
  } catch (error) {
    if (!(error instanceof Error && 'code' in error && error.code === 'EXDEV')) throw cannot(to, error);
    await cp(path, to, { recursive: true, errorOnExist: true, force: false }).catch((cause: unknown) => {
      throw cannot(to, cause);
    });
    await rm(path, { recursive: true });
  }
}

async function restored(world: CliWorld, from: string, configPath: string, held: readonly string[]): Promise<number> {
  const { evidence } = await loadConfig(configPath);
  if (evidence === undefined) throw new ShellstreamError('EVIDENCE_FAILED', `${configPath}: no evidence is kept`);
  const { sha256, randomBytes } = nodeCrypto;
  const { origin, directory } = evidence;
  const signers = await loadLogKeys(sha256, await signingKeys(evidence), origin);
  const kept = await Promise.all(held.map((file) => readFile(file)));
  const asked = witnessesOf(world, evidence);
  return await restore(from, { sha256, randomBytes, origin, signers, directory, held: kept, ...asked });
}

function witnessesOf(world: CliWorld, { witnesses }: EvidenceConfig): { readonly witnesses?: Witnesses } {
  if (witnesses === undefined) return {};
  const { quorum, timeoutSeconds, ask } = witnesses;
  const { clock } = world;
  const all = ask.map(({ key, url }) => ({ key, ask: witnessAt(url, timeoutSeconds * 1_000, clock) }));
  return { witnesses: new Witnesses({ sha256: nodeCrypto.sha256, ed25519: nodeEd25519, clock, quorum, all }) };
}

function cannot(path: string, cause: unknown): ShellstreamError {
  const why = cause instanceof Error ? cause.message : String(cause);
  return new ShellstreamError('EVIDENCE_FAILED', `${path}: the copy cannot be put there: ${why}`, { cause });
}

const LONGEST_COPY_MS = 3_600_000;
