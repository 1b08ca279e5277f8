/** `shellstream evidence query`: records that Quartermaster holds, this host's or another one's. */
import { fromBinary, type MessageInitShape, toJson } from '@bufbuild/protobuf';
import { type Command, InvalidArgumentError, Option } from 'commander';
import { ShellstreamError } from '../../protocol/errors.ts';
import { parseArtifact } from '../../protocol/evidence/index.ts';
import { ArtifactSchema } from '../../protocol/gen/shellstream/evidence/v1/evidence_pb.ts';
import type { FilterSchema, Found } from '../../protocol/gen/shellstream/quartermaster/v1/quartermaster_pb.ts';
import { ARTIFACT_KINDS, factsOf, Lane, LONGEST_PAGE } from '../../protocol/quartermaster/index.ts';
import type { QuartermasterClient } from '../quartermaster/client.ts';
import { fromConnectError } from '../quartermaster/refusal.ts';
import { collected, hostPort, instanceName, oneOf, postureLevel, socketPath, spiffeId } from './arguments.ts';
import { isoTime, json, table } from './output.ts';
import type { CliWorld, QuartermasterPlace } from './world.ts';

/** Which Quartermaster is asked. */
export interface QuartermasterOptions {
  readonly instance: string;
  readonly socket?: string;
  readonly remote?: { readonly host: string; readonly port: number };
  readonly id?: string;
  readonly workloadApi: string;
}

interface QueryOptions extends QuartermasterOptions {
  readonly level?: number;
  readonly session?: Uint8Array;
  readonly identity?: string;
  readonly from?: number;
  readonly to?: number;
  readonly origin?: string;
  readonly kind?: readonly string[];
  readonly newest?: boolean;
  readonly limit: number;
  readonly follow?: boolean;
  readonly json?: boolean;
}

export function addEvidence(program: Command, world: CliWorld): void {
  program
    .command('evidence')
    .description('the records of what passed and what changed')
    .command('query')
    .description('ask Quartermaster for records; all that is given must hold')
    .option('--level <level>', 'session transits while at this level', postureLevel)
    .option('--session <id>', 'of this session, 32 hex digits', sessionId)
    .option('--identity <id>', 'SPIFFE ID: either end of a session, or who acted', spiffeId)
    .option('--from <time>', 'not before, ISO 8601', time)
    .option('--to <time>', 'before, ISO 8601', time)
    .option('--origin <name>', 'of this log only')
    .option('--kind <kind>', `of this kind; repeatable`, collected(oneOf([...ARTIFACT_KINDS.keys()])))
    .option('--newest', 'the newest first')
    .option('--limit <number>', 'so many at most', limit, 100)
    .addOption(new Option('--follow', 'what arrives from now on, until interrupted').conflicts(['newest', 'limit']))
    .option('--instance <name>', 'Quartermaster of this gateway of this host', instanceName, 'main')
    .option('--socket <path>', 'its socket, where that is elsewhere than /run/shellstream/INSTANCE', socketPath)
    .option('--remote <address>', 'HOST:PORT of another host’s Quartermaster', hostPort)
    .option('--id <id>', 'its SPIFFE ID', spiffeId)
    .option('--workload-api <path>', 'of the agent, for --remote', socketPath, '/run/spire/agent/public/api.sock')
    .option('--json', 'one JSON object a line')
    .action((options: QueryOptions) => query(world, options));
}

async function query(world: CliWorld, options: QueryOptions): Promise<void> {
  await using link = await world.openQuartermaster(placeOf(options), world.interrupted);
  try {
    if (options.follow) await follow(world, link.client, options);
    else await print(world, link.client, options);
  } catch (error) {
    throw fromConnectError(error, 'asking Quartermaster');
  }
}

async function print(world: CliWorld, client: QuartermasterClient, options: QueryOptions): Promise<void> {
  const rows: (readonly string[])[] = [];
  let [left, cursor] = [options.limit, ''];
  do {
    const request = { filter: filterOf(options), newestFirst: options.newest ?? false, cursor };
    const page = await client.query({ ...request, limit: Math.min(left, LONGEST_PAGE) });
    // Whoever serves pages for ever must not keep us for ever.
    if (page.next !== '' && page.next === cursor) throw new ShellstreamError('MALFORMED', 'pages that do not move on');
    for (const found of page.found.slice(0, left)) {
      if (options.json) world.out.write(json(plain(found)));
      else rows.push(row(found));
    }
    left -= page.found.length;
    cursor = page.next;
  } while (left > 0 && cursor !== '');
  if (!options.json) world.out.write(rows.length === 0 ? 'no records\n' : table(HEADER, rows));
}

async function follow(world: CliWorld, client: QuartermasterClient, options: QueryOptions): Promise<void> {
  try {
    for await (const { found } of client.watch({ filter: filterOf(options) }, { signal: world.interrupted })) {
      if (found === undefined) continue;
      world.out.write(options.json ? json(plain(found)) : `${row(found).join('  ')}\n`);
    }
  } catch (error) {
    if (!world.interrupted.aborted) throw error;
  }
}

const HEADER = ['TIME', 'LEVEL', 'KIND', 'SESSION', 'WHO', 'WITH', 'LOG'];

function row({ record, origin, lane, sequence }: Found): readonly string[] {
  const { kind, atMs, level, session, actor, peer } = factsOf(parseArtifact(record?.artifact ?? new Uint8Array()));
  const place = `${origin} ${lane === Lane.LEFT_OUT ? 'left out ' : ''}${sequence}`;
  return [isoTime(atMs), String(level ?? ''), kind, session ?? '', actor ?? '', peer ?? '', place];
}

/** The record as protobuf's JSON has it, and the bytes that were hashed. */
function plain({ record, origin, lane, sequence, number }: Found) {
  const bytes = record?.artifact ?? new Uint8Array();
  const { kind, atMs, session } = factsOf(parseArtifact(bytes));
  const { artifact, salt } = { artifact: bytes, salt: record?.salt ?? new Uint8Array() };
  return {
    number,
    origin,
    leftOut: lane === Lane.LEFT_OUT,
    sequence,
    kind,
    at: isoTime(atMs),
    session,
    record: Buffer.from(artifact).toString('base64'),
    salt: Buffer.from(salt).toString('hex'),
    artifact: toJson(ArtifactSchema, fromBinary(ArtifactSchema, bytes)),
  };
}

function filterOf(options: QueryOptions): MessageInitShape<typeof FilterSchema> {
  const { level, session, identity, from, to, origin, kind } = options;
  return {
    ...(level === undefined ? {} : { level }),
    ...(session === undefined ? {} : { session }),
    ...(identity === undefined ? {} : { identity }),
    ...(from === undefined ? {} : { fromMs: BigInt(from) }),
    ...(to === undefined ? {} : { toMs: BigInt(to) }),
    ...(origin === undefined ? {} : { origin }),
    ...(kind === undefined ? {} : { kinds: [...kind] }),
  };
}

export function placeOf({ remote, id, socket, instance, workloadApi }: QuartermasterOptions): QuartermasterPlace {
  if (remote === undefined) return { socket: socket ?? `/run/shellstream/${instance}/quartermaster.sock` };
  if (id === undefined) throw new ShellstreamError('WRONG_IDENTITY', '--remote needs --id: nobody else is asked');
  return { address: remote, spiffeId: id, workloadApi };
}

function sessionId(text: string): Uint8Array {
  if (!/^[0-9a-f]{32}$/.test(text)) throw new InvalidArgumentError('32 hex digits.');
  return Buffer.from(text, 'hex');
}

function time(text: string): number {
  const ms = Date.parse(text);
  if (!/^\d{4}-\d{2}-\d{2}/.test(text) || !(ms >= 0)) throw new InvalidArgumentError('A time as 2026-01-31T12:00:00Z.');
  return ms;
}

function limit(text: string): number {
  if (!/^[1-9]\d{0,8}$/.test(text)) throw new InvalidArgumentError('A number from 1 on.');
  return Number(text);
}
