/**
 * `npm run demo`: two sites on this machine, told step by step. Each step is proved by packets, by kernel state or by
 * another's program. `-- --json` prints one object a line. The exit code says whether all of it was seen.
 */
import { parseArgs } from 'node:util';
import { unmet } from '../support/requirements.ts';
import { openStage, type Stage } from './stage.ts';
import { STEPS } from './steps/index.ts';
import { Narrator, tellJson, tellPlainly } from './story.ts';

async function main(): Promise<number> {
  const { json } = parseArgs({ options: { json: { type: 'boolean', default: false } } }).values;
  const narrator = new Narrator(json ? tellJson : tellPlainly);
  const lacking = unmet(['root', 'namespaces', 'bpf', 'bpf objects', 'addon kernel', 'tun', 'wg', 'tcpdump']);
  if (lacking !== undefined) {
    await narrator.step(
      { name: 'this machine', run: () => Promise.reject(new Error(`the demo ${lacking}`)) },
      undefined,
    );
    narrator.end();
    return 1;
  }
  if (!json) console.log(PROLOGUE);
  await using owned = new AsyncDisposableStack();
  const opened = Promise.withResolvers<Stage>();
  const stands = await narrator.step(
    { name: 'two sites in namespaces', run: () => open(owned, opened.resolve) },
    undefined,
  );
  if (stands) {
    const stage = await opened.promise;
    const late = AbortSignal.timeout(PATIENCE_MS);
    for (const step of STEPS) {
      if (interrupted.aborted) return cutShort(narrator, 'interrupted');
      if (late.aborted) return cutShort(narrator, `not over after ${PATIENCE_MS / 1000} s`);
      await narrator.step(step, stage);
    }
  }
  return narrator.end() ? 0 : 1;
}

async function open(owned: AsyncDisposableStack, use: (stage: Stage) => void): Promise<string> {
  const stage = owned.use(await openStage());
  use(stage);
  const { a, b, host } = stage.lab;
  return `${a.namespace.name}, ${b.namespace.name} and ${host.name}; all of it goes at the end`;
}

async function cutShort(narrator: Narrator, why: string): Promise<number> {
  await narrator.step({ name: 'the rest', run: () => Promise.reject(new Error(why)) }, undefined);
  narrator.end();
  return 1;
}

/** On an idle machine it takes half a minute. */
const PATIENCE_MS = 65_000;

/** Ctrl-C ends the step at hand and takes everything down. */
const interruption = new AbortController();
const interrupted = interruption.signal;
for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => interruption.abort());

const PROLOGUE = `Two sites in network namespaces of their own, each with its trust domain and its gateway, joined by a wire.
Behind site-b is a host with three services: one granted to site-a, one not, one of the management class.

    site-a 10.77.0.1 ──wire── 10.77.0.2 site-b 10.2.0.1 ──lan── 10.2.0.10 host
       10.99.0.1 ~~~~~~~~~tunnel~~~~~~~~~ 10.99.0.2
`;

process.exitCode = await main();
