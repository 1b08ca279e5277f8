/** `shellstream doctor`: names each missing piece of this host with the command that mends it. */
import { basename } from 'node:path';
import type { Command } from 'commander';
import { connectControl } from '../../control/client.ts';
import { healthOf } from '../../control/health.ts';
import type { Finding } from '../../control/ports.ts';
import { asksGateway, type ConsoleOptions, controlSocket } from '../console.ts';
import { DEFAULT_CONFIG } from '../gateway.ts';
import { json, printable, problem, table } from '../output.ts';
import type { CliWorld } from '../world.ts';
import { KERNEL_CHECKS, ok, warning } from './kernel-checks.ts';
import { forwarding, identity, ports, readSite } from './site-checks.ts';

/** `fail` is called when something is missing: that was said, and is no error. */
export function addDoctor(program: Command, world: CliWorld, fail: () => void): void {
  asksGateway(program.command('doctor'))
    .description('what this host lacks, and the command that mends it; exit code 1 while something is missing')
    .option('--config <file>', 'configuration', DEFAULT_CONFIG)
    .action(async (options: ConsoleOptions & { readonly config: string }) => {
      const findings = await diagnose(world, options);
      const healthy = findings.every(({ state }) => state !== 'missing');
      world.out.write(options.json ? json({ healthy, findings }) : report(findings));
      if (!healthy) fail();
    });
}

async function diagnose(
  world: CliWorld,
  options: ConsoleOptions & { readonly config: string },
): Promise<readonly Finding[]> {
  const { clock, environment } = world;
  const host = await world.host();
  const findings: Finding[] = [];
  for (const check of KERNEL_CHECKS) findings.push(await check(host));
  const site = await readSite(host, options.config);
  findings.push(...site.findings);
  if (site.config !== undefined) findings.push(...(await forwarding(host, site.config)));
  const workloadApi =
    site.config?.workloadApi.socket ?? environment.SPIFFE_ENDPOINT_SOCKET?.replace(/^unix:(\/\/)?/, '');
  if (workloadApi !== undefined) findings.push(...(await identity(host, workloadApi, clock.now())));

  const socket = options.socket ?? site.config?.control.socket ?? controlSocket(options);
  const online = await running(socket, clock).catch((error: unknown) => [
    warning(
      'gateway',
      problem(error),
      `shellstream gateway --config ${options.config}, or systemctl start shellstream@${basename(options.config, '.yaml')}`,
    ),
  ]);
  const isRunning = online.some(({ state }) => state === 'ok');
  // A running gateway holds its ports itself.
  if (site.config !== undefined && !isRunning) findings.push(...(await ports(host, site.config)));
  return [...findings, ...online];
}

async function running(path: string, clock: CliWorld['clock']): Promise<readonly Finding[]> {
  using gateway = await connectControl({ path, clock });
  const status = await gateway.status();
  const { problems } = healthOf(status);
  return [
    ok('gateway', `${status.instance} answers at ${path}, posture level ${status.posture.effective}`),
    ...problems.map((problem): Finding => ({ name: 'gateway', state: 'warning', detail: problem })),
    ...(await gateway.diagnose()),
  ];
}

function report(findings: readonly Finding[]): string {
  const found = table(
    ['', 'WHAT', 'FOUND'],
    findings.map(({ name, state, detail }) => [state === 'ok' ? '' : state.toUpperCase(), name, detail]),
  );
  const mends = findings.flatMap(({ name, mend }) =>
    mend === undefined ? [] : [`${printable(`${name}: ${mend}`)}\n`],
  );
  return mends.length === 0 ? found : `${found}\nto mend:\n${mends.join('')}`;
}
