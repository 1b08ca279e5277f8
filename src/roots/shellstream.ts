#!/usr/bin/env node
/** The process `shellstream`: gives the command line its world. A verb loads what only it needs. */
import { systemClock } from '../base/clock.ts';
import { main } from '../cli/main.ts';
import { shellOfThisProcess } from '../cli/remote-shell.ts';
import { EXIT } from '../cli/world.ts';
import { terminal } from './terminal.ts';
import { packageVersion } from './version.ts';

const interruption = new AbortController();
// Once each: a second signal ends a process that does not mind the first.
for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => interruption.abort());

// `shellstream events | head -1` is no failure.
process.stdout.on('error', () => process.exit(EXIT.ok));

process.exitCode = await main(process.argv.slice(2), {
  out: process.stdout,
  err: process.stderr,
  clock: systemClock,
  interrupted: interruption.signal,
  environment: process.env,
  remoteShell: shellOfThisProcess,
  version: packageVersion(),
  runGateway: async (configPath) => (await import('./run-gateway.ts')).runGateway(configPath),
  restorePosture: async (configPath) => (await import('./restore-posture.ts')).restorePosture(configPath),
  runTerminator: async (options) =>
    (await import('./terminator-process.ts')).runTerminator(options, interruption.signal),
  connectSession: async (request, interrupted) => (await import('./connect.ts')).connectSession(request, interrupted),
  runQuartermaster: async (configPath) =>
    (await import('./run-quartermaster.ts')).runQuartermaster(configPath, interruption.signal),
  openQuartermaster: async (place, interrupted) =>
    (await import('./ask-quartermaster.ts')).askQuartermaster(place, interrupted),
  questions: () => (process.stdin.isTTY ? terminal(interruption.signal) : undefined),
  host: async () => (await import('../cli/doctor/real-host.ts')).realHost(systemClock),
});
