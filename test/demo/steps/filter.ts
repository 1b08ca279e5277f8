/** What the tunnel carries, and what it does not. */
import assert from 'node:assert/strict';
import { HOST, PORTS } from '../../lab/lab.ts';
import { eventually } from '../../support/eventually.ts';
import { run } from '../../support/processes.ts';
import { attemptsAt, type Stage } from '../stage.ts';
import type { Step } from '../story.ts';

export const filterSteps: readonly Step<Stage>[] = [
  { name: 'granted target reachable', run: grantedTarget },
  { name: 'ungranted port dropped', run: ungrantedPort },
  { name: 'ungranted port dropped without the help of site-a', run: ungrantedPortFromHostileSite },
];

async function grantedTarget(stage: Stage): Promise<string> {
  const { lab, wan } = stage;
  assert.equal(await lab.a.greeting(HOST, PORTS.granted), `hello ${PORTS.granted}`);
  assert.equal(await attemptsAt(stage, PORTS.granted), 1, 'the host saw another number of connections');
  const inTheClear = (await wan.packets()).filter(
    ({ ip }) => ip?.destination === HOST || ip?.source === HOST || ip?.payload.includes('hello'),
  );
  assert.equal(inTheClear.length, 0, 'some of it was on the wire in the clear');
  return `site-a reached tcp ${HOST}:${PORTS.granted}; the wire between showed WireGuard only`;
}

async function ungrantedPort(stage: Stage): Promise<string> {
  const { lab, cast } = stage;
  assert.equal(await lab.b.greeting(HOST, PORTS.ungranted), `hello ${PORTS.ungranted}`, 'no listener behind it');
  const denial = await eventually('a denial at site-a', async () => {
    assert.equal(await lab.a.greeting(HOST, PORTS.ungranted), undefined, 'it was reached');
    return cast.eventsOfA?.find('denied', ({ denial }) => denial?.destinationPort === PORTS.ungranted);
  });
  assert.equal(await fromSiteA(stage), 0, 'a packet came through');
  return `something listens on ${PORTS.ungranted}, no packet of site-a came there; site-a's event: ${denial.denial?.cause} ${denial.denial?.direction}`;
}

/** Site-a's filter is torn off, as somebody would who took the site over: from here on site-b enforces alone. */
async function ungrantedPortFromHostileSite(stage: Stage): Promise<string> {
  const { lab, cast } = stage;
  const ifindex = await lab.a.ifindex(lab.a.interfaceName);
  for (const way of ['in', 'out'])
    await run('bpftool', ['link', 'detach', 'pinned', `${lab.a.pins}/links/${ifindex}-${way}`]);
  const denial = await eventually('a denial at site-b', async () => {
    assert.equal(await lab.a.greeting(HOST, PORTS.ungranted), undefined, 'it was reached');
    return cast.eventsOfB?.find('denied', ({ denial }) => denial?.destinationPort === PORTS.ungranted);
  });
  assert.equal(await fromSiteA(stage), 0, 'a packet came through');
  const greeting = await eventually('the granted target', () => lab.a.greeting(HOST, PORTS.granted));
  assert.equal(greeting, `hello ${PORTS.granted}`, 'the granted target went, too');
  return `site-a's filter is torn off with bpftool; site-b's drops it (${denial.denial?.cause} ${denial.denial?.direction}), the granted target still answers`;
}

/** Connections to the ungranted port other than site-b's own. */
async function fromSiteA(stage: Stage): Promise<number> {
  const packets = await stage.lan.packets();
  return packets.filter(({ ip }) => ip?.destinationPort === PORTS.ungranted && ip.source !== '10.2.0.1').length;
}
