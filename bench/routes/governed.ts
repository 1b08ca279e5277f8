import { readFileSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { PostureLevel } from '../../protocol/posture/index.ts';
import { parseAccord } from '../../protocol/posture/index.ts';
import { DEFAULT_ACCORD_FILE } from '../../src/base/accord-file.ts';
import { systemClock } from '../../src/base/clock.ts';
import { nodeCrypto } from '../../src/base/crypto-node.ts';
import { silentLogger } from '../../src/base/logger.ts';
import { createLinuxNetwork } from '../../src/dataplane/linux/network.ts';
import { GovernedRoutes } from '../../src/underlay/governed-routes.ts';
import { NO_WITNESS, type RouteRecord } from '../../src/underlay/ports.ts';
import { openUnderlayRecords } from '../../src/underlay/records.ts';
import type { Contender, Subject } from '../harness.ts';
import { governedNamespace } from '../host/governed-namespace.ts';
import { destination, expectRoutes, ROUTES } from './workload.ts';

/** Milliseconds of the routes' step of a transition from 5 to 1: planned, snapped on disk, removed, read back. */
export const takeAway: Contender = { name: 'ours', start: () => subject('bench-away', 5, 1, 0) };

/** And from 1 to 5. */
export const bringBack: Contender = { name: 'ours', start: () => subject('bench-back', 1, 5, ROUTES) };

async function subject(label: string, from: PostureLevel, to: PostureLevel, left: number): Promise<Subject> {
  await using stack = new AsyncDisposableStack();
  const { namespace } = await governedNamespace(label);
  stack.use(namespace);
  const folder = await mkdtemp(join(tmpdir(), 'shs-bench-routes-'));
  stack.defer(() => rm(folder, { recursive: true, force: true }));
  const network = createLinuxNetwork({ namespace: namespace.path });
  const records = await openUnderlayRecords(folder, nodeCrypto.sha256);
  await records.routes.save(Array.from({ length: ROUTES }, (_, index) => record(index)));
  const routes = stack.use(
    new GovernedRoutes({
      clock: systemClock,
      log: silentLogger,
      accord: parseAccord(readFileSync(DEFAULT_ACCORD_FILE)),
      network,
      records: await openUnderlayRecords(folder, nodeCrypto.sha256),
      tunnels: () => undefined,
      tierNow: ({ tier }) => tier,
      witness: NO_WITNESS,
      preApproved: [],
      randomBytes: nodeCrypto.randomBytes,
      level: 5,
    }),
  );
  await routes.apply(5);
  const owned = stack.move();
  return {
    async sample() {
      await routes.apply(from);
      const begun = performance.now();
      await routes.apply(to);
      const took = performance.now() - begun;
      expectRoutes((await network.routes()).length, left);
      return took;
    },
    [Symbol.asyncDispose]: () => owned.disposeAsync(),
  };
}

function record(index: number): RouteRecord {
  return {
    id: index.toString(16).padStart(32, '0'),
    state: 'standing',
    route: { destination: { address: destination(index), length: 32 }, link: 'gov0', table: 254 },
    class: 'ordinary',
    owner: { subject: 'uid:0', tier: 'site_owner' },
    reason: 'bench',
    atMs: 0,
  };
}
