/** A data plane whose daemon is killed: packets before, packets after, and what the kernel still holds. */

import { fileURLToPath } from 'node:url';
import { instanceName, removeTraces } from '../lab/leftovers.ts';
import { dumpValues } from './bpf-maps.ts';
import { eventually } from './eventually.ts';
import { connect, createNamespace } from './namespaces.ts';
import { start } from './processes.ts';

export interface Lapse {
  /** From the kill to the last packet that passed. */
  readonly passedForMs: number;
  /** Packets sent after the last one that passed. */
  readonly droppedAfter: number;
  /** Whether the session still stands as active in the pinned map. */
  readonly stillActive: boolean;
}

export async function killFlowHolder(leaseMs: number): Promise<Lapse> {
  await using parts = new AsyncDisposableStack();
  const instance = instanceName('h', 1);
  parts.defer(() => removeTraces(instance));
  const outside = parts.use(await createNamespace('outside'));
  const inside = parts.use(await createNamespace('inside'));
  await connect(
    { in: outside, name: 'wire', addresses: ['192.0.2.1/30'] },
    { in: inside, name: 'wire', addresses: ['192.0.2.2/30'] },
  );
  const links: { ifindex: number }[] = JSON.parse(
    (await inside.run('ip', ['-j', 'link', 'show', 'dev', 'wire'])).stdout,
  );
  const holder = parts.use(
    start('setpriv', [
      '--pdeathsig',
      'KILL',
      process.execPath,
      HOLDER,
      JSON.stringify({
        instance,
        namespace: inside.path,
        ifindex: links[0]?.ifindex,
        peer: '192.0.2.1/32',
        own: '192.0.2.2/32',
        leaseMs,
      }),
    ]),
  );
  await holder.line(/^holding/);
  const pinging = parts.use(start('nsenter', [`--net=${outside.path}`, 'ping', '-D', '-O', '-i0.05', '192.0.2.2']));
  const sent = (): readonly Ping[] => pinging.sofar().stdout.split('\n').flatMap(parsePing);
  await eventually('answers while the holder lives', () => sent().filter(({ answered }) => answered).length > 20);
  const killedAtMs = Date.now();
  process.kill(holder.pid, 'SIGKILL');
  await holder.finished;
  await eventually(
    'twenty packets without an answer',
    () =>
      sent().slice(-20).length === 20 &&
      sent()
        .slice(-20)
        .every(({ answered }) => !answered),
  );
  const all = sent();
  const last = all.findLastIndex(({ answered }) => answered);
  const session = (await dumpValues(`/sys/fs/bpf/shellstream/${instance}/session_state`)).get(1);
  return {
    passedForMs: (all[last]?.atMs ?? 0) - killedAtMs,
    droppedAfter: all.length - 1 - last,
    stillActive: session?.readUInt32LE(16) === 1,
  };
}

interface Ping {
  readonly atMs: number;
  readonly answered: boolean;
}

/** A line of `ping -D -O`: an answer, or `no answer yet`. */
function parsePing(line: string): readonly Ping[] {
  const match = /^\[(\d+\.\d+)\] (no answer yet|\d+ bytes from)/.exec(line);
  return match === null ? [] : [{ atMs: Number(match[1]) * 1000, answered: match[2] !== 'no answer yet' }];
}

const HOLDER = fileURLToPath(new URL('children/flow-holder.ts', import.meta.url));
