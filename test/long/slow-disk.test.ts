/**
 * The disk of a gateway's evidence still answers, but late: whoever comes waits for a commit and comes to stand, the slowness is
 * told, the console works, a level that is set meets the kernel first, and nothing that was acknowledged is lost by a SIGKILL.
 */
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { grantOf } from '../lab/answers.ts';
import { GRANTED_TARGET, HOST, PORTS, TO_SITE_B } from '../lab/lab.ts';
import { labSuite } from '../lab/lab-suite.ts';
import type { Site } from '../lab/site.ts';
import { eventually } from '../support/eventually.ts';
import { type OwnDisk, ownDisk, takeAway } from '../support/own-disk.ts';
import { artifactsIn } from '../support/spool-records.ts';

const DISK_BYTES = 96 << 20;
/** Of each silence of the disk: far more than a disk takes, and a fraction of the lease. */
const SILENCE_SECONDS = 0.25;
const LEASE_SECONDS = 10;

labSuite('the disk of the evidence is slow', { start: false, leaseSeconds: LEASE_SECONDS }, (lab) => {
  let disk: OwnDisk;
  let settings: object;

  beforeAll(async () => {
    disk = await ownDisk(DISK_BYTES);
    const { a, b } = lab();
    settings = { evidence: { directory: join(disk.path, 'evidence'), budgetMegabytes: 64 } };
    await Promise.all([b.start(settings), a.start()]);
    await eventually('the granted target', () => a.greeting(HOST, PORTS.granted));
  });
  afterAll(() => takeAway(disk, lab().b));

  test('who comes is admitted a commit later, flows stand, the console works, and the slowness is told', async () => {
    const { a, b } = lab();
    const person = await a.person({ path: '/person', tier: 'master' });
    await using slowness = disk.slow(SILENCE_SECONDS);
    let granted: string | undefined;
    await eventually(
      'a slow commit is told',
      async () => {
        await using asked = a.startConnect(person, ...TO_SITE_B, ...GRANTED_TARGET, '--json');
        granted = grantOf(await asked.line(/"grant"/)).session;
        return (await slownessOf(b)).slowestCommitMs >= 100;
      },
      { withinMs: 60_000 },
    );
    const { health, slowestCommitMs } = await slownessOf(b);
    expect(health.problems.join()).toMatch(/the disk of the evidence is slow: a commit took \d+ ms/);
    // The lease outlives every commit by far: nothing lapsed.
    expect(slowestCommitMs).toBeLessThan(LEASE_SECONDS * 1_000);
    await eventually('the granted target still', () => a.greeting(HOST, PORTS.granted));
    await b.setPosture(4);
    expect(await b.postureInKernel()).toContain(4);
    await b.setPosture(5);

    // Whoever was granted something has his intent on the disk, whatever becomes of the gateway.
    await using asked = a.startConnect(person, ...TO_SITE_B, ...GRANTED_TARGET, '--json');
    const { session } = grantOf(await asked.line(/"grant"/));
    b.gateway.kill('SIGKILL');
    await b.gateway.finished;
    slowness.kill('SIGTERM');
    await slowness.finished;
    await b.start(settings);
    await eventually('the granted target is back', () => a.greeting(HOST, PORTS.granted), { withinMs: 60_000 });
    await b.stop();
    const known = artifactsIn(join(disk.path, 'evidence', 'spool', 'evidence.db')).flatMap(({ body }) =>
      body.case === 'sessionTransit' ? [Buffer.from(body.value.sessionId).toString('hex')] : [],
    );
    expect(known).toEqual(expect.arrayContaining([granted, session]));
    const [key = ''] = /[^"\s]+\+[0-9a-f]{8}\+[A-Za-z0-9+/=]+/.exec(b.log) ?? [];
    expect(await b.verb('verify-log', join(disk.path, 'evidence', 'log'), '--key', key)).toMatchObject({ code: 0 });
    await b.start(settings);
  });

  test.each([2, 1] as const)('level %i is in the kernel while the disk does not answer at all', async (level) => {
    const { a, b } = lab();
    await eventually('the granted target', () => a.greeting(HOST, PORTS.granted), { withinMs: 60_000 });
    using console = await b.console();
    await disk.freeze();
    let stated: Promise<unknown> | undefined;
    try {
      stated = console.setPosture({ level, reason: 'drill', forMs: undefined });
      await eventually('the level in the kernel', async () => (await b.postureInKernel()).includes(level));
    } finally {
      await disk.thaw();
    }
    await stated;
    await b.setPosture(5);
    // A peer that saw a lockdown holds us until somebody there says otherwise.
    await a.shellstream('anchor', 'release', 'site-b', '--reason', 'drill');
  });
});

interface Slowness {
  readonly slowestCommitMs: number;
  readonly health: { readonly problems: readonly string[] };
}

async function slownessOf(site: Site): Promise<Slowness> {
  const { evidence, health } = await site.json<
    { evidence: Pick<Slowness, 'slowestCommitMs'> } & Pick<Slowness, 'health'>
  >('status');
  return { ...evidence, health };
}
