/**
 * Many people in one process, each session opened as `shellstream connect` opens it. An order is a line on standard
 * input, a number and an `Order` in JSON; its answer is one on standard output, with the same number.
 */
import { createInterface } from 'node:readline';
import type { Duplex } from 'node:stream';
import { text } from 'node:stream/consumers';
import type { Target } from '../../../protocol/capability/model.ts';
import { reasonOf } from '../../../protocol/errors.ts';
import { parseAddress } from '../../../protocol/net/address.ts';
import { hostPrefix } from '../../../protocol/net/prefix.ts';
import type { ConnectedSession, ConnectRequest } from '../../../src/cli/session-port.ts';
import { connectSession } from '../../../src/roots/connect.ts';
import type { Fate, Opening, Order, Place } from '../crowd.ts';

/** Handshakes at a time: what an operator's machine would do, and below every limit of a gateway. */
const AT_ONCE = 8;
const TCP = 6;

const [host = '', port = '', gatewayId = ''] = process.argv.slice(2);
const sessions = new Map<string, ConnectedSession>();
const fates = new Map<string, Fate>();
const streams = new Map<string, Duplex>();

for await (const line of createInterface({ input: process.stdin })) {
  const space = line.indexOf(' ');
  console.log(`${line.slice(0, space)} ${JSON.stringify(await carryOut(JSON.parse(line.slice(space))))}`);
}

async function carryOut(order: Order): Promise<unknown> {
  switch (order.do) {
    case 'open':
      return await openAll(order.openings);
    case 'fates':
      return Object.fromEntries(fates);
    case 'begin':
      return await begin(order.name, targetAt(order.target));
    case 'finish':
      return await finish(order.name);
  }
}

/** By name: what was granted, or the reason why nothing was. */
async function openAll(openings: readonly Opening[]): Promise<Record<string, string>> {
  const answers: Record<string, string> = {};
  const waiting = [...openings];
  const work = async (): Promise<void> => {
    for (let next = waiting.shift(); next !== undefined; next = waiting.shift()) answers[next.name] = await open(next);
  };
  await Promise.all(Array.from({ length: AT_ONCE }, work));
  return answers;
}

async function open({ name, workloadApi, type, mode, capabilities, targets }: Opening): Promise<string> {
  const request: ConnectRequest = {
    identity: { kind: 'workload-api', socket: workloadApi },
    gateway: { host, port: Number(port) },
    gatewayId,
    type,
    mode,
    capabilities,
    targets: targets.map(targetAt),
    posture: 5,
  };
  try {
    const session = await connectSession(request, new AbortController().signal);
    sessions.set(name, session);
    let fate: Fate = { drains: [], attestations: 1, end: undefined };
    const become = (more: Partial<Fate>): void => {
      fate = { ...fate, ...more };
      fates.set(name, fate);
    };
    become({});
    session.onNotice((notice) => {
      if (notice.kind === 'draining') become({ drains: [...fate.drains, `${notice.reason} ${notice.deadlineMs}`] });
      if (notice.kind === 'attested-again') become({ attestations: fate.attestations + 1 });
    });
    void session.ended.then(async ({ reason, byPeer }) => {
      become({ end: `${reason} ${byPeer ? 'by the gateway' : 'here'}` });
      sessions.delete(name);
      await session[Symbol.asyncDispose]();
    });
    return session.capabilities.join(' ');
  } catch (error) {
    return reasonOf(error);
  }
}

/** Opens a stream, and answers its first bytes. */
async function begin(name: string, target: Target): Promise<string> {
  try {
    const stream = await sessions.get(name)?.openStream(target);
    if (stream === undefined) return 'no such session';
    stream.on('error', () => undefined);
    streams.set(name, stream);
    const first: unknown[] = await new Promise((resolve) => stream.once('data', (bytes) => resolve([bytes])));
    stream.pause();
    return String(first[0]).trim();
  } catch (error) {
    return reasonOf(error);
  }
}

/** Says a last word on the stream, and answers what came back to its end. */
async function finish(name: string): Promise<string> {
  const stream = streams.get(name);
  if (stream === undefined) return 'no such stream';
  stream.end('a last word');
  return await text(stream).catch((error: unknown) => reasonOf(error));
}

function targetAt({ address, port }: Place): Target {
  return { prefix: hostPrefix(parseAddress(address)), protocol: TCP, port };
}
