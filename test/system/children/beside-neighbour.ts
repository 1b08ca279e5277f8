/**
 * A gateway on the kernel's data plane, and a neighbour in memory that it has a mesh session with: what a test kills in the
 * midst of its work. To everything in the kernel and on disk that is as real as another's SIGKILL.
 */
import { join } from 'node:path';
import { systemClock as clock } from '../../../src/base/clock.ts';
import { parseConfig } from '../../../src/base/config.ts';
import { nodeCrypto as crypto } from '../../../src/base/crypto-node.ts';
import { createLogger } from '../../../src/base/logger.ts';
import { type LinuxDataPlaneOptions, openLinuxDataPlane } from '../../../src/dataplane/linux/index.ts';
import { createMemoryDataPlane, MemoryWire } from '../../../src/dataplane/memory/index.ts';
import type { DataPlane } from '../../../src/dataplane/ports.ts';
import { MemoryInternet } from '../../../src/link/index.ts';
import type { EnforcerWorld } from '../../../src/roots/enforcer-world.ts';
import { eventually } from '../../support/eventually.ts';
import { type MemoryGateway, startMemoryGateway } from '../../support/memory-gateway.ts';
import { ACCORD, memoryDomains } from '../../support/memory-nodes.ts';

export interface Place {
  readonly folder: string;
  readonly instance: string;
  /** Its path. */
  readonly namespace: string;
}

export interface BesideNeighbour extends AsyncDisposable {
  readonly gateway: MemoryGateway;
  /** Until there is a session with the neighbour, which is started if need be. */
  meet(): Promise<void>;
  /** The neighbour shuts down in order; until nothing of its session stands here. */
  part(): Promise<void>;
}

const PEER = {
  name: 'b',
  spiffeId: 'spiffe://b.test/gateway',
  address: '192.0.2.2:7843',
  request: { capabilities: ['OBSERVE', 'CONNECT'], targets: [{ prefix: '10.2.0.10/32', port: 9443 }] },
};

/** @param seen what stands between the gateway and its data plane */
export async function startBesideNeighbour(
  { folder, instance, namespace }: Place,
  kept: Pick<EnforcerWorld, 'posture' | 'evidence'>,
  seen: (dataplane: DataPlane) => DataPlane = (dataplane) => dataplane,
): Promise<BesideNeighbour> {
  await using parts = new AsyncDisposableStack();
  const domains = parts.use(await memoryDomains(clock));
  const internet = new MemoryInternet({ clock, delayMs: () => 0 });
  const log = createLogger({ level: 'warn' });
  const world = async (name: 'a' | 'b', host: string, peers: readonly object[]) => ({
    config: parseConfig(
      JSON.stringify({
        apiVersion: 'shellstream/v1',
        instance: name === 'a' ? instance : name,
        site: { trustDomain: `${name}.test` },
        listen: { address: host, port: 7843 },
        wireguard: { addresses: [name === 'a' ? '10.99.0.1/24' : '10.99.0.2/24'] },
        mesh: { peers },
      }),
    ),
    accord: ACCORD,
    identity: (await domains.identity(name)).source,
    crypto,
    clock,
    log,
    random: () => 0.5,
    carrier: internet.host(host),
  });
  const page = { governancePage: join(folder, 'governance') };
  const place: LinuxDataPlaneOptions = { instance, ...page, tunnels: 'embedded', namespace };
  const dataplane = seen(parts.use(await openLinuxDataPlane(place)));
  const gateway = parts.use(
    await startMemoryGateway({ ...(await world('a', '192.0.2.1', [PEER])), ...kept, dataplane }),
  );

  const other = await world('b', '192.0.2.2', []);
  let neighbour: MemoryGateway | undefined;
  parts.defer(() => neighbour?.[Symbol.asyncDispose]());
  const owned = parts.move();
  return {
    gateway,
    async meet() {
      neighbour ??= await startMemoryGateway({
        ...other,
        dataplane: createMemoryDataPlane({ clock, wire: new MemoryWire(), host: '192.0.2.2' }),
        posture: { store: { save: async () => {} }, kept: undefined, isSameBoot: false },
      });
      gateway.mesh.nudge();
      await eventually('a session', () => gateway.registry.size === 1 && neighbour?.registry.size === 1);
    },
    async part() {
      await neighbour?.[Symbol.asyncDispose]();
      neighbour = undefined;
      await eventually('the end of the session', () => gateway.registry.size === 0 && gateway.directory.size === 0);
    },
    [Symbol.asyncDispose]: () => owned.disposeAsync(),
  };
}
