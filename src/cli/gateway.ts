import { type Command, Option } from 'commander';
import { LOG_LEVELS } from '../base/logger.ts';
import type { CliWorld, TerminatorOptions } from './world.ts';

/** `shellstream gateway`: runs a gateway in the foreground. */
export function addGateway(program: Command, world: CliWorld): void {
  program
    .command('gateway')
    .description('run a gateway in the foreground until SIGTERM')
    .option('--config <file>', 'configuration', DEFAULT_CONFIG)
    .action(({ config }: { readonly config: string }) => world.runGateway(config));
}

/** `shellstream terminator`: one of a gateway's terminators, as the gateway or systemd starts it. */
export function addTerminator(program: Command, world: CliWorld): void {
  program
    .command('terminator')
    .description('run a terminator of a gateway: connections and sessions, without privileges')
    .option(
      '--socket <path>',
      'socket of the gateway; without it file descriptor 3, as `shellstream gateway` starts it',
    )
    .option('--instance <name>', 'for the log', 'main')
    .addOption(new Option('--log-level <level>', 'least severity that is logged').choices(LOG_LEVELS).default('info'))
    .action((options: TerminatorOptions) => world.runTerminator(options));
}

export const DEFAULT_CONFIG = '/etc/shellstream/main.yaml';
