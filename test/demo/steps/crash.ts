/** SIGKILL: what is left without anybody to look after it, and what a restart makes of that. */
import assert from 'node:assert/strict';
import { HOST, PORTS } from '../../lab/lab.ts';
import { remainsOf } from '../../lab/remains.ts';
import type { Site } from '../../lab/site.ts';
import { bootTimeNs } from '../../support/boot-time.ts';
import { dumpValues } from '../../support/bpf-maps.ts';
import { eventually } from '../../support/eventually.ts';
import { killFlowHolder } from '../../support/lapse.ts';
import { LEASE_SECONDS, type Stage } from '../stage.ts';
import type { Step } from '../story.ts';

export const crashSteps: readonly Step<Stage>[] = [
  { name: 'gateway killed with SIGKILL: flows lapse', run: flowsLapse },
  { name: 'after the restart nothing of the old run remains', run: restart },
];

async function flowsLapse(stage: Stage): Promise<string> {
  const { lab } = stage;
  // Ours embeds WireGuard: its tunnel dies with the process. So the lease is shown on a link that outlives the daemon, too.
  const holder = killFlowHolder(LEASE_SECONDS * 1000);
  const greeting = await eventually('the granted target', () => lab.a.greeting(HOST, PORTS.granted));
  assert.equal(greeting, `hello ${PORTS.granted}`);
  await lab.b.kill();
  assert.ok((await activeSessions(lab.b)) > 0, 'the map lost its session');
  assert.ok((await leaseOf(lab.b)) > 0n);
  await eventually('the end of the lease in kernel time', async () => (await leaseOf(lab.b)) < (await bootTimeNs()));
  assert.ok((await activeSessions(lab.b)) > 0, 'somebody cleaned up: the lease is not what stops packets');
  assert.equal(await lab.a.greeting(HOST, PORTS.granted), undefined, 'the target is still reached');
  const { passedForMs, droppedAfter, stillActive } = await holder;
  assert.ok(stillActive, 'the session left the map');
  assert.ok(
    passedForMs > 0 && passedForMs < LEASE_SECONDS * 1000 + 500,
    `the last packet passed after ${passedForMs} ms`,
  );
  return `the map still says active, its lease is over, the target does not answer; on a link that outlived its daemon packets passed for ${(passedForMs / 1000).toFixed(1)} s of a ${LEASE_SECONDS} s lease, then ${droppedAfter} of ${droppedAfter} were dropped`;
}

async function restart(stage: Stage): Promise<string> {
  const { lab, cast } = stage;
  // What a gateway that died may have left in the routing tables, and what is somebody else's.
  await lab.b.run('ip', 'route', 'add', '198.51.100.0/24', 'via', HOST, 'proto', '83');
  await lab.b.run('ip', 'route', 'add', '203.0.113.0/24', 'via', HOST, 'proto', 'static');
  const before = await remainsOf(lab.b);
  assert.ok(before.pinnedLinks.length > 0, 'nothing was left: no proof');

  await lab.b.start();
  cast.eventsOfB = stage.own(lab.b.events());
  await eventually('the session of the sites', async () => (await lab.b.sessions('mesh')).length === 1);
  await eventually('the granted target', () => lab.a.greeting(HOST, PORTS.granted));
  const after = await remainsOf(lab.b);
  const device = await lab.b.ifindex(lab.b.interfaceName);
  assert.deepEqual(after.devices, [lab.b.interfaceName]);
  assert.deepEqual(after.controlSockets, [`${lab.b.interfaceName}.sock`]);
  assert.deepEqual(after.ownRoutes, ['10.99.0.1']);
  assert.deepEqual(after.foreignRoutes, ['203.0.113.0/24']);
  const filtered = [device, await lab.b.ifindex('wan'), await lab.b.ifindex('lan')];
  assert.deepEqual(after.pinnedLinks, filtered.flatMap((ifindex) => [`${ifindex}-in`, `${ifindex}-out`]).sort());
  return `one device, one control socket, its filters on ${filtered.length} interfaces, routes of protocol 83: ${after.ownRoutes.join(' ')}; another's route was left alone; the target answers`;
}

async function leaseOf(site: Site): Promise<bigint> {
  return (await dumpValues(`${site.pins}/node_lease`)).get(0)?.readBigUInt64LE() ?? 0n;
}

/** Sessions that the map has as active and not yet expired. */
async function activeSessions(site: Site): Promise<number> {
  const now = await bootTimeNs();
  const sessions = [...(await dumpValues(`${site.pins}/session_state`)).values()];
  return sessions.filter((session) => session.readUInt32LE(16) === 1 && session.readBigUInt64LE(8) > now).length;
}
