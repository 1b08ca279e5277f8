/**
 * Sessions that drain at 3: an apprentice's, with PROPOSE, which 3 takes away. `open N`: N of them, each with a stream that
 * sends and gets everything back. From its DRAIN on every second one has some time left to do, within the deadline, and then
 * ends; the others never do. `ended`: when all are over, what became of them.
 */
import type { Duplex } from 'node:stream';
import { loopbackEcho } from '../../test/support/loopback-echo.ts';
import { inParallel } from '../handshake/server-subject.ts';
import { obey } from '../lib/commands.ts';
import { Operator } from '../lib/operator.ts';

const CONCURRENCY = 8;
const PIECE = Buffer.alloc(1_024, 0x5a);
const EVERY_MS = 2_000;
/** Of the deadline's 4 s; the rest is for the machine to be late. */
const LONGEST_WORK_MS = 3_000;

interface Job {
  readonly isBounded: boolean;
  sent: number;
  received: number;
  isWhole: boolean;
  endedAt: bigint | undefined;
}

const { operator } = Operator.fromArguments(process.argv, { tier: 'apprentice' });
const { target } = await loopbackEcho();
let jobs: Job[] = [];
let over = Promise.withResolvers<void>();

obey(async ([verb, count = '']) => {
  if (verb === 'open') {
    jobs = [];
    over = Promise.withResolvers();
    return await inParallel(Number(count), CONCURRENCY, open);
  }
  await over.promise;
  const bounded = jobs.filter(({ isBounded }) => isBounded);
  const finished = bounded.filter(({ isWhole }) => isWhole).length;
  const cut = jobs.filter(({ isBounded, isWhole }) => !isBounded && !isWhole).length;
  const lastEnd = jobs.reduce((last, { endedAt = 0n }) => (endedAt > last ? endedAt : last), 0n);
  return JSON.stringify({ finished, lost: bounded.length - finished, cut, lastEnd: String(lastEnd) });
});

async function open(): Promise<void> {
  const job: Job = { isBounded: jobs.length % 2 === 0, sent: 0, received: 0, isWhole: false, endedAt: undefined };
  jobs.push(job);
  const drained = Promise.withResolvers<void>();
  const session = await operator.open(
    { capabilities: ['OBSERVE', 'CONNECT', 'PROPOSE'], targets: [target], advertise: [] },
    {
      drainReceived: () => drained.resolve(),
      ended: () => {
        job.endedAt = process.hrtime.bigint();
        if (jobs.every(({ endedAt }) => endedAt !== undefined)) over.resolve();
      },
    },
  );
  work(job, await session.streams.open(target), drained.promise);
}

function work(job: Job, stream: Duplex, drained: Promise<void>): void {
  const send = (): void => {
    if (stream.writableEnded || stream.destroyed) return;
    job.sent += PIECE.length;
    stream.write(PIECE);
  };
  send();
  const timer = setInterval(send, EVERY_MS);
  stream.on('data', (bytes: Buffer) => (job.received += bytes.length));
  stream.on('error', () => clearInterval(timer));
  stream.on('close', () => clearInterval(timer));
  stream.once('end', () => (job.isWhole = stream.writableEnded && job.received === job.sent));
  if (!job.isBounded) return;
  void drained.then(() => setTimeout(() => stream.end(), Math.random() * LONGEST_WORK_MS));
}
