/** From two identities to a tunnel. */
import assert from 'node:assert/strict';
import { X509Certificate } from 'node:crypto';
import { systemClock } from '../../../src/base/clock.ts';
import { openIdentitySource } from '../../../src/identity/index.ts';
import type { Site } from '../../lab/site.ts';
import { eventually } from '../../support/eventually.ts';
import { UDP } from '../../support/pcap.ts';
import { conversations, type WireConversation } from '../../support/records.ts';
import type { Stage } from '../stage.ts';
import type { Step } from '../story.ts';

export const openingSteps: readonly Step<Stage>[] = [
  { name: 'identities issued', run: identitiesIssued },
  { name: 'handshake', run: handshake },
  { name: 'tunnel up', run: tunnelUp },
];

/** Asked of each Workload API like a workload does; checked with Node's own X.509. */
async function identitiesIssued({ lab }: Stage): Promise<string> {
  const issued = await Promise.all([lab.a, lab.b].map((site) => identityOf(site)));
  return `${issued.join(' and ')}, from two federated trust domains`;
}

async function identityOf({ options: { gateway, domain } }: Site): Promise<string> {
  await using source = openIdentitySource({ socketPath: gateway.socketPath, clock: systemClock, random: Math.random });
  await source.ready(AbortSignal.timeout(10_000));
  const { chain, spiffeId } = source.current();
  const leaf = new X509Certificate(Buffer.from(chain[0] ?? []));
  const authority = new X509Certificate(Buffer.from(domain.bundle().x509));
  assert.equal(leaf.subjectAltName, `URI:${spiffeId}`);
  assert.ok(leaf.verify(authority.publicKey), `${spiffeId} is not signed by its trust domain`);
  assert.equal(source.bundles.x509.size, 2, 'the other trust domain is not known');
  return spiffeId;
}

async function handshake(stage: Stage): Promise<string> {
  const { lab, cast } = stage;
  await Promise.all([lab.b.start(), lab.a.start()]);
  cast.eventsOfA = stage.own(lab.a.events());
  cast.eventsOfB = stage.own(lab.b.events());
  const attested = await eventually('ATTEST-INIT, -VERIFY, -CONFIRM and GRANT on the wire', async () =>
    conversations(await stage.wan.packets(), 7843).find(isAttested),
  );
  const [init, verify, confirm, grant] = attested.records;
  for (const site of [lab.a, lab.b]) {
    await eventually('a session at both sites', async () => (await site.sessions('mesh')).length === 1);
  }
  const sizes = `${init?.bytes}, ${verify?.bytes}, ${confirm?.bytes} bytes`;
  const ms = (grant?.atMs ?? 0) - (init?.atMs ?? 0);
  return `three records on the wire (${sizes}), GRANT under the new keys ${ms.toFixed(0)} ms after the first`;
}

function isAttested({ records }: WireConversation): boolean {
  const order = records.slice(0, 4).map(({ from, type }) => `${from} ${type}`);
  return order.join() === 'initiator 1,responder 2,initiator 3,responder 16';
}

async function tunnelUp({ lab, wan }: Stage): Promise<string> {
  // What comes before the tunnel's first handshake is not always kept.
  await eventually('a ping', async () => (await lab.a.run('ping', '-c1', '-W2', '10.2.0.10')).code === 0);
  for (const { interfaceName } of [lab.a, lab.b])
    await eventually('a handshake in wg show', () => shookHands(lab.a, interfaceName));
  const types = (await wan.packets()).filter(({ ip }) => ip?.protocol === UDP && ip.sourcePort === 51_840);
  const count = (type: number): number => types.filter(({ ip }) => ip?.payload[0] === type).length;
  assert.ok(count(1) > 0 && count(2) > 0, 'no WireGuard handshake on the wire');
  return `wg show has a handshake at both ends; on the wire ${count(1)} initiation, ${count(2)} response, ${count(4)} data`;
}

async function shookHands(site: Site, device: string): Promise<boolean> {
  const { stdout } = await site.run('wg', 'show', device, 'latest-handshakes');
  return Number(stdout.trim().split('\t')[1] ?? 0) > 0;
}
