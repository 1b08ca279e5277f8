/**
 * The command line: one file a verb. Exit codes: 0 ok, 1 refused or failed, 2 usage. What went wrong goes to stderr,
 * as JSON where --json was asked.
 */
import { Command, CommanderError } from 'commander';
import { reasonOf } from '../../protocol/errors.ts';
import { addAnchor } from './anchor.ts';
import { addConnect } from './connect.ts';
import { addCustody } from './custody.ts';
import { addDoctor } from './doctor/doctor.ts';
import { addEvents } from './events.ts';
import { addEvidence } from './evidence.ts';
import { addGateway, addTerminator } from './gateway.ts';
import { addInit } from './init.ts';
import { json, printable, problem } from './output.ts';
import { addPosture } from './posture.ts';
import { addQuartermaster } from './quartermaster.ts';
import { addReceipts } from './receipts.ts';
import { addRecords } from './records.ts';
import { addRevocations, addRevoke } from './revoke.ts';
import { addRoutes } from './routes.ts';
import { addSessions } from './sessions.ts';
import { addStatus } from './status.ts';
import { addVerifyLog } from './verify-log.ts';
import { type CliWorld, EXIT, type ExitCode } from './world.ts';

/** `argv` without the program's own name. */
export async function main(argv: readonly string[], world: CliWorld): Promise<ExitCode> {
  let code: ExitCode = EXIT.ok;
  const program = shellstream(world, () => {
    code = EXIT.failed;
  });
  try {
    await program.parseAsync(argv, { from: 'user' });
    return code;
  } catch (error) {
    if (error instanceof CommanderError) return HELPED.has(error.code) ? EXIT.ok : EXIT.usage;
    const [reason, detail] = [reasonOf(error), problem(error)];
    const text = `shellstream: ${printable(`${reason}: ${detail}`)}\n`;
    world.err.write(argv.includes('--json') ? json({ error: reason, detail }) : text);
    return EXIT.failed;
  }
}

function shellstream(world: CliWorld, fail: () => void): Command {
  const program = new Command('shellstream')
    .description('the attested session gateway')
    .version(world.version)
    .configureOutput({
      writeOut: (text) => world.out.write(text),
      writeErr: (text) => world.err.write(text),
      // Wrapped to the terminal's width the help would differ from host to host.
      getOutHelpWidth: () => 120,
      getErrHelpWidth: () => 120,
    })
    .showHelpAfterError('(add --help for what there is)')
    // Thrown, not exited, so that every way out has one of our exit codes; sub-commands inherit it.
    .exitOverride();
  for (const add of VERBS) add(program, world, fail);
  return program;
}

const VERBS = [
  addGateway,
  addTerminator,
  addConnect,
  addStatus,
  addSessions,
  addPosture,
  addRevoke,
  addRevocations,
  addRoutes,
  addAnchor,
  addEvents,
  addInit,
  addDoctor,
  addVerifyLog,
  addEvidence,
  addRecords,
  addReceipts,
  addCustody,
  addQuartermaster,
];

const HELPED: ReadonlySet<string> = new Set(['commander.helpDisplayed', 'commander.version']);
