/** `shellstream quartermaster`: runs one in the foreground, and issues tokens for proposals to it. */
import { randomBytes } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { type Command, InvalidArgumentError } from 'commander';
import { parseSecret } from '../../protocol/evidence/index.ts';
import { parseSpiffeId, type SpiffeId } from '../../protocol/identity/spiffe-id.ts';
import { issueRequestToken, LONGEST_TOKEN_MS } from '../../protocol/quartermaster/index.ts';
import { nodeCrypto } from '../base/crypto-node.ts';
import { noteSigner } from '../evidence/ed25519.ts';
import { isoTime, json } from './output.ts';
import type { CliWorld } from './world.ts';

interface IssueOptions {
  readonly key: string;
  readonly subject: SpiffeId;
  readonly audience: SpiffeId;
  readonly seconds: number;
  readonly proposal?: string;
  readonly json?: boolean;
}

export function addQuartermaster(program: Command, world: CliWorld): void {
  const verb = program
    .command('quartermaster')
    .description('run Quartermaster in the foreground until SIGTERM')
    .option('--config <file>', 'configuration', '/etc/shellstream/quartermaster.yaml')
    .action(({ config }: { readonly config: string }) => world.runQuartermaster(config));
  verb
    .command('issue-token')
    .description('sign a RequestToken: one proposal of one identity, once')
    .requiredOption('--key <file>', 'of the issuer, as `verify-log` and golang.org/x/mod know keys')
    .requiredOption('--subject <id>', 'SPIFFE ID of who may use it', spiffeId)
    .requiredOption('--audience <id>', 'SPIFFE ID of Quartermaster', spiffeId)
    .option('--seconds <number>', 'how long it is good', seconds, 300)
    .option('--proposal <file>', 'the only proposal that it is good for')
    .option('--json', 'one JSON object')
    .action((options: IssueOptions) => issue(world, options));
}

async function issue(world: CliWorld, options: IssueOptions): Promise<void> {
  const { sha256 } = nodeCrypto;
  const { key, subject, audience, proposal } = options;
  const { name, seed } = parseSecret((await readFile(key, 'utf8')).trim());
  const signer = noteSigner(sha256, name, seed);
  const notBeforeMs = world.clock.now();
  const expiresAtMs = notBeforeMs + options.seconds * 1_000;
  const terms = { id: randomBytes(16), subject, audience, notBeforeMs, expiresAtMs };
  const bound = proposal === undefined ? {} : { proposalHash: sha256(await readFile(proposal)) };
  const token = Buffer.from(issueRequestToken(signer, { ...terms, ...bound })).toString('base64');
  world.out.write(options.json ? json({ token, expiresAt: isoTime(expiresAtMs) }) : `${token}\n`);
}

function spiffeId(text: string): SpiffeId {
  const id = parseSpiffeId(text);
  if (id === undefined) throw new InvalidArgumentError('A SPIFFE ID.');
  return id;
}

function seconds(text: string): number {
  const value = Number(text);
  if (!/^\d{1,5}$/.test(text) || value < 1 || value * 1_000 > LONGEST_TOKEN_MS)
    throw new InvalidArgumentError(`1 to ${LONGEST_TOKEN_MS / 1_000} seconds.`);
  return value;
}
