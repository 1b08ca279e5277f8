/**
 * The key of a running gateway's log is changed to the end, and the gateway is killed between the steps: whoever kept a
 * checkpoint goes on with the key that he was told, and nobody needs the former one any more.
 */
import { once } from 'node:events';
import { existsSync, watch } from 'node:fs';
import { copyFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { nodeCrypto } from '../../src/base/crypto-node.ts';
import { verifyLogDirectory } from '../../src/evidence/verify.ts';
import { labSuite } from '../lab/lab-suite.ts';
import type { Site } from '../lab/site.ts';
import { eventually } from '../support/eventually.ts';

labSuite('the key of the log is changed', { start: false }, (lab) => {
  test('to its end through a gateway process, SIGKILL between the steps and in the midst of the last', async () => {
    const { b } = lab();
    const directory = join(b.options.directory, 'state', 'evidence');
    const held: string[] = [];
    /** Whoever looks in from time to time. */
    const keep = async () => {
      const file = join(lab().directory, `held-${held.length}`);
      await copyFile(join(directory, 'log', 'checkpoint'), file);
      held.push(file);
    };
    await b.start();
    const [former = ''] = await keysOf(b);
    await eventually('a log', () => verified(b, [former]));
    await keep();

    const begun = await b.json<Told>('evidence', 'rotate-key');
    const [, next = ''] = begun.verifierKeys;
    expect(begun.verifierKeys).toEqual([former, expect.stringContaining(b.options.instance)]);
    for (const key of begun.verifierKeys) await eventually('a log that either proves', () => verified(b, [key]));
    await eventually('a log that both prove', () => verified(b, begun.verifierKeys, held));
    await keep();

    await killed(b);
    await b.start();
    expect(await keysOf(b)).toEqual(begun.verifierKeys);
    for (const key of begun.verifierKeys) await eventually('a log that either proves', () => verified(b, [key]));
    await eventually('a log that both prove', () => verified(b, begun.verifierKeys, held));

    // Dead the moment that the former key is gone, wherever in its last step it is then.
    const gone = keyGone(join(directory, 'log.key.next'));
    const finishing = b.shellstream('evidence', 'rotate-key', '--finish');
    await gone;
    await killed(b);
    await finishing;
    await b.start();
    expect(await keysOf(b)).toEqual([next]);
    await eventually('a log that the new key proves', () => verified(b, [next], held.slice(1)));
    await b.setPosture(4);
    await eventually('a log that the former key does not prove', async () => !(await verified(b, [former])));
    await keep();

    const again = await b.json<Told>('evidence', 'rotate-key');
    const [, third = ''] = again.verifierKeys;
    expect(again.verifierKeys).toEqual([next, expect.stringContaining(b.options.instance)]);
    expect((await b.json<Told>('evidence', 'rotate-key', '--finish')).verifierKeys).toEqual([third]);
    await eventually('a log that the third key proves', () => verified(b, [third]));
    await b.setPosture(5);
    await eventually('a log that the second does not prove', async () => !(await verified(b, [next])));
    expect(await b.shellstream('evidence', 'rotate-key', '--finish')).toMatchObject({ code: 1 });
    await b.stop();
    expect(await verified(b, [third])).toBe(true);
    // Who was told all of them proves that it is one log, from the first checkpoint on.
    expect(await verified(b, [former, next, third], held)).toBe(true);
  });
});

interface Told {
  readonly verifierKeys: readonly string[];
}

async function keysOf(site: Site): Promise<readonly string[]> {
  const { evidence } = await site.json<{ readonly evidence: Told }>('status');
  return evidence.verifierKeys;
}

/** By an outsider who has these keys, and kept these checkpoints. */
async function verified(site: Site, keys: readonly string[], held: readonly string[] = []): Promise<boolean> {
  const path = join(site.options.directory, 'state', 'evidence', 'log');
  const origin = `${site.options.domain.name}/shellstream/${site.options.instance}`;
  const report = await verifyLogDirectory({
    sha256: nodeCrypto.sha256,
    path,
    origin,
    keys,
    held,
  });
  return report.findings.length === 0;
}

async function killed(site: Site): Promise<void> {
  site.gateway.kill('SIGKILL');
  await site.gateway.finished;
}

/** Resolves when the file is not there any more. It is there now. */
async function keyGone(path: string): Promise<void> {
  const watcher = watch(join(path, '..'));
  while (existsSync(path)) await once(watcher, 'change');
  watcher.close();
}
