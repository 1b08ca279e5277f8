/** `shellstream gateway`: runs a gateway in this process, in the foreground. */
import type { Command } from 'commander';
import type { CliWorld } from './world.ts';

export function addGateway(program: Command, world: CliWorld): void {
  program
    .command('gateway')
    .description('run a gateway in the foreground until SIGTERM')
    .option('--config <file>', 'configuration', DEFAULT_CONFIG)
    .action(({ config }: { readonly config: string }) => world.runGateway(config));
}

export const DEFAULT_CONFIG = '/etc/shellstream/main.yaml';
