/** The thread that waits for another program's word in the posture map: how late it is, and what it costs. */
import { readdir, readFile } from 'node:fs/promises';
import { setTimeout as delay } from 'node:timers/promises';
import type { LinuxFlows } from '../../src/dataplane/linux/flows.ts';
import type { Contender, Subject } from '../harness.ts';
import { governedFlows } from '../host/flows.ts';
import { governedNamespace } from '../host/governed-namespace.ts';

const THREAD = 'shs-posture';
const WATCHED_MS = 2_000;
/** Longer than the thread sleeps, so that a write falls anywhere into its sleep. */
const SPREAD_MS = 20;
const PATIENCE_MS = 5_000;

/** Milliseconds from a store into slot 0, as any program makes it, to the call of the listener in this process. */
export const slotLatency: Contender = {
  name: 'ours',
  start: () =>
    watching((flows, heard) => {
      let level = 5;
      return async () => {
        await delay(Math.random() * SPREAD_MS);
        level = level === 5 ? 4 : 5;
        const told = heard(level);
        const begun = performance.now();
        flows.plane.storeWord('posture_level', 0, 0, level);
        return (await told) - begun;
      };
    }),
};

/** Of a hundred parts of one core's time, those that the thread took while nothing was written. */
export const slotCpu: Contender = {
  name: 'ours',
  start: () =>
    watching(() => async () => {
      const [begun, before] = [performance.now(), await threadNanoseconds()];
      await delay(WATCHED_MS);
      return ((await threadNanoseconds()) - before) / (performance.now() - begun) / 10_000;
    }),
};

type Heard = (level: number) => Promise<number>;

async function watching(sampler: (flows: LinuxFlows, heard: Heard) => Subject['sample']): Promise<Subject> {
  await using stack = new AsyncDisposableStack();
  const { namespace, ifindex } = await governedNamespace('bench-slot');
  stack.use(namespace);
  const flows = await governedFlows(stack, namespace, ifindex);
  flows.plane.storeWord('posture_level', 0, 0, 5);
  let waiting: { readonly level: number; readonly told: (at: number) => void } | undefined;
  stack.use(
    flows.onExternalPosture(({ raw }) => {
      if (raw === waiting?.level) waiting.told(performance.now());
    }),
  );
  // The thread keeps no process alive: the patience does.
  const heard: Heard = (level) =>
    new Promise((told, failed) => {
      const patience = setTimeout(() => failed(new Error(`nobody told of level ${level}`)), PATIENCE_MS);
      const tell = (at: number): void => {
        clearTimeout(patience);
        told(at);
      };
      waiting = { level, told: tell };
    });
  const owned = stack.move();
  return { sample: sampler(flows, heard), [Symbol.asyncDispose]: () => owned.disposeAsync() };
}

/** That it ran so far; from the scheduler's own count. */
async function threadNanoseconds(): Promise<number> {
  for (const task of await readdir('/proc/self/task')) {
    const name = await readFile(`/proc/self/task/${task}/comm`, 'utf8').catch(() => '');
    if (name.trim() !== THREAD) continue;
    return Number((await readFile(`/proc/self/task/${task}/schedstat`, 'utf8')).split(' ')[0]);
  }
  throw new Error(`no thread is called ${THREAD}`);
}
