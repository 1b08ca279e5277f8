/** `shellstream init`: a commented configuration and a first accord, from flags or from questions at a terminal. */
import { mkdir, open, readFile, rm } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { type Command, InvalidArgumentError } from 'commander';
import { ShellstreamError } from '../../protocol/errors.ts';
import { parseAccord } from '../../protocol/posture/parse-accord.ts';
import { DEFAULT_ACCORD_FILE } from '../base/accord-file.ts';
import { parseConfig } from '../base/config.ts';
import { collected, instanceName, loopback, oneOf } from './arguments.ts';
import { DEFAULT_INSTANCE } from './console.ts';
import { type Answers, asked, network, type PeerAnswer, peer, trustDomain } from './init/answers.ts';
import { accordText, configurationText } from './init/documents.ts';
import type { CliWorld } from './world.ts';

export function addInit(program: Command, world: CliWorld): void {
  program
    .command('init')
    .description('write a commented configuration and a first accord; asks for what no flag says, where it can')
    .option('--trust-domain <name>', 'SPIFFE trust domain of this site', trustDomain)
    .option('--peer <name=id@host:port>', 'a site we dial, or without @host:port expect; repeatable', collected(peer))
    .option('--advertise <prefix>', 'a prefix behind us that peers may reach; repeatable', collected(network))
    .option('--tunnel-address <prefix>', 'an address of ours inside the tunnel; repeatable', collected(network))
    .option('--isolate <what>', 'what level 1 cuts off: all-but-loopback, none', ISOLATE, 'all-but-loopback')
    .option('--metrics <host:port>', 'serve metrics and health there, on loopback', metrics)
    .option(
      '--terminators <user>',
      'terminators that systemd or Kubernetes starts come in by a socket, as this user',
      user,
    )
    .option('--instance <name>', 'name of the gateway on this host, and of its file', instanceName, DEFAULT_INSTANCE)
    .option('--out <dir>', 'where the files go', '/etc/shellstream')
    .option('--accord-file <path>', 'where the gateway will find the accord, if not in --out')
    .action((options: InitOptions) => init(world, options));
}

interface InitOptions {
  readonly trustDomain?: string;
  readonly peer?: readonly PeerAnswer[];
  readonly advertise?: readonly string[];
  readonly tunnelAddress?: readonly string[];
  readonly isolate: Answers['isolate'];
  readonly metrics?: string;
  readonly terminators?: Answers['terminators'];
  readonly instance: string;
  readonly out: string;
  readonly accordFile?: string;
}

async function init(world: CliWorld, options: InitOptions): Promise<void> {
  const answers = await answersOf(world, options);
  const folder = resolve(options.out);
  const configPath = join(folder, `${answers.instance}.yaml`);
  const accordPath = join(folder, 'accord.yaml');
  const configuration = configurationText(answers, options.accordFile ?? accordPath);
  const accord = accordText(answers);
  // Before anything is written: what the gateway would refuse is refused here, in its words.
  parseConfig(configuration, configPath);
  const base = parseAccord(await readFile(DEFAULT_ACCORD_FILE), { name: DEFAULT_ACCORD_FILE });
  const bases = new Map([[base.id, base]]);
  parseAccord(new TextEncoder().encode(accord), { name: accordPath, bases });

  await mkdir(folder, { recursive: true });
  await writeNew(configPath, configuration);
  await writeNew(accordPath, accord).catch(async (error: unknown) => {
    await rm(configPath);
    throw error;
  });
  world.out.write(`wrote ${configPath} and ${accordPath}\nnext: shellstream doctor --config ${configPath}\n`);
}

async function answersOf(world: CliWorld, options: InitOptions): Promise<Answers> {
  const { instance, isolate, metrics: metricsAddress } = options;
  const given = {
    ...(options.trustDomain === undefined ? {} : { trustDomain: options.trustDomain }),
    ...(options.peer === undefined ? {} : { peers: options.peer }),
    ...(options.advertise === undefined ? {} : { advertise: options.advertise }),
    ...(options.tunnelAddress === undefined ? {} : { tunnelAddresses: options.tunnelAddress }),
  };
  const common = { instance, isolate, metrics: metricsAddress, terminators: options.terminators };
  const { trustDomain: domain } = given;
  if (domain !== undefined) {
    return { peers: [], advertise: [], tunnelAddresses: [], ...given, trustDomain: domain, ...common };
  }
  const questions = world.questions();
  if (questions === undefined) {
    throw new ShellstreamError('MALFORMED', 'there is no terminal to ask at: --trust-domain is needed');
  }
  using _ = questions;
  return { ...(await asked(questions, given, (text) => world.err.write(text))), ...common };
}

/** Refuses what is there: a configuration that somebody made is never written over. */
async function writeNew(path: string, text: string): Promise<void> {
  try {
    await using file = await open(path, 'wx', 0o644);
    await file.writeFile(text);
  } catch (cause) {
    const why = cause instanceof Error ? cause.message : 'cannot be written';
    const isThere = cause instanceof Error && 'code' in cause && cause.code === 'EEXIST';
    throw new ShellstreamError('INTERNAL', isThere ? `${path} is there already, and stays as it is` : why, { cause });
  }
}

function user(text: string): string | number {
  if (/^[a-z_][a-z0-9_-]{0,31}$/.test(text)) return text;
  if (/^[1-9]\d{0,8}$/.test(text)) return Number(text);
  throw new InvalidArgumentError('A user name, or a uid above 0.');
}

const ISOLATE = oneOf(['all-but-loopback', 'none']);

function metrics(text: string): string {
  const { host, port } = loopback(text);
  if (host === 'localhost' || port === 0) throw new InvalidArgumentError('An address and a port: 127.0.0.1:9843.');
  return text;
}
