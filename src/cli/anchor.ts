/** `shellstream anchor`: sites that this gateway holds, and what lets them in again. */
import { readFile } from 'node:fs/promises';
import { type Command, InvalidArgumentError } from 'commander';
import { ShellstreamError } from '../../protocol/errors.ts';
import { drainHoldId, signRelease } from '../../protocol/hold/index.ts';
import { parseSpiffeId, type SpiffeId } from '../../protocol/identity/spiffe-id.ts';
import type { PostureLevel } from '../../protocol/posture/level.ts';
import { nodeCrypto } from '../base/crypto-node.ts';
import type { PeerView } from '../control/ports.ts';
import { createLogKey, loadKey } from '../evidence/keys.ts';
import { milliseconds, postureLevel } from './arguments.ts';
import { asksGateway, type ConsoleOptions, withGateway } from './console.ts';
import { duration, json, table } from './output.ts';
import type { CliWorld } from './world.ts';

interface ReasonOptions extends ConsoleOptions {
  readonly reason: string;
}

interface ReleaseOptions extends ConsoleOptions {
  readonly reason?: string;
  readonly file?: string;
}

interface SignOptions {
  readonly key: string;
  readonly peer: SpiffeId;
  readonly anchor: SpiffeId;
  readonly hold?: string;
  readonly epoch?: bigint;
  readonly level: PostureLevel;
  readonly for: number;
}

export function addAnchor(program: Command, world: CliWorld): void {
  const anchor = program.command('anchor').description('sites that are held because of their lockdown');

  asksGateway(anchor.command('list'))
    .description('the peers of the mesh, and who is held')
    .action((options: ConsoleOptions) =>
      withGateway(world, options, async (gateway) => {
        const peers = await gateway.peers();
        world.out.write(options.json ? json({ peers }) : list(peers, world.clock.now()));
      }),
    );

  asksGateway(anchor.command('hold'))
    .description('neither dial nor admit the site of a peer, and end what stands of it, until it is released')
    .argument('<peer>', 'its name in the configuration')
    .requiredOption('--reason <words>', 'why; goes to log and evidence')
    .action((peer: string, options: ReasonOptions) =>
      withGateway(world, options, async (gateway) => {
        await gateway.holdPeer(peer, options.reason);
        world.out.write(options.json ? json({ peer, held: true }) : `${peer} is held\n`);
      }),
    );

  asksGateway(anchor.command('release'))
    .description('let a site in again: by its name, whatever holds it, or by a release that its owner signed')
    .argument('[peer]', 'its name in the configuration')
    .option('--reason <words>', 'why; goes to log and evidence')
    .option('--file <file>', 'a signed release, in place of a name')
    .action((peer: string | undefined, options: ReleaseOptions, command: Command) =>
      release(world, peer, options, command),
    );

  anchor
    .command('make-key')
    .description('a key of the site_owner that signs releases; prints what the anchor configures as releaseKeys')
    .requiredOption('--out <file>', 'where the secret key goes')
    .requiredOption('--name <name>', 'of the key, as owner.site.example')
    .action(async ({ out, name }: { readonly out: string; readonly name: string }) => {
      const { sha256, randomBytes } = nodeCrypto;
      world.out.write(`${await createLogKey(sha256, randomBytes, out, name)}\n`);
    });

  anchor
    .command('sign-release')
    .description('print a release of this site, to be given to the anchor by any way but the mesh')
    .requiredOption('--key <file>', 'of the site_owner')
    .requiredOption('--peer <spiffe-id>', 'this site’s gateway, which is held', identity)
    .requiredOption('--anchor <spiffe-id>', 'the gateway that holds it', identity)
    .option('--epoch <number>', 'of this site’s posture at its level 1, as `posture get` said it', epoch)
    .option('--hold <id>', 'as the anchor’s `anchor list` says it, in place of --epoch', holdId)
    .option('--level <level>', 'this site’s level now, 2 to 5', postureLevel, 5)
    .option('--for <time>', 'how long it may be used; seven days at most', milliseconds, 3_600_000)
    .action((options: SignOptions, command: Command) => sign(world, options, command));
}

async function release(
  world: CliWorld,
  peer: string | undefined,
  options: ReleaseOptions,
  command: Command,
): Promise<void> {
  const { file, reason } = options;
  if (file !== undefined && peer === undefined) {
    const document = await readFile(file);
    await withGateway(world, options, (gateway) => gateway.deliverRelease(document));
    world.out.write(options.json ? json({ released: true }) : 'released\n');
    return;
  }
  if (peer === undefined || reason === undefined || file !== undefined) {
    return command.error('error: either a peer and --reason, or --file');
  }
  const wasHeld = await withGateway(world, options, (gateway) => gateway.releasePeer(peer, reason));
  const said = wasHeld ? `${peer} is released\n` : `${peer} was not held\n`;
  world.out.write(options.json ? json({ peer, released: wasHeld }) : said);
}

async function sign(world: CliWorld, options: SignOptions, command: Command): Promise<void> {
  const { key, peer, anchor, level, epoch } = options;
  if ((epoch === undefined) === (options.hold === undefined)) return command.error('error: either --epoch or --hold');
  const hold = epoch === undefined ? (options.hold ?? '') : drainHoldId(nodeCrypto.sha256, peer, anchor, epoch);
  if (level === 1) throw new ShellstreamError('RELEASE_LEVEL');
  const signer = await loadKey(nodeCrypto.sha256, key);
  const expiresAtMs = world.clock.now() + options.for;
  world.out.write(Buffer.from(signRelease({ hold, peer, anchor, level, expiresAtMs }, signer)).toString());
}

function list(peers: readonly PeerView[], nowMs: number): string {
  if (peers.length === 0) return 'no mesh peers are configured\n';
  return table(
    ['PEER', 'STATE', 'SITE', 'HOLD', 'BY', 'EPOCH', 'FOR', 'REASON'],
    peers.map(({ name, state, spiffeId, hold }) => [
      name,
      state,
      spiffeId,
      hold?.id ?? '',
      hold?.cause ?? '',
      hold === undefined || hold.cause !== 'drain' ? '' : String(hold.epoch),
      hold === undefined ? '' : duration(nowMs - hold.sinceMs),
      hold?.reason ?? '',
    ]),
  );
}

function identity(text: string): SpiffeId {
  const id = parseSpiffeId(text);
  if (id === undefined) throw new InvalidArgumentError('A SPIFFE ID looks like spiffe://trust.domain/path.');
  return id;
}

function epoch(text: string): bigint {
  if (!/^\d{1,20}$/.test(text)) throw new InvalidArgumentError('An epoch is a whole number.');
  return BigInt(text);
}

function holdId(text: string): string {
  if (!/^[0-9a-f]{32}$/.test(text)) throw new InvalidArgumentError('A hold is 32 hex digits.');
  return text;
}
