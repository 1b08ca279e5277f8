import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Namespace } from '../../test/support/namespaces.ts';
import type { Contender, Subject } from '../harness.ts';
import { governedNamespace } from '../host/governed-namespace.ts';
import { destination, expectRoutes, ROUTES } from './workload.ts';

/** A peer: `ip -batch` with one line a route. */
export const ipBatch: Contender = {
  name: 'ip-batch',
  start: () =>
    subject('bench-ip-batch', async (namespace, file) => {
      return async () => void (await namespace.run('ip', ['-batch', file]));
    }),
};

/** A peer: `ip route restore` of what `ip route save` wrote. */
export const ipRouteRestore: Contender = {
  name: 'ip-route-restore',
  start: () =>
    subject('bench-ip-restore', async (namespace, file) => {
      const saved = `${file}.saved`;
      await namespace.run('ip', ['-batch', file]);
      await namespace.run('sh', ['-c', `ip route save proto 83 > ${saved}`]);
      await flush(namespace);
      return async () => void (await namespace.run('sh', ['-c', `ip route restore < ${saved}`]));
    }),
};

/** @param prepare answers what is measured. */
async function subject(
  label: string,
  prepare: (namespace: Namespace, batchFile: string) => Promise<() => Promise<void>>,
): Promise<Subject> {
  await using stack = new AsyncDisposableStack();
  const { namespace } = await governedNamespace(label);
  stack.use(namespace);
  const directory = await mkdtemp(join(tmpdir(), 'shs-bench-'));
  stack.defer(() => rm(directory, { recursive: true, force: true }));
  const file = join(directory, 'routes');
  const lines = Array.from(
    { length: ROUTES },
    (_, index) => `route add ${destination(index).join('.')}/32 dev gov0 proto 83\n`,
  );
  await writeFile(file, lines.join(''));
  const owned = stack.move();
  return {
    async sample() {
      const measured = await prepare(namespace, file);
      const begun = performance.now();
      await measured();
      const took = performance.now() - begun;
      const { stdout } = await namespace.run('sh', ['-c', 'ip route show proto 83 | wc -l']);
      expectRoutes(Number(stdout), ROUTES);
      await flush(namespace);
      return took;
    },
    [Symbol.asyncDispose]: () => owned.disposeAsync(),
  };
}

async function flush(namespace: Namespace): Promise<void> {
  await namespace.run('ip', ['route', 'flush', 'proto', '83']);
}
