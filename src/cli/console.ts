/** Finds the gateway that a verb talks to, and talks to it. */
import type { Command } from 'commander';
import { type ControlClient, connectControl } from '../control/client.ts';
import { instanceName } from './arguments.ts';
import type { CliWorld } from './world.ts';

export interface ConsoleOptions {
  readonly socket?: string;
  readonly instance: string;
  readonly json?: boolean;
}

/** The options of every verb that asks a running gateway. */
export function asksGateway(command: Command): Command {
  return command
    .option('--instance <name>', 'which gateway of this host', instanceName, DEFAULT_INSTANCE)
    .option('--socket <path>', 'its control socket, where that is elsewhere than /run/shellstream/INSTANCE')
    .option('--json', 'print JSON');
}

export async function withGateway<T>(
  world: CliWorld,
  options: ConsoleOptions,
  use: (gateway: ControlClient) => Promise<T>,
): Promise<T> {
  using gateway = await connectControl({ path: controlSocket(options), clock: world.clock });
  return await use(gateway);
}

export function controlSocket({ socket, instance }: ConsoleOptions): string {
  return socket ?? `/run/shellstream/${instance}/control.sock`;
}

/** As in the configuration. */
export const DEFAULT_INSTANCE = 'main';
