/** `shellstream posture`: the console as one source of posture, and its word over others. The most restrictive governs. */
import type { Command } from 'commander';
import type { PostureLevel } from '../../protocol/posture/level.ts';
import { epoch, milliseconds, postureLevel } from './arguments.ts';
import { asksGateway, type ConsoleOptions, withGateway } from './console.ts';
import { DEFAULT_CONFIG } from './gateway.ts';
import { json } from './output.ts';
import { cutsOff, previewReport } from './posture-preview.ts';
import { postureReport } from './status.ts';
import type { CliWorld } from './world.ts';

interface SetOptions extends ConsoleOptions {
  readonly reason: string;
  readonly for?: number;
  readonly dryRun?: boolean;
  readonly confirmWithin?: number;
}

interface SetAsideOptions extends ConsoleOptions {
  readonly reason: string;
  readonly epoch?: bigint;
}

interface ConfirmOptions extends ConsoleOptions {
  readonly epoch: bigint;
}

export function addPosture(program: Command, world: CliWorld): void {
  const posture = program.command('posture').description('see and set the posture level');

  asksGateway(posture.command('get'))
    .description('the effective level, and which source says what')
    .action((options: ConsoleOptions) =>
      withGateway(world, options, async (gateway) => {
        const posture = await gateway.posture();
        world.out.write(options.json ? json(posture) : postureReport(posture, world.clock.now()));
      }),
    );

  asksGateway(posture.command('set'))
    .description("the console's own level; another source may still hold a lower one")
    .argument('<level>', '5 normal … 1 lockdown', postureLevel)
    .requiredOption('--reason <words>', 'why; goes to log and evidence')
    .option('--for <time>', 'withdraw it after this time, as 30m; without: until it is set again', milliseconds)
    .option(
      '--confirm-within <time>',
      'take it back after this time, as 2m, unless `posture confirm` came',
      milliseconds,
    )
    .option('--dry-run', 'say what it would end, drain, withdraw and cut off, and do nothing')
    .action((level: PostureLevel, options: SetOptions) =>
      withGateway(world, options, async (gateway) => {
        if (options.dryRun) {
          const preview = await gateway.previewPosture(level);
          const cutsOwnSession = cutsOff(world.remoteShell(), preview);
          world.out.write(options.json ? json({ ...preview, cutsOwnSession }) : previewReport(preview, cutsOwnSession));
          return;
        }
        const { reason, for: forMs, confirmWithin: confirmWithinMs } = options;
        const posture = await gateway.setPosture({ level, reason, forMs, confirmWithinMs });
        world.out.write(options.json ? json(posture) : postureReport(posture, world.clock.now()));
      }),
    );

  asksGateway(posture.command('confirm'))
    .description('what was set with --confirm-within stands')
    .requiredOption(
      '--epoch <number>',
      'the statement that is meant, as `posture set` and `posture get` tell it',
      epoch,
    )
    .action((options: ConfirmOptions) =>
      withGateway(world, options, async (gateway) => {
        const posture = await gateway.confirmPosture(options.epoch);
        world.out.write(options.json ? json(posture) : postureReport(posture, world.clock.now()));
      }),
    );

  asksGateway(posture.command('set-aside'))
    .description('what a source has said so far does not count any more; its next statement does')
    .argument('<source>', 'as `posture get` names it: map, bascule, console, timer-NAME, record')
    .requiredOption('--reason <words>', 'why; goes to log and evidence')
    .option(
      '--epoch <number>',
      'the statement that is meant, as `posture get` shows it; refused after another one',
      epoch,
    )
    .action((source: string, options: SetAsideOptions) =>
      withGateway(world, options, async (gateway) => {
        const posture = await gateway.setAside(source, options.reason, options.epoch);
        world.out.write(options.json ? json(posture) : postureReport(posture, world.clock.now()));
      }),
    );

  posture
    .command('restore')
    .description('apply the kept level to this host before a gateway runs: for the boot, before the network is up')
    .option('--config <file>', 'configuration', DEFAULT_CONFIG)
    .action(({ config }: { readonly config: string }) => world.restorePosture(config));
}
