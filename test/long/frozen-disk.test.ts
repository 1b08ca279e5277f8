/**
 * The disk of a gateway's evidence stops answering: nothing new comes to stand, what stands lapses in the kernel when nobody
 * renews its lease, and when the disk is back everything goes on, with nothing lost.
 */
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { GRANTED_TARGET, HOST, PORTS, TO_SITE_B } from '../lab/lab.ts';
import { labSuite } from '../lab/lab-suite.ts';
import { eventually } from '../support/eventually.ts';
import { type OwnDisk, ownDisk, takeAway } from '../support/own-disk.ts';

const DISK_BYTES = 96 << 20;

labSuite('the disk of the evidence stops answering', { start: false, leaseSeconds: 2 }, (lab) => {
  let disk: OwnDisk;

  beforeAll(async () => {
    disk = await ownDisk(DISK_BYTES);
  });
  afterAll(() => takeAway(disk, lab().b));

  test('sessions are not opened and flows lapse; when it answers again both go on, and the log verifies', async () => {
    const { a, b } = lab();
    await Promise.all([
      b.start({ evidence: { directory: join(disk.path, 'evidence'), budgetMegabytes: 64 } }),
      a.start(),
    ]);
    await eventually('the granted target', () => a.greeting(HOST, PORTS.granted));
    const person = await a.person({ path: '/person', tier: 'master' });

    await disk.freeze();
    await using asked = a.startConnect(person, ...TO_SITE_B, ...GRANTED_TARGET, '--json');
    await eventually('flows have lapsed', async () => (await a.greeting(HOST, PORTS.granted)) === undefined);
    expect(asked.sofar().stdout).not.toContain('"grant"');
    await disk.thaw();

    await eventually('flows are back', () => a.greeting(HOST, PORTS.granted));
    await eventually('evidence is recorded', async () => {
      const status = await b.json<{ readonly evidence: object }>('status');
      expect(status.evidence).toMatchObject({ state: 'recording', detail: '' });
      return true;
    });
    await Promise.all([a.stop(), b.stop()]);
    const [key = ''] = /[^"\s]+\+[0-9a-f]{8}\+[A-Za-z0-9+/=]+/.exec(b.log) ?? [];
    expect(await b.verb('verify-log', join(disk.path, 'evidence', 'log'), '--key', key)).toMatchObject({ code: 0 });
  });
});
