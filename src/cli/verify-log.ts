/** `shellstream verify-log`: an auditor with a copy of a log and the keys it is known by. No gateway is asked. */
import { type Command, InvalidArgumentError } from 'commander';
import { describeFinding, type LogEntry, type LogReport, type Opening } from '../../protocol/evidence/index.ts';
import { nodeCrypto } from '../base/crypto-node.ts';
import { verifyLogDirectory } from '../evidence/verify.ts';
import { collected } from './arguments.ts';
import { bundle, bundlesOf, type GivenBundle } from './given-bundles.ts';
import { json, pairs, printable } from './output.ts';
import { judgeRecords, readRecords } from './shown-records.ts';
import type { CliWorld } from './world.ts';

interface VerifyLogOptions {
  readonly key: readonly string[];
  readonly origin?: string;
  readonly witness?: readonly string[];
  readonly quorum: number;
  readonly held?: readonly string[];
  readonly from: number;
  readonly records?: string;
  readonly bundle?: readonly GivenBundle[];
  readonly json?: boolean;
}

/** `fail` is called when something was found: that was said, and is no error. */
export function addVerifyLog(program: Command, world: CliWorld, fail: () => void): void {
  program
    .command('verify-log')
    .description('check a copy of an evidence log: proofs, signatures, witnesses, sampling; exit code 1 on any finding')
    .argument('<folder>', 'of the log: checkpoint and tiles')
    .requiredOption('--key <key>', 'verifier key of the log, NAME+ID+KEY; repeatable', collected(text))
    .option('--origin <name>', 'the log that it must be; without: the name of the first key')
    .option('--witness <key>', 'verifier key of a witness; repeatable', collected(text))
    .option('--quorum <number>', 'how many of them must have cosigned', whole, 0)
    .option(
      '--held <file>',
      'a checkpoint kept from earlier, which the log must still contain; repeatable',
      collected(text),
    )
    .option('--from <entry>', 'the first entry that must be there: what is before may be pruned', whole, 0)
    .option('--records <file>', 'records of it that you were shown, as `evidence query --json` prints them')
    .option(
      '--bundle <domain=file>',
      'PEM certificates that vouch for receipts of a trust domain; repeatable',
      collected(bundle),
    )
    .option('--json', 'one JSON object')
    .action((folder: string, options: VerifyLogOptions) => verify(world, fail, folder, options));
}

async function verify(world: CliWorld, fail: () => void, path: string, options: VerifyLogOptions): Promise<void> {
  const {
    key: keys,
    origin = nameOf(keys[0]),
    witness: witnesses = [],
    quorum,
    held = [],
    from: minimumIndex,
  } = options;
  const { sha256 } = nodeCrypto;
  const records = options.records === undefined ? new Map<number, Opening>() : readRecords(options.records, origin);
  const entries = new Map<number, LogEntry>();
  const onEntry = (index: number, entry: LogEntry): void => {
    if (records.has(index)) entries.set(index, entry);
  };
  const trusted = { origin, keys, witnesses, quorum, held, minimumIndex };
  const report = await verifyLogDirectory({ sha256, path, ...trusted, onEntry });
  const bundles = bundlesOf(options.bundle ?? [], world.clock.now());
  const findings = [...report.findings.map(describeFinding), ...judgeRecords(records, entries, bundles)];
  world.out.write(options.json ? json({ ...facts(report), findings }) : told(report, findings));
  if (findings.length > 0) fail();
}

function facts({ size, root, signedBy, entries, unprovable }: LogReport) {
  return {
    size,
    root: root === undefined ? undefined : Buffer.from(root).toString('hex'),
    signedBy,
    entries,
    unprovable,
  };
}

function told(report: LogReport, findings: readonly string[]): string {
  const { size, root = 'none', signedBy, entries, unprovable } = facts(report);
  const lines = pairs([
    ['size', `${size} entries, ${entries} of them read and checked`],
    ['root', root],
    ['signed by', signedBy.join(', ') || 'nobody'],
    ...(unprovable.length === 0
      ? []
      : [['not provable', `held checkpoints of ${unprovable.join(', ')}: pruned`] as const]),
  ]);
  if (findings.length === 0) return `${lines}\nall of it is as it must be\n`;
  return `${lines}\n${findings.map((finding) => `FOUND  ${printable(finding)}\n`).join('')}`;
}

function nameOf(key: string | undefined): string {
  return key?.split('+', 1)[0] ?? '';
}

function text(value: string): string {
  return value;
}

function whole(value: string): number {
  if (!/^\d{1,15}$/.test(value)) throw new InvalidArgumentError('A whole number.');
  return Number(value);
}
