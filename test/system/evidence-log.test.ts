/** The log's operation in a running gateway: a witness in Go, a key that changes, a copy that is older than what was seen. */
import { cp, rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { nodeCrypto } from '../../src/base/crypto-node.ts';
import type { ControlClient } from '../../src/control/client.ts';
import { createLogKey } from '../../src/evidence/keys.ts';
import { verifyLogDirectory } from '../../src/evidence/verify.ts';
import { BUILD_MS, buildGoTlog, GoTlog } from '../go-tlog/driver.ts';
import { labSuite } from '../lab/lab-suite.ts';
import type { Site } from '../lab/site.ts';
import { eventually } from '../support/eventually.ts';

const { sha256 } = nodeCrypto;

labSuite('the evidence log of a running gateway', { start: false, needs: ['go'] }, (lab) => {
  test(
    'is cosigned by a witness in Go while its key changes; put back to an older state, it records nothing',
    async () => {
      const { b } = lab();
      const directory = join(b.options.directory, 'state', 'evidence');
      const log = join(directory, 'log');
      const origin = `${b.options.domain.name}/shellstream/${b.options.instance}`;
      // The witness has to know the log before the log asks it.
      const former = await createLogKey(sha256, nodeCrypto.randomBytes, join(directory, 'log.key'), origin);
      await using go = new GoTlog(await buildGoTlog(), ['nsenter', `--net=${b.namespace.path}`]);
      const asked = { name: 'witness.test/go', origin, keys: [former], listen: '127.0.0.1:0' };
      const { url = '', key: witness = '' } = await go.ask('witness', asked);
      const changes = {
        evidence: { budgetMegabytes: 16, witnesses: { timeoutSeconds: 60, ask: [{ url, key: witness }] } },
      };
      await b.start(changes);
      const verified = async (key: string): Promise<number> => {
        const outsider = { origin, keys: [key], witnesses: [witness], quorum: 1 };
        const { size, findings } = await verifyLogDirectory({ sha256, path: log, ...outsider });
        return findings.length === 0 ? size : -1;
      };
      await eventually('a cosigned log', async () => (await verified(former)) > 0);

      const copy = join(b.options.directory, 'copy');
      const size = await ordered(b, async ({ evidence, status }) => {
        expect((await status()).evidence).toMatchObject({ quorum: 1, witnesses: [{ name: 'witness.test/go' }] });
        const copied = await evidence.tend('back-up');
        await rename(copied.path, copy);
        const { verifierKeys } = await evidence.tend('begin-rotation');
        expect(verifierKeys).toEqual([former, expect.stringContaining(origin)]);
        for (const key of verifierKeys) {
          await eventually('a log that either key proves', async () => (await verified(key)) > copied.size);
        }
        return copied.size;
      });
      expect(size).toBeGreaterThan(0);
      await b.stop();

      // All that this host had of the log is gone; only the witness knows.
      for (const name of ['spool', 'log']) await rm(join(directory, name), { recursive: true });
      const refused = await b.verb('evidence', 'restore', copy, '--config', b.configPath);
      expect(refused).toMatchObject({ code: 1, stderr: expect.stringContaining('EVIDENCE_ROLLED_BACK') });
      for (const name of ['spool', 'log']) await cp(join(copy, name), join(directory, name), { recursive: true });
      await b.start(changes);
      const evidence = await eventually('what the witness says of it', async () => {
        const { evidence } = await ordered(b, ({ status }) => status());
        return evidence?.detail.includes('EVIDENCE_ROLLED_BACK') === true ? evidence : undefined;
      });
      expect(evidence.state).toBe('failed');
      await b.stop();
    },
    BUILD_MS,
  );
});

async function ordered<T>(site: Site, order: (console: ControlClient) => Promise<T>): Promise<T> {
  using console = await site.console();
  return await order(console);
}
