/** `shellstream evidence list` and `show`: what this gateway itself recorded. */
import { toJson } from '@bufbuild/protobuf';
import { type Command, InvalidArgumentError } from 'commander';
import { ShellstreamError } from '../../protocol/errors.ts';
import { type ArtifactKind, commitmentOf, parseArtifact } from '../../protocol/evidence/index.ts';
import { ArtifactSchema } from '../../protocol/gen/shellstream/evidence/v1/evidence_pb.ts';
import type { PostureLevel } from '../../protocol/posture/level.ts';
import { nodeCrypto } from '../base/crypto-node.ts';
import type { ControlClient } from '../control/client.ts';
import { RECORD_KINDS, type RecordQuery, type RecordView } from '../control/evidence-desk.ts';
import { oneOf, postureLevel } from './arguments.ts';
import { asksGateway, type ConsoleOptions, withGateway } from './console.ts';
import { isoTime, json, pairs, table } from './output.ts';
import type { CliWorld } from './world.ts';

interface ListOptions extends ConsoleOptions {
  readonly kind?: ArtifactKind;
  readonly level?: PostureLevel;
  readonly after?: number;
}

/** Below the verb `evidence`, which is there. */
export function addRecords(program: Command, world: CliWorld): void {
  const evidence = verb(program, 'evidence');

  asksGateway(evidence.command('list'))
    .description('records of this gateway in the order of its log; those that sampling left out are not among them')
    .option('--kind <kind>', 'of this kind only', oneOf(RECORD_KINDS))
    .option('--level <level>', 'session transits while at this level', postureLevel)
    .option('--after <index>', 'after this index of the log', index)
    .action((options: ListOptions) =>
      withGateway(world, options, async (gateway) => {
        const { kind, level, after } = options;
        const rows: (readonly string[])[] = [];
        for await (const view of allRecords(gateway, { kind, level, after })) {
          if (options.json) world.out.write(json({ index: view.index, kind: view.kind, ...plain(view) }));
          else rows.push(row(view));
        }
        if (!options.json) world.out.write(table(['INDEX', 'TIME', 'LEVEL', 'KIND'], rows));
      }),
    );

  asksGateway(evidence.command('show'))
    .description('one record, with what proves it: its salt, and its way to the root of the published log')
    .argument('<index>', 'of the log', index)
    .action((at: number, options: ConsoleOptions) =>
      withGateway(world, options, async (gateway) => {
        const found = await gateway.evidence.show(at);
        if (found === undefined) throw new ShellstreamError('MALFORMED', `no record at ${at}, or its time is over`);
        const proof = {
          index: found.index,
          kind: found.kind,
          record: hex(found.record),
          salt: hex(found.salt),
          commitment: hex(commitmentOf(nodeCrypto.sha256, found.salt, found.record)),
          size: found.size,
          proof: found.proof.map(hex),
        };
        if (options.json) return world.out.write(json({ ...proof, ...plain(found) }));
        const facts = Object.entries(proof).map(([label, value]) => [label, [value].flat().join(' ')] as const);
        world.out.write(`${pairs(facts)}\n${JSON.stringify(plain(found).artifact, undefined, 2)}\n`);
      }),
    );
}

function verb(program: Command, name: string): Command {
  return program.commands.find((command) => command.name() === name) ?? program.command(name);
}

/** Of a running gateway, in the order of its log. */
export async function* allRecords(gateway: ControlClient, query: RecordQuery): AsyncGenerator<RecordView> {
  let { after } = query;
  for (;;) {
    const page = await gateway.evidence.list({ ...query, after });
    yield* page.records;
    if (page.next === undefined) return;
    // A gateway whose pages do not move on would keep us asking for ever.
    if (page.next <= (after ?? -1)) throw new ShellstreamError('MALFORMED', 'pages out of order');
    after = page.next;
  }
}

function row({ index: at, kind, record }: RecordView): readonly string[] {
  const { atMs, postureLevel: level } = parseArtifact(record);
  return [String(at), isoTime(Number(atMs)), String(level), kind];
}

function plain({ record }: RecordView) {
  return { artifact: toJson(ArtifactSchema, parseArtifact(record)) };
}

function hex(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString('hex');
}

function index(value: string): number {
  if (!/^\d{1,15}$/.test(value)) throw new InvalidArgumentError('An index of the log, a whole number.');
  return Number(value);
}
