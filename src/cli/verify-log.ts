/** `shellstream verify-log`: an auditor with a copy of a log and the keys it is known by. No gateway is asked. */
import { type Command, InvalidArgumentError } from 'commander';
import { describeFinding, type Finding, type LogEntry, type LogReport } from '../../protocol/evidence/index.ts';
import { loadCryptoProvider } from '../base/crypto.ts';
import { verifyLogDirectory } from '../evidence/verify.ts';
import { collected } from './arguments.ts';
import { type Audited, auditShown, NOT_AUDITED } from './audit-records.ts';
import { countedIn, describeCounted } from './counted.ts';
import { bundle, bundlesOf, type GivenBundle } from './given-bundles.ts';
import { json, pairs, printable } from './output.ts';
import { judgeRecords, readRecords, type ShownRecords } from './shown-records.ts';
import type { CliWorld } from './world.ts';

interface VerifyLogOptions {
  readonly key: readonly string[];
  readonly origin?: string;
  readonly witness?: readonly string[];
  readonly quorum: number;
  readonly held?: readonly string[];
  readonly from: number;
  readonly records?: string;
  readonly audit?: boolean;
  readonly accord?: string;
  readonly session?: readonly string[];
  readonly bundle?: readonly GivenBundle[];
  readonly json?: boolean;
}

/** `fail` is called when something was found: that was said, and is no error. */
export function addVerifyLog(program: Command, world: CliWorld, fail: () => void): void {
  const command = program.command('verify-log');
  command
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
    .option(
      '--audit',
      'the records are all there are: sampling is repeated, and what is in neither log nor batch is told',
    )
    .option('--accord <file>', 'of the site, for the rates of --audit; without: the default ones')
    .option(
      '--session <id>',
      'that took place: what became of its transits, with --audit; repeatable',
      collected(session),
    )
    .option('--json', 'one JSON object; `found` has the findings by their parts')
    .action((folder: string, options: VerifyLogOptions) => {
      const { audit = false, records, session: sessions, accord } = options;
      if (audit && records === undefined) command.error("error: option '--audit' needs '--records'");
      if (!audit && (sessions ?? accord) !== undefined)
        command.error("error: '--session' and '--accord' need '--audit'");
      return verify(world, fail, folder, options);
    });
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
  const { sha256 } = loadCryptoProvider();
  const { records: file, audit: isAudit = false, session: sessions = [], accord } = options;
  const shown = file === undefined ? NOTHING_SHOWN : await readRecords(file, origin);
  const entries = new Map<number, LogEntry>();
  const onEntry = (index: number, entry: LogEntry): void => {
    if (isAudit || shown.records.has(index)) entries.set(index, entry);
  };
  const trusted = { origin, keys, witnesses, quorum, held, minimumIndex };
  const report = await verifyLogDirectory({ sha256, path, ...trusted, onEntry });
  const bundles = bundlesOf(options.bundle ?? [], world.clock.now());
  // Records that came since the log was copied are no forgeries; an audit says how many they are.
  const records = new Map([...shown.records].filter(([index]) => !isAudit || index < report.size));
  const { findings: judged, unproven } = judgeRecords(records, entries, bundles);
  const audited = isAudit ? await auditShown({ report, entries, shown, sessions, accord }) : NOT_AUDITED;
  const found = different([...report.findings, ...judged, ...audited.findings]);
  const refuted = new Set(judged.flatMap((finding) => (finding.kind === 'record' ? [finding.entry] : [])));
  const believed = [...records].flatMap(([index, opening]) => (refuted.has(index) ? [] : [opening]));
  const counted = countedIn([...believed, ...(isAudit ? shown.leftOut.values() : [])]);
  world.out.write(
    options.json
      ? json({ ...facts(report, audited, found), counted, unproven })
      : told(report, audited, [...describeCounted(counted), ...toldUnproven(unproven)], found),
  );
  if (found.length > 0) fail();
}

const NOTHING_SHOWN: ShownRecords = { records: new Map(), leftOut: new Map() };

/** A record that is not its entry's is found by whoever looks at it. */
function different(findings: readonly Finding[]): readonly Finding[] {
  return [...new Map(findings.map((finding) => [describeFinding(finding), finding])).values()];
}

function facts(report: LogReport, { sessions, unrevealed, uncommitted }: Audited, found: readonly Finding[]) {
  const { size, root, signedBy, entries, unprovable } = report;
  return {
    size,
    root: root === undefined ? undefined : Buffer.from(root).toString('hex'),
    signedBy,
    entries,
    unprovable,
    ...(sessions === undefined ? {} : { sessions, unrevealed, uncommitted }),
    findings: found.map(describeFinding),
    found,
  };
}

function told(report: LogReport, audited: Audited, more: readonly Line[], found: readonly Finding[]): string {
  const { size, root = 'none', signedBy, entries, unprovable, findings } = facts(report, audited, found);
  const lines = pairs([
    ['size', `${size} entries, ${entries} of them read and checked`],
    ['root', root],
    ['signed by', signedBy.join(', ') || 'nobody'],
    ...(unprovable.length === 0
      ? []
      : [['not provable', `held checkpoints of ${unprovable.join(', ')}: pruned`] as const]),
    ...toldAudit(audited),
    ...more,
  ]);
  if (findings.length === 0) return `${lines}\nall of it is as it must be\n`;
  return `${lines}\n${findings.map((finding) => `FOUND  ${printable(finding)}\n`).join('')}`;
}

function toldAudit({ sessions = {}, unrevealed, uncommitted }: Audited): (readonly [string, string])[] {
  const told: (readonly [string, string])[] = Object.entries(sessions).map(([id, verdict]) => [
    'session',
    `${id}: ${verdict}`,
  ]);
  if (unrevealed.length > 0)
    told.push(['not repeatable', `sampling of ${unrevealed.join(', ')}: its key is not revealed yet`]);
  if (uncommitted > 0)
    told.push(['not committed to', `${uncommitted} of the newest records: younger than checkpoint or batch root`]);
  return told;
}

/** No finding: who gave no bundle asked for no more. But it must not pass for proof. */
function toldUnproven(nodes: readonly string[]): readonly Line[] {
  return nodes.map((node) => [
    'not proven',
    `receipts of ${printable(node)}: no --bundle vouches for it, and whoever writes a receipt can make its certificate along`,
  ]);
}

type Line = readonly [string, string];

function nameOf(key: string | undefined): string {
  return key?.split('+', 1)[0] ?? '';
}

function session(value: string): string {
  if (!/^[0-9a-f]{32}$/.test(value)) throw new InvalidArgumentError('32 hex digits.');
  return value;
}

function text(value: string): string {
  return value;
}

function whole(value: string): number {
  if (!/^\d{1,15}$/.test(value)) throw new InvalidArgumentError('A whole number.');
  return Number(value);
}
