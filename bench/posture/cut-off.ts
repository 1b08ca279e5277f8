import { setTimeout as delay } from 'node:timers/promises';
import { connect, createNamespace, type Namespace } from '../../test/support/namespaces.ts';
import type { Contender, Subject } from '../harness.ts';

export const RECEIVER = { address: Uint8Array.of(192, 0, 2, 2), port: 7000 } as const;

/** What opens and closes the way from `gov0` of a namespace to the receiver. */
export interface Gate extends AsyncDisposable {
  open(): Promise<void>;
  close(): Promise<void>;
}

const QUIET_MS = 150;
/** Earlier than this before the close no packet can have been stopped by it: the receiver was overrun. */
const SLACK_US = 200;
const ATTEMPTS = 20;

/**
 * Microseconds from the call that closes the gate until the filter lets nothing pass any more: until the first packet
 * that was sent and did not arrive. The distance between two packets, some 10 µs, is in it.
 */
export function cutOff(name: string, gateAt: (namespace: Namespace) => Promise<Gate>): Contender {
  return {
    name,
    async start() {
      await using stack = new AsyncDisposableStack();
      const near = stack.use(await createNamespace('bench-near'));
      const far = stack.use(await createNamespace('bench-far'));
      await connect(
        { in: near, name: 'gov0', addresses: ['192.0.2.1/24'] },
        { in: far, name: 'gov1', addresses: ['192.0.2.2/24'] },
      );
      const gate = stack.use(await gateAt(near));
      const subject = await underFire(gate, near, far);
      const owned = stack.move();
      return { sample: subject, [Symbol.asyncDispose]: () => owned.disposeAsync() };
    },
  };
}

async function underFire(gate: Gate, near: Namespace, far: Namespace): Promise<Subject['sample']> {
  const place = [RECEIVER.address.join('.'), String(RECEIVER.port)];
  const receiver = far.startNode('bench/posture/receiver.ts', place);
  const sender = near.startNode('bench/posture/sender.ts', place);
  await Promise.all([receiver.line(/^ready/), sender.line(/^ready/)]);
  let tag = 0;

  const attempt = async (): Promise<number> => {
    tag += 1;
    await gate.open();
    receiver.write(`await ${tag}\n`);
    sender.write('start\n');
    await receiver.line(new RegExp(`^flowing ${tag}$`));
    const begun = process.hrtime.bigint();
    await gate.close();
    await delay(QUIET_MS);
    sender.write('stop\n');
    receiver.write(`last ${tag}\n`);
    const last = Number((await receiver.line(new RegExp(`^last ${tag} `))).split(' ')[2]);
    sender.write(`time ${last + 1}\n`);
    const stopped = BigInt((await sender.line(new RegExp(`^time ${last + 1} `))).split(' ')[2] ?? '0');
    return Number(stopped - begun) / 1000;
  };
  return async () => {
    for (let tries = 0; tries < ATTEMPTS; tries += 1) {
      const microseconds = await attempt();
      if (microseconds > -SLACK_US) return Math.max(microseconds, 0);
    }
    throw new Error('the receiver was overrun every time');
  };
}
