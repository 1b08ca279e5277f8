/**
 * Writes evidence in a loop as the daemon does: intent, kernel, outcome, log. Kills itself with SIGKILL at the step that it
 * is told: `node writer.ts FOLDER KIND COUNT`, at the COUNT-th time that KIND comes by. What it prints, it was promised.
 *
 * The kernel is a file: one line for each thing that stands in it.
 */
import { appendFileSync, writeSync } from 'node:fs';
import promises from 'node:fs/promises';
import { syncBuiltinESMExports } from 'node:module';
import { join } from 'node:path';
import type { NoteSigner } from '../../../protocol/evidence/index.ts';
import { Phase } from '../../../protocol/gen/shellstream/evidence/v1/evidence_pb.ts';
import { systemClock } from '../../../src/base/clock.ts';
import { nodeCrypto } from '../../../src/base/crypto-node.ts';

const ROUNDS = 4;
const [folder = '', kind = '', count = '1'] = process.argv.slice(2);
let left = Number(count);

function step(name: string): void {
  if (name !== kind) return;
  left -= 1;
  if (left === 0) process.kill(process.pid, 'SIGKILL');
}

// Every file operation of the publisher, before and after it.
const { rename, open, rm, mkdir } = promises;
const around = <A extends unknown[], R>(name: string, action: (...args: A) => Promise<R>) => {
  return async (...args: A): Promise<R> => {
    step(`before-${name}`);
    const result = await action(...args);
    step(`after-${name}`);
    return result;
  };
};
Object.assign(promises, {
  rename: around('rename', rename),
  open: around('open', open),
  rm: around('rm', rm),
  mkdir: around('mkdir', mkdir),
});
syncBuiltinESMExports();

const { Publisher, Recorder, Spool, nodeEd25519 } = await import('../../../src/evidence/index.ts');
const { LOG_KEY, ORIGIN, sha256, mutation, transit, notarisation } = await import('../../../src/evidence/fixtures.ts');

const signing: NoteSigner = {
  ...LOG_KEY,
  sign(message) {
    // Inside the transaction, after the rows and before COMMIT.
    step('in-transaction');
    return LOG_KEY.sign(message);
  },
};
const spool = Spool.open({
  path: join(folder, 'spool', 'evidence.db'),
  sha256,
  ed25519: nodeEd25519,
  randomBytes: nodeCrypto.randomBytes,
  origin: ORIGIN,
  signers: [signing],
  budgetBytes: 64 << 20,
  reserveBytes: 64 << 10,
});
const publisher = await Publisher.open({
  path: join(folder, 'log'),
  spool,
  sha256,
  ed25519: nodeEd25519,
  origin: ORIGIN,
  keys: [LOG_KEY],
});
const recorder = new Recorder({
  spool,
  clock: systemClock,
  crypto: nodeCrypto,
  notarisation,
  posture: () => ({ level: 2, epoch: 1n }),
  onDurable: () => undefined,
});

const first = spool.size;
for (let round = 0; round < ROUNDS; round += 1) {
  const number = first * 1_000 + round;
  const make = round % 2 === 0 ? transit : mutation;
  step('before-intent');
  say('intent', (await recorder.record(make(number))).at);
  step('after-intent');
  appendFileSync(join(folder, 'kernel'), `${number}\n`);
  step('after-kernel');
  say('outcome', (await recorder.record(make(number, Phase.OUTCOME))).at);
  step('after-outcome');
  // A bundle's width and more between two checkpoints, now and then.
  if (round === 1)
    await recorder.recordAll(Array.from({ length: 300 }, (_, i) => mutation(number * 1_000 + i, Phase.OUTCOME)));
  await publisher.publish();
  say('published', publisher.published);
  step('after-publish');
}
recorder.close();
spool[Symbol.dispose]();

/** Written before the next step, unlike `console.log` to a pipe. */
function say(what: string, at: number): void {
  writeSync(1, `${what} ${at}\n`);
}
