/** Who is held after a lockdown, for how long, and by what he is let in again. */
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { beforeAll, expect, test } from 'vitest';
import type { PeerView, WatchedEvent } from '../../src/control/ports.ts';
import { GATEWAY_B, HOST, PORTS, TO_SITE_B } from '../lab/lab.ts';
import { labSuite } from '../lab/lab-suite.ts';
import type { Site } from '../lab/site.ts';
import { Capture } from '../support/capture.ts';
import { eventually } from '../support/eventually.ts';
import { SYN } from '../support/pcap.ts';

const GATEWAY_A = 'spiffe://site-a.test/gateway';
const OWNER_A = 'spiffe://site-a.test/people/owner';

labSuite('holds', { start: false }, (lab) => {
  const keyFile = (): string => join(lab().directory, 'owner.key');
  let releaseKey = '';

  const startB = (): Promise<void> => {
    const peer = { name: 'site-a', spiffeId: GATEWAY_A, releaseKeys: [releaseKey], ceremony: [OWNER_A] };
    return lab().b.start({ mesh: { peers: [peer], releases: { address: '127.0.0.1:7844' } } });
  };
  const peerOf = async (site: Site): Promise<PeerView | undefined> =>
    (await site.json<{ readonly peers: readonly PeerView[] }>('anchor', 'list')).peers[0];
  const isBack = (): Promise<string> =>
    eventually('the mesh', () => lab().a.greeting(HOST, PORTS.granted), { withinMs: 60_000 });
  /** And on disk: it blocks before it is, and only then outlives SIGKILL. */
  const heldAt = (site: Site): Promise<PeerView> =>
    eventually('a hold', async () => {
      const peer = await peerOf(site);
      const record = await readFile(join(site.options.directory, 'state', 'holds.json'), 'utf8');
      return peer?.hold !== undefined && record.includes(peer.hold.id) ? peer : undefined;
    });
  /** Site-a at 1 and back at 5; site-b holds it then. The epoch of its level 1. */
  const lockdownOfA = async (): Promise<string> => {
    const { a, b } = lab();
    await a.setPosture(1);
    const { epoch } = await a.json<{ readonly epoch: number | string }>('posture', 'get');
    await heldAt(b);
    await a.setPosture(5);
    return String(epoch);
  };
  /** A release of site-a for site-b, in a file. */
  const signed = async (epoch: string, ...more: readonly string[]): Promise<string> => {
    const ids = ['--peer', GATEWAY_A, '--anchor', GATEWAY_B, '--epoch', epoch];
    const made = await lab().a.verb('anchor', 'sign-release', '--key', keyFile(), ...ids, ...more);
    expect(made).toMatchObject({ code: 0 });
    const file = join(lab().directory, `release-${epoch}`);
    await writeFile(file, made.stdout);
    return file;
  };

  beforeAll(async () => {
    const { a } = lab();
    const made = await a.verb('anchor', 'make-key', '--out', keyFile(), '--name', 'owner.site-a.test');
    expect(made).toMatchObject({ code: 0 });
    releaseKey = made.stdout.trim();
    await Promise.all([a.start(), startB()]);
    await isBack();
  });

  test('a lockdown is held by the site that dials, over SIGKILL and the way back to 5, until the console says otherwise', async () => {
    const { a, b, directory } = lab();
    const held = await watched(a, 'held');
    await b.setPosture(1);
    expect(await heldAt(a)).toMatchObject({ name: 'site-b', hold: { cause: 'drain' } });
    expect(await held.event).toMatchObject({ peer: GATEWAY_B, cause: 'drain' });
    await b.setPosture(5);
    await using wire = await Capture.start(b.namespace, 'wan', join(directory, 'held.pcap'));
    await a.kill();
    await a.start();
    expect(await heldAt(a)).toMatchObject({ name: 'site-b', hold: { cause: 'drain' } });
    // The last of the session that was may still be on its way.
    const dialled = (await wire.packets()).filter(({ ip }) => ip?.destinationPort === 7843 && ip.flags === SYN);
    expect(dialled).toEqual([]);
    const released = await watched(a, 'released');
    expect(await a.shellstream('anchor', 'release', 'site-b', '--reason', 'telephone')).toMatchObject({ code: 0 });
    expect(await released.event).toMatchObject({ peer: GATEWAY_B, by: 'console' });
    await isBack();
  });

  test('the site that is dialled admits nobody of a held site; a signed release by HTTP lets it in, once', async () => {
    const { a, b } = lab();
    const epoch = await lockdownOfA();
    await eventually('a refusal at site-a', async () => (await peerOf(a))?.lastFailure?.reason === 'PEER_HELD');
    const person = await a.person({ path: '/people/visitor', tier: 'journeyman' });
    const visit = await a.connect(person, ...TO_SITE_B, '--ping', '--json');
    expect(visit).toMatchObject({ code: 1 });
    expect(visit.stderr).toContain('PEER_HELD');
    await b.kill();
    await startB();
    await heldAt(b);
    const file = await signed(epoch);
    const post = (): ReturnType<Site['run']> =>
      b.run('curl', '-s', '--data-binary', `@${file}`, 'http://127.0.0.1:7844/');
    expect((await post()).stdout).toMatch(/^released [0-9a-f]{32}\n$/);
    expect((await post()).stdout).toBe('RELEASE_SPENT\n');
    await a.setPosture(4);
    await isBack();
  });

  test('a signed release is taken from a file, and one of another lockdown is not', async () => {
    const { a, b } = lab();
    const epoch = await lockdownOfA();
    const wrong = await signed(String(BigInt(epoch) + 1n));
    expect((await b.shellstream('anchor', 'release', '--file', wrong)).stderr).toContain('RELEASE_MISMATCH');
    const right = await signed(epoch, '--level', '4');
    expect(await b.shellstream('anchor', 'release', '--file', right)).toMatchObject({ code: 0 });
    await a.setPosture(4);
    await isBack();
  });

  test('a site_owner who was named beforehand releases by attesting with ADMIN; a master does not', async () => {
    const { a, b } = lab();
    await lockdownOfA();
    const admin = ['--type', 'management', '--capability', 'ADMIN', '--capability', 'OBSERVE', '--ping', '--json'];
    const master = await a.person({ path: '/people/master', tier: 'master' });
    const owner = await a.person({ path: '/people/owner', tier: 'site_owner' });
    expect((await a.connect(master, ...TO_SITE_B, ...admin)).stderr).toContain('PEER_HELD');
    expect((await a.connect(owner, ...TO_SITE_B, '--ping', '--json')).stderr).toContain('PEER_HELD');
    expect((await a.connect(owner, ...TO_SITE_B, ...admin, '--posture', '1')).code).toBe(1);
    await heldAt(b);
    expect(await a.connect(owner, ...TO_SITE_B, ...admin)).toMatchObject({ code: 0 });
    expect((await peerOf(b))?.hold).toBeUndefined();
    await a.setPosture(4);
    await isBack();
  });

  test('a gateway that just dies is no lockdown: the mesh comes back by itself, whoever died', async () => {
    const { a, b } = lab();
    await a.kill();
    await a.start();
    await isBack();
    await b.kill();
    await startB();
    await isBack();
    expect([(await peerOf(a))?.hold, (await peerOf(b))?.hold]).toEqual([undefined, undefined]);
  });
});

interface Watched {
  readonly event: Promise<WatchedEvent | undefined>;
}

/** The next event of a kind, as whoever watches the gateway sees it; resolves when it is watched. */
async function watched(site: Site, kind: WatchedEvent['kind']): Promise<Watched> {
  const watcher = await site.console();
  const first = async (): Promise<WatchedEvent | undefined> => {
    using _ = watcher;
    for await (const event of watcher.watch()) if (event.kind === kind) return event;
    return undefined;
  };
  const event = first();
  // Asked later, answered: so the first question was heard as well.
  await site.sessions();
  return { event };
}
