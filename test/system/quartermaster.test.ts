/** Quartermaster within a running gateway: what crossed the border can be asked for at its console. */
import { expect, test } from 'vitest';
import { labSuite } from '../lab/lab-suite.ts';
import type { Site } from '../lab/site.ts';
import { eventually } from '../support/eventually.ts';

labSuite('Quartermaster of a running gateway', {}, (lab) => {
  test('shows the transit of the session that stands, by level and by session', async () => {
    const { b } = lab();
    const session = await eventually('a session', async () => (await b.sessions('mesh'))[0]);
    const transits = await eventually('the transit is there', async () => {
      const found = await query(b, '--level', '5', '--session', session.id);
      return found.length > 0 ? found : undefined;
    });
    expect(transits).toMatchObject([
      {
        kind: 'sessionTransit',
        session: session.id,
        artifact: { sessionTransit: { initiatorId: 'spiffe://site-a.test/gateway', postureLevelAtTransit: 5 } },
      },
    ]);
    expect(await query(b, '--level', '3')).toEqual([]);
  });

  test('is told in status: where it is, and that nothing waits for it', async () => {
    const { b } = lab();
    const { quartermaster } = await eventually('nothing waits', async () => {
      const { evidence } = await b.json<{
        readonly evidence: { readonly quartermaster?: { readonly behind: number; readonly state: string } };
      }>('status');
      // It also asks what is held of the lane that has nothing to send.
      const { behind, state } = evidence.quartermaster ?? {};
      return behind === 0 && state === 'waiting' && evidence;
    });
    expect(quartermaster).toMatchObject({ place: 'embedded', problem: '' });
    expect(quartermaster).not.toHaveProperty('awaySinceMs');
  });
});

async function query(site: Site, ...options: string[]): Promise<unknown[]> {
  const socket = `${site.options.directory}/run/quartermaster.sock`;
  const { stdout } = await site.run(
    process.execPath,
    site.program,
    'evidence',
    'query',
    '--json',
    '--socket',
    socket,
    ...options,
  );
  return stdout
    .split('\n')
    .filter((line) => line !== '')
    .map((line): unknown => JSON.parse(line));
}
