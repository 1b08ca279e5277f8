/** `shellstream posture receipts`: which nodes realised which level, as they signed it, and which did not. */
import { type Command, InvalidArgumentError } from 'commander';
import { ShellstreamError } from '../../protocol/errors.ts';
import { parseArtifact } from '../../protocol/evidence/index.ts';
import { parseSpiffeId, type SpiffeId, trustDomainOf } from '../../protocol/identity/spiffe-id.ts';
import type { PostureLevel } from '../../protocol/posture/level.ts';
import { LONGEST_PAGE } from '../../protocol/quartermaster/index.ts';
import { type Belief, Realisation, type Shortfall } from '../evidence/realisation.ts';
import { fromConnectError } from '../quartermaster/refusal.ts';
import { collected, hostPort, postureLevel, socketPath, spiffeId } from './arguments.ts';
import { asksGateway, type ConsoleOptions, withGateway } from './console.ts';
import { placeOf, type QuartermasterOptions } from './evidence.ts';
import { bundle, bundlesOf, type GivenBundle } from './given-bundles.ts';
import { isoTime, json, table } from './output.ts';
import { allRecords } from './records.ts';
import type { CliWorld } from './world.ts';

interface ReceiptOptions extends ConsoleOptions, Omit<QuartermasterOptions, 'socket' | 'instance'> {
  readonly nodes?: boolean;
  readonly bundle?: readonly GivenBundle[];
  readonly expect?: readonly SpiffeId[];
  readonly level?: PostureLevel;
}

/** Below the verb `posture`, which is there. `fail` is called when a node is missing or a receipt is forged. */
export function addReceipts(program: Command, world: CliWorld, fail: () => void): void {
  const posture = program.commands.find((command) => command.name() === 'posture') ?? program.command('posture');
  asksGateway(posture.command('receipts'))
    .description(
      'which levels this node realised, or with --nodes the newest of every node whose evidence Quartermaster has',
    )
    .option('--nodes', 'of all nodes, from this host’s Quartermaster; or from another one’s:')
    .option('--remote <address>', 'HOST:PORT of another host’s Quartermaster', hostPort)
    .option('--id <id>', 'its SPIFFE ID', spiffeId)
    .option('--workload-api <path>', 'of the agent, for --remote', socketPath, '/run/spire/agent/public/api.sock')
    .option(
      '--bundle <domain=file>',
      'PEM certificates that vouch for nodes of a trust domain; repeatable',
      collected(bundle),
    )
    .option('--expect <id>', 'SPIFFE ID of a node that must have realised it; repeatable', collected(node))
    .option('--level <level>', 'which level those must be at', postureLevel)
    .action((options: ReceiptOptions) => receipts(world, fail, options));
}

async function receipts(world: CliWorld, fail: () => void, options: ReceiptOptions): Promise<void> {
  const { bundle: given = [], expect: expected = [], level } = options;
  const bundles = bundlesOf(given, world.clock.now());
  for (const id of expected) {
    // Without it whatever a forger signed with a certificate of his own would do.
    if (!bundles.x509.has(trustDomainOf(id))) {
      throw new ShellstreamError('NO_BUNDLE', `--expect ${id} needs --bundle ${trustDomainOf(id)}=FILE`);
    }
  }
  const realisation = new Realisation<string>(bundles);
  const all = options.nodes === true || options.remote !== undefined;
  if (all) await fromQuartermaster(world, options, realisation);
  else await fromGateway(world, options, realisation);
  const missing = realisation.shortfalls(expected, level);
  if (all) world.out.write(options.json ? jsonOf(realisation) : tableOf(realisation));
  if (!options.json) world.out.write(unprovenText(realisation));
  world.out.write(options.json ? missing.map((one) => json({ missing: one })).join('') : missing.map(told).join(''));
  if (missing.length > 0) fail();
}

/** Each of its own, the newest last. */
async function fromGateway(world: CliWorld, options: ReceiptOptions, into: Realisation<string>): Promise<void> {
  const rows: (readonly string[])[] = [];
  await withGateway(world, options, async (gateway) => {
    for await (const view of allRecords(gateway, { kind: 'enforcementReceipt' })) {
      const { body } = parseArtifact(view.record);
      if (body.case !== 'enforcementReceipt') continue;
      const belief = into.add(body.value, String(view.index));
      if (options.json) world.out.write(json({ index: view.index, ...plain(belief) }));
      else rows.push(row(belief));
    }
  });
  if (!options.json) world.out.write(table(HEADER, rows));
}

async function fromQuartermaster(world: CliWorld, options: ReceiptOptions, into: Realisation<string>): Promise<void> {
  const { instance, workloadApi, remote, id } = options;
  const far = { ...(remote === undefined ? {} : { remote }), ...(id === undefined ? {} : { id }) };
  await using link = await world.openQuartermaster(placeOf({ instance, workloadApi, ...far }), world.interrupted);
  try {
    let [left, cursor] = [MOST_RECEIPTS, ''];
    do {
      const filter = { kinds: ['enforcementReceipt'] };
      const page = await link.client.query({ filter, newestFirst: true, cursor, limit: Math.min(left, LONGEST_PAGE) });
      if (page.next !== '' && page.next === cursor)
        throw new ShellstreamError('MALFORMED', 'pages that do not move on');
      for (const { record, origin, sequence } of page.found) {
        const { body } = parseArtifact(record?.artifact ?? new Uint8Array());
        if (body.case === 'enforcementReceipt') into.add(body.value, `${origin} ${sequence}`);
      }
      left -= page.found.length;
      cursor = page.next;
    } while (left > 0 && cursor !== '');
  } catch (error) {
    throw fromConnectError(error, 'asking Quartermaster');
  }
}

function jsonOf(realisation: Realisation<string>): string {
  const rows = realisation.nodes.map(({ statement, isProven, place }) => {
    return json({ log: place, ...plain({ kind: isProven ? 'proven' : 'unproven', statement }) });
  });
  return rows.join('');
}

function tableOf(realisation: Realisation<string>): string {
  const rows = realisation.nodes.map(({ statement, isProven, place }) => [
    ...row({ kind: isProven ? 'proven' : 'unproven', statement }),
    place,
  ]);
  return rows.length === 0 ? 'no receipts\n' : table([...HEADER, 'LOG'], rows);
}

/** Whoever can write to the log, or answers for it, can make a certificate along with a receipt, and hide a true one by it. */
function unprovenText({ nodes }: Realisation<string>): string {
  const domains = new Set(nodes.flatMap(({ node, isProven }) => (isProven ? [] : [domainOf(node)])));
  if (domains.size === 0) return '';
  const bundles = [...domains].map((domain) => `--bundle ${domain}=FILE`).join(' ');
  return `What no bundle vouches for proves nothing: a forger makes the certificate along. For proof: ${bundles}\n`;
}

function domainOf(node: string): string {
  const id = parseSpiffeId(node);
  return id === undefined ? 'DOMAIN' : trustDomainOf(id);
}

function row(belief: Belief): readonly string[] {
  if (belief.kind === 'forged') return ['', belief.node, '', '', '', 'FORGED'];
  const { nodeId, level, epoch, atMs, notRealised } = belief.statement;
  const missing = notRealised.join(', ') || 'all of it';
  return [isoTime(Number(atMs)), nodeId, String(level), String(epoch), missing, PROOF[belief.kind]];
}

function plain(belief: Belief) {
  if (belief.kind === 'forged') return { nodeId: belief.node, proof: 'forged', isSigned: false, why: belief.why };
  const { nodeId, level, epoch, atMs, tookMs, notRealised } = belief.statement;
  const at = isoTime(Number(atMs));
  return { nodeId, level, epoch, at, tookMs, notRealised, isSigned: true, proof: belief.kind };
}

function told(shortfall: Shortfall): string {
  switch (shortfall.kind) {
    case 'no receipt':
      return `MISSING  ${shortfall.node}: no receipt that the bundle vouches for\n`;
    case 'another level':
      return `MISSING  ${shortfall.node}: it is at ${shortfall.level}\n`;
    case 'in part':
      return `MISSING  ${shortfall.node}: not realised: ${shortfall.notRealised.join(', ')}\n`;
    case 'forged':
      return `FORGED   ${shortfall.node}: ${shortfall.why}\n`;
  }
}

function node(text: string): SpiffeId {
  const id = parseSpiffeId(text);
  if (id === undefined) throw new InvalidArgumentError('A SPIFFE ID looks like spiffe://trust.domain/path.');
  return id;
}

const HEADER = ['TIME', 'NODE', 'LEVEL', 'EPOCH', 'NOT REALISED', 'PROOF'];
const PROOF = { proven: 'bundle', unproven: 'none: only the certificate that came along' } as const;
/** The newest: nodes that said nothing since are not at work. */
const MOST_RECEIPTS = 10_000;
