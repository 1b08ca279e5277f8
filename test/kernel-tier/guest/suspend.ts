/** What a suspend does to deadlines: they count BOOTTIME, which goes on while the machine sleeps. */
import { strict as assert } from 'node:assert';
import { parseAddress } from '../../../protocol/net/address.ts';
import { hostPrefix } from '../../../protocol/net/prefix.ts';
import { systemClock } from '../../../src/base/clock.ts';
import { createLinuxFlows, type LinuxFlows } from '../../../src/dataplane/linux/flows.ts';
import { kernelAddon } from '../../../src/dataplane/linux/native.ts';
import type { FlowDenial } from '../../../src/dataplane/ports.ts';
import { ifindexOf } from '../../dataplane/flow-world.ts';
import type { Tally } from '../../runner/tally.ts';
import { eventually } from '../../support/eventually.ts';
import { connect, createNamespace, type Namespace } from '../../support/namespaces.ts';
import type { Running } from '../../support/processes.ts';
import { checks } from './checks.ts';
import { readAhead, sleepFor } from './sleep.ts';

/** Longer than the machine is awake for; shorter than it sleeps. */
const LEASE_S = 10;
const SLEEP_S = 15;
const LONG_S = 600;
const LASTING = 8080;
const ENDING = 8081;
/** Of the sessions, one a port. */
const SLOTS = { [LASTING]: 1, [ENDING]: 2 } as const;

/** The last thing on this boot: nothing can be read from the disk after it. Namespaces end with the machine. */
export async function suspend(): Promise<Tally> {
  const { check, tally } = checks();
  const host = await createNamespace('host');
  const peer = await createNamespace('peer');
  await connect(
    { in: host, name: 'gov0', addresses: ['10.1.0.1/24'] },
    { in: peer, name: 'gov1', addresses: ['10.1.0.2/24'] },
  );
  const echo = host.startNode('test/dataplane/children/echo.ts', ['listen', `${LASTING}`, `${ENDING}`]);
  await echo.line(/^listening/);
  const flows = await createLinuxFlows({ instance: 'suspend', namespace: host.path });
  await govern(flows, await ifindexOf(host, 'gov0'));
  const denials: FlowDenial[] = [];
  flows.onDenials((seen) => denials.push(...seen));
  const denied = (cause: FlowDenial['cause'], port: number): Promise<boolean> =>
    eventually(`${cause} on ${port}`, () =>
      denials.some((denial) => denial.cause === cause && denial.destinationPort === port),
    );

  const renew = (seconds: number): Promise<void> => flows.renewLease(inSeconds(seconds));
  await renew(LONG_S);
  const lasting = await talkTo(peer, LASTING);
  const ending = await talkTo(peer, ENDING);
  readAhead([process.pid, echo.pid, lasting.pid, ending.pid]);
  await renew(LEASE_S);
  await flows.extend(SLOTS[ENDING], 1, inSeconds(LEASE_S));
  await check('before a suspend, lease and sessions stand and packets pass', async () => {
    await says(lasting, 'before');
    await says(ending, 'before');
  });

  const before = { boot: bootTime(), awake: systemClock.monotonic() };
  sleepFor(SLEEP_S);
  const slept = Number(bootTime() - before.boot) / 1e9;
  const awake = (systemClock.monotonic() - before.awake) / 1000;
  lasting.write('after\n');
  ending.write('after\n');

  await check('a suspend passes in BOOTTIME and not in MONOTONIC, by which the lease would still stand', () => {
    assert.ok(slept > LEASE_S, `${slept} s of BOOTTIME`);
    assert.ok(awake < LEASE_S, `${awake} s of MONOTONIC`);
  });
  await check('a lease taken before a suspend has lapsed after it: no packet passes', async () => {
    await denied('LEASE_EXPIRED', LASTING);
    assert.ok(!/after/.test(lasting.sofar().stdout + ending.sofar().stdout));
  });
  await renew(LONG_S);
  await check('a new lease lets a session go on that still has time, on the connection it had', async () => {
    await lasting.line(/^after$/);
  });
  await check('a session that ended during the suspend stays ended', async () => {
    await denied('SESSION_EXPIRED', ENDING);
    assert.ok(!/after/.test(ending.sofar().stdout));
  });
  return tally();
}

const bootTime = (): bigint => kernelAddon().bootTimeNs();
const inSeconds = (seconds: number): bigint => bootTime() + BigInt(seconds) * 1_000_000_000n;

async function govern(flows: LinuxFlows, ifindex: number): Promise<void> {
  await flows.attach({ ifindex, kind: 'tunnel' });
  await flows.pinSources(ifindex, 1, [hostPrefix(parseAddress('10.1.0.2'))]);
  await flows.setPeerLevel(1, 5);
  const destination = hostPrefix(parseAddress('10.1.0.1'));
  for (const port of [LASTING, ENDING] as const) {
    const rule = { ifindex, direction: 'in', destination, protocol: 6, port, floor: 3 } as const;
    const session = { sessionSlot: SLOTS[port], generation: 1, peerSlot: 1, expiresAtBootNs: inSeconds(LONG_S) };
    await flows.install(session, [rule]);
    await flows.activate(session);
  }
}

async function talkTo(peer: Namespace, port: number): Promise<Running> {
  const talk = peer.startNode('test/dataplane/children/echo.ts', ['talk', '10.1.0.1', `${port}`]);
  await talk.line(/^connected/);
  return talk;
}

async function says(talk: Running, word: string): Promise<void> {
  talk.write(`${word}\n`);
  await talk.line(new RegExp(`^${word}$`));
}
