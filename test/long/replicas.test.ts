/** Two Quartermasters that share a three-node NATS stream, and what is killed under them. */
import { Code } from '@connectrpc/connect';
import { afterAll, beforeAll, expect, onTestFailed, test } from 'vitest';
import { formatVerifierKey } from '../../protocol/evidence/index.ts';
import { issueRequestToken } from '../../protocol/quartermaster/index.ts';
import { systemClock } from '../../src/base/clock.ts';
import { nodeCrypto } from '../../src/base/crypto-node.ts';
import { noteSigner } from '../../src/evidence/ed25519.ts';
import { EvidenceFolder } from '../../src/evidence/fixtures.ts';
import type { Spool } from '../../src/evidence/spool.ts';
import { linkBySpiffe } from '../../src/quartermaster/client.ts';
import { transitEntry } from '../../src/quartermaster/fixtures.ts';
import { BUILD_MS, buildNats, NatsCluster } from '../nats/cluster.ts';
import { forwardTo, type QuartermasterProcess, sequences, spiffeId, Town } from '../quartermaster/depot.ts';
import { eventually } from '../support/eventually.ts';
import { describeWith } from '../support/requirements.ts';

const ISSUER = noteSigner(nodeCrypto.sha256, 'issuer.q.test', new Uint8Array(32).fill(4));

describeWith(['go'], 'replicas over NATS JetStream', () => {
  let cleanup: AsyncDisposableStack;
  let cluster: NatsCluster;
  let town: Town;
  let replicas: QuartermasterProcess[];
  let spool: Spool;

  beforeAll(async () => {
    cleanup = new AsyncDisposableStack();
    await buildNats();
    cluster = cleanup.use(await NatsCluster.create());
    const folder = cleanup.use(new EvidenceFolder());
    spool = cleanup.use(folder.spool());
    town = cleanup.use(await Town.create());
    const changes = {
      nats: { servers: cluster.servers },
      proposals: { proposers: ['spiffe://q.test/operator/*'], issuers: [formatVerifierKey(ISSUER)] },
    };
    replicas = [await town.start('one', changes), await town.start('two', changes)];
  }, BUILD_MS);
  afterAll(() => cleanup.disposeAsync());

  test('a token used twice at once on two replicas: exactly one wins, and both know of the proposal', async () => {
    const { id, tls } = await town.end('/operator/one');
    const links = await Promise.all(
      replicas.map(({ remote }) => linkBySpiffe(tls, remote, AbortSignal.timeout(30_000))),
    );
    for (let round = 1; round <= 10; round += 1) {
      const notBeforeMs = systemClock.now() - 1_000;
      const terms = { subject: id, audience: spiffeId('spiffe://q.test/quartermaster'), notBeforeMs };
      const token = { ...terms, id: new Uint8Array(16).fill(round), expiresAtMs: notBeforeMs + 60_000 };
      const request = { requestToken: issueRequestToken(ISSUER, token), proposal: Buffer.from(`route ${round}`) };
      const answers = await Promise.allSettled(links.map(({ client }) => client.submitProposal(request)));
      const refused = answers.flatMap((answer) => (answer.status === 'rejected' ? [answer.reason] : []));
      expect(refused).toMatchObject([{ code: Code.PermissionDenied }]);
    }
    for (const link of links) link[Symbol.dispose]();
    const auditor = await town.end('/audit/two');
    for (const { remote } of replicas) {
      using link = await linkBySpiffe(auditor.tls, remote, AbortSignal.timeout(30_000));
      await eventually('all proposals', async () => (await link.client.listProposals({})).proposals.length === 10);
    }
  });

  test('a replica and then a NATS node are killed while a gateway forwards: nothing acknowledged is lost', async () => {
    const [one, two] = replicas;
    if (one === undefined || two === undefined) throw new Error('no replicas');
    const { tls } = await town.end('/gateway');
    append(spool, 6_000);
    const forwarder = cleanup.use(forwardTo(tls, spool, replicas));
    await eventually('some of it is acknowledged', () => forwarder.status.acknowledged > 500);
    await one.kill();
    await eventually('the other replica goes on', () => forwarder.status.acknowledged > 2_500, { withinMs: 30_000 });
    await cluster.kill(0);
    append(spool, 1_000);
    forwarder.wake();
    onTestFailed(() => console.error(forwarder.status, two.log.slice(-3_000)));
    await eventually('all is acknowledged', () => forwarder.status.behind === 0, { withinMs: 60_000 });
    expect(forwarder.status).toMatchObject({ acknowledged: 7_000, forgotten: 0 });

    await one.start();
    const auditor = await town.end('/audit/one');
    for (const replica of [two, one]) {
      const all = await eventually(
        'the replica has all',
        async () => {
          const found = await sequences(auditor.tls, replica);
          return found.length >= 7_000 ? found : undefined;
        },
        { withinMs: 30_000, everyMs: 500 },
      );
      expect(all).toEqual(Array.from({ length: 7_000 }, (_, at) => at));
    }
  }, 240_000);
});

let appended = 0;

function append(spool: Spool, count: number): void {
  const records = Array.from({ length: count }, () => {
    appended += 1;
    return transitEntry(appended).what.value.artifact;
  });
  spool.append(records.map((record) => ({ to: 'log', record, kind: 1, level: 3 })));
}
