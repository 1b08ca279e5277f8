/** `shellstream posture get|set`: the console as one source of posture. The most restrictive source governs. */
import type { Command } from 'commander';
import type { PostureLevel } from '../../protocol/posture/level.ts';
import { milliseconds, postureLevel } from './arguments.ts';
import { asksGateway, type ConsoleOptions, withGateway } from './console.ts';
import { json } from './output.ts';
import { postureReport } from './status.ts';
import type { CliWorld } from './world.ts';

interface SetOptions extends ConsoleOptions {
  readonly reason: string;
  readonly for?: number;
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
    .action((level: PostureLevel, options: SetOptions) =>
      withGateway(world, options, async (gateway) => {
        const posture = await gateway.setPosture({ level, reason: options.reason, forMs: options.for });
        world.out.write(options.json ? json(posture) : postureReport(posture, world.clock.now()));
      }),
    );
}
