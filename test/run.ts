/**
 * `npm test`: every suite but the longest, one after another; `--only NAME` runs that one. The last line is `N passed, N failed`; outside CI, where tests
 * may be skipped for what the host lacks, `, N skipped` follows. The exit code is 0 only when something ran and nothing failed.
 */
import { homedir } from 'node:os';
import { delimiter, join } from 'node:path';
import { parseArgs } from 'node:util';
import { cargoTests } from './runner/cargo.ts';
import { staticChecks } from './runner/checks.ts';
import { fuzzReplay } from './runner/fuzz.ts';
import { kernelTier } from './runner/kernel.ts';
import { judge, lastLine, type Outcome, type Suite, sum, type Tally } from './runner/tally.ts';
import { vitestProject } from './runner/vitest.ts';
import { isCi } from './support/ci.ts';

const SUITES: readonly Suite[] = [
  staticChecks,
  vitestProject('unit', 'unit and property tests beside the code'),
  cargoTests,
  fuzzReplay,
  vitestProject('system', 'system tests: architecture, namespaces, real packets, other implementations'),
  {
    ...vitestProject('long', 'a gateway’s life, crashes at every record, faults of a host, the walk, the demo'),
    apart: true,
  },
  kernelTier,
];

/** Where `deploy/setup.sh` looks for them too: their installers leave PATH to the login shell. */
const TOOLCHAINS = [join(process.env.CARGO_HOME ?? join(homedir(), '.cargo'), 'bin'), '/usr/local/go/bin'];

async function main(): Promise<number> {
  process.env.PATH = [process.env.PATH, ...TOOLCHAINS].join(delimiter);
  const only = parseArgs({ options: { only: { type: 'string', multiple: true } } }).values.only;
  const unknown = only?.filter((name) => !SUITES.some((suite) => suite.name === name)) ?? [];
  if (unknown.length > 0) {
    console.error(`no suite ${unknown.join(', ')}; there are ${SUITES.map((suite) => suite.name).join(', ')}`);
    return 2;
  }
  const skipsAllowed = !isCi();
  const chosen = SUITES.filter(({ name, apart = false }) => only?.includes(name) ?? !apart);
  const tallies: Tally[] = [];
  for (const suite of chosen) tallies.push(await runSuite(suite, skipsAllowed));

  const total = sum(tallies);
  list('Skipped', total.skipped);
  list('Failed', total.failed);
  console.log(`\n${lastLine(total, skipsAllowed)}`);
  return total.failed.length === 0 && total.passed > 0 ? 0 : 1;
}

async function runSuite(suite: Suite, skipsAllowed: boolean): Promise<Tally> {
  console.log(`\n== ${suite.name}: ${suite.about}`);
  const began = performance.now();
  const tally = judge(suite.name, await suite.run(), skipsAllowed);
  const seconds = Math.round((performance.now() - began) / 1000);
  console.log(`== ${suite.name}: ${lastLine(tally, skipsAllowed)} in ${seconds} s`);
  return tally;
}

function list(title: string, outcomes: readonly Outcome[]): void {
  if (outcomes.length === 0) return;
  console.log(`\n${title}:`);
  for (const { name, why } of outcomes) console.log(`  ${name}\n      ${why}`);
}

process.exitCode = await main();
