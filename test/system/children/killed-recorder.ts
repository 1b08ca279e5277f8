/**
 * A gateway that keeps evidence and kills itself at a step of a session's way through spool, kernel and log.
 *
 *     killed-recorder.ts FOLDER INSTANCE NAMESPACE [STEP COUNT]: dies at that step of its start
 *
 * Takes a line each on stdin: `level N`; `go STEP COUNT` has a session from its beginning to its end, all of it published,
 * and dies at that step, or says that it survived; `end` shuts down in order. What it says is durable, it was promised.
 */
import { once } from 'node:events';
import { writeSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { isPostureLevel } from '../../../protocol/posture/index.ts';
import { eventually } from '../../support/eventually.ts';
import { DeadlySteps } from './deadly-steps.ts';

/** So many entries, and a tile becomes full: its partial ones go. */
const BUNDLE = 256;
const FILLER = {
  case: 'consoleUse',
  value: { uid: 0, pid: 1, verb: 'filler', argumentsHash: new Uint8Array(32) },
} as const;
const [folder = '', instance = '', namespace = '', step, count] = process.argv.slice(2);
const directory = join(folder, 'evidence');
const steps = new DeadlySteps();
steps.watchTransactions('evidence.db');
steps.watchFiles(join(directory, 'log'));
steps.arm(step?.replaceAll('-', ' '), Number(count));

// Not before: what they import would hold the functions as they were.
const { nodeCrypto } = await import('../../../src/base/crypto-node.ts');
const { systemClock } = await import('../../../src/base/clock.ts');
const { Recorder } = await import('../../../src/evidence/index.ts');
const { COMPENSATION } = (await import('../../../protocol/gen/shellstream/evidence/v1/evidence_pb.ts')).Phase;
const { openPostureStore } = await import('../../../src/posture/store.ts');
const { startBesideNeighbour } = await import('./beside-neighbour.ts');

let compensated = 0;
const { record, recordAll } = Recorder.prototype;
Recorder.prototype.record = async function (body) {
  const recorded = await record.call(this, body);
  say(`durable ${recorded.in} ${recorded.at}`);
  return recorded;
};
Recorder.prototype.recordAll = async function (bodies, seal) {
  const places = await recordAll.call(this, bodies, seal);
  compensated += bodies.filter(
    ({ value }) => value !== undefined && 'phase' in value && value.phase === COMPENSATION,
  ).length;
  const last = places.at(-1);
  if (last !== undefined) say(`durable ${last.in} ${last.at}`);
  return places;
};

const posture = await openPostureStore({ folder, bootId: 'one boot', sha256: nodeCrypto.sha256 }, systemClock.now());
const evidence = {
  directory,
  origin: 'a.test/killed',
  keys: [join(directory, 'log.key')],
  budgetBytes: 64 << 20,
  retentionDays: 90,
};
await using beside = await startBesideNeighbour({ folder, instance, namespace }, { posture, evidence }, (dataplane) =>
  steps.around(dataplane),
);
const { gateway } = beside;
const { store } = gateway.evidence ?? {};
const state = () => {
  if (store === undefined) throw new Error('no evidence');
  return store.state;
};
if (gateway.posture.level < 3) await published();
const { problem, verifierKeys, entries, leftOut, openIntents } = state();
say(`ready ${JSON.stringify({ problem, verifierKey: verifierKeys[0], entries, leftOut, openIntents, compensated })}`);

const lines = createInterface({ input: process.stdin });
lines.on('line', (line) => void obey(line.split(' ')));
await once(lines, 'close');
process.stdin.destroy();

async function obey([verb, first = '', second = '1']: readonly string[]): Promise<void> {
  if (verb === 'level') {
    const level = Number(first);
    if (!isPostureLevel(level)) throw new Error(`no level: ${first}`);
    await gateway.console.set({ level, reason: 'drill' });
    await published();
    say(`stands ${gateway.posture.level}`);
  }
  if (verb === 'go') {
    steps.arm(first.replaceAll('-', ' '), Number(second));
    await beside.meet();
    if (gateway.posture.level < 3) await store?.recordAll(Array.from({ length: BUNDLE }, () => FILLER));
    await beside.part();
    await published();
    // The checkpoint is there before what it supersedes is gone.
    await eventually('that gone', () => times('tile rm before') === times('tile rm after'));
    say(first === '' ? `went ${JSON.stringify(steps.taken)}` : `survived ${first} ${second}`);
  }
  if (verb === 'end') lines.close();
}

function times(step: string): number {
  return steps.taken.filter((taken) => taken === step).length;
}

/** At the strict levels that is at once. */
async function published(): Promise<void> {
  await eventually('all of it published', () => state().published === state().entries && state().openIntents === 0);
}

/** Written before the next step, unlike `console.log` to a pipe. */
function say(text: string): void {
  writeSync(1, `${text}\n`);
}
