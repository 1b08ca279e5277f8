/**
 * To levels 2 and 1 at scale, with everything that the enforcer holds: the posture engine and its steps, directory, overseer
 * and overlay over the real data plane. What a terminator does for its connections is not in it: its sessions end the
 * moment they are judged, and are released one by one, as a terminator asks.
 */
import { rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Prefix } from '../../protocol/capability/model.ts';
import { parseSpiffeId } from '../../protocol/identity/spiffe-id.ts';
import { hostPrefix } from '../../protocol/net/prefix.ts';
import { DEFAULT_ACCORD_FILE, loadAccord } from '../../src/base/accord-file.ts';
import { systemClock } from '../../src/base/clock.ts';
import { nodeCrypto } from '../../src/base/crypto-node.ts';
import { silentLogger } from '../../src/base/logger.ts';
import { openLinuxDataPlane } from '../../src/dataplane/linux/index.ts';
import type { ControlFlow, DataPlane } from '../../src/dataplane/ports.ts';
import { type Holder, SessionDirectory, type Standing } from '../../src/enforcer/directory.ts';
import { type Member, Overlay } from '../../src/enforcer/overlay.ts';
import { Overseer } from '../../src/enforcer/overseer.ts';
import type { Admission } from '../../src/enforcer/ports.ts';
import { Terminators } from '../../src/enforcer/terminators.ts';
import { Mesh } from '../../src/mesh/mesh.ts';
import { PostureEngine } from '../../src/posture/engine.ts';
import { Isolation } from '../../src/roots/isolation.ts';
import { postureSteps } from '../../src/roots/posture-steps.ts';
import { GovernedRoutes } from '../../src/underlay/governed-routes.ts';
import { NO_WITNESS } from '../../src/underlay/ports.ts';
import { FORGETFUL } from '../../src/underlay/records.ts';
import type { Contender } from '../harness.ts';
import { governedNamespace } from '../host/governed-namespace.ts';
import { deviceName } from '../tunnels/device.ts';

export const SESSIONS = 10_000;
export const MEMBERS = 1_000;
const ROUTES_EACH = 10;
const TARGETS_EACH = 5;
const HOUR_MS = 3_600_000;

/**
 * Milliseconds from the word to the moment in which of 10,000 sessions nothing stands any more, at 2 nothing but those that
 * carry the mesh, without their ordinary routes.
 */
export function settling(level: 1 | 2): Contender {
  return {
    name: 'ours',
    async start() {
      await using stack = new AsyncDisposableStack();
      const world = await openWorld(stack);
      const owned = stack.move();
      return {
        sample: () => settle(world, level),
        [Symbol.asyncDispose]: () => owned.disposeAsync(),
      };
    },
  };
}

type World = Awaited<ReturnType<typeof openWorld>>;

async function openWorld(stack: AsyncDisposableStack) {
  const { namespace } = await governedNamespace('bench-lockdown');
  stack.use(namespace);
  const instance = `bench-lock-${process.pid}`;
  const governancePage = join(tmpdir(), `${instance}.page`);
  stack.defer(() => rm(`/sys/fs/bpf/shellstream/${instance}`, { recursive: true, force: true }));
  stack.defer(() => rm(governancePage, { force: true }));
  const interfaceName = deviceName();
  const dataplane = stack.use(
    await openLinuxDataPlane({
      instance,
      governancePage,
      tunnels: 'embedded',
      interfacePrefix: interfaceName,
      namespace: namespace.path,
    }),
  );
  stack.defer(() => dataplane.flows.reset());
  const { accord } = await loadAccord(DEFAULT_ACCORD_FILE, (bytes) => nodeCrypto.sha256(bytes));
  const clock = systemClock;
  const log = silentLogger;
  const directory = new SessionDirectory({ sessions: SESSIONS, sessionsPerIdentity: 1 });
  const posture = new PostureEngine({ clock, log, initial: 5, firstEpoch: 1n, store: { save: async () => {} } });
  const routes = stack.use(
    new GovernedRoutes({
      clock,
      log,
      accord,
      network: dataplane.network,
      records: FORGETFUL,
      tunnels: () => ({
        prefixes: overlay.members.flatMap(({ spec }) => spec.prefixes),
        follow: () => overlay.followRoutes(),
      }),
      tierNow: () => undefined,
      witness: NO_WITNESS,
      preApproved: [],
      randomBytes: (length) => nodeCrypto.randomBytes(length),
      level: 5,
    }),
  );
  const overlay: Overlay = stack.use(
    await Overlay.open(dataplane, nodeCrypto, {
      interfaceName,
      listenPort: 0,
      mtu: 1420,
      addresses: [hostPrefix(Uint8Array.of(10, 99, 0, 1))],
      slots: MEMBERS + 1,
      routed: routes.routed,
    }),
  );
  const overseer = stack.use(new Overseer({ clock, log, posture, accord, directory }));
  const isolation = new Isolation(dataplane, { isolate: 'none', allowAtLockdown: [], initial: 5, leaseSeconds: 10 });
  const mesh = stack.use(
    new Mesh({
      clock,
      log,
      posture,
      accord,
      directory,
      isHeld: () => false,
      random: () => 0.5,
      peers: [],
      dial: () => Promise.reject(new Error('nobody is dialled')),
      approachOf: () => {
        throw new Error('nobody is dialled');
      },
    }),
  );
  const terminators = new Terminators();
  await dataplane.flows.renewLease(dataplane.bootTimeNs() + BigInt(HOUR_MS) * 1_000_000n);
  await posture.start(
    postureSteps({ accord, dataplane, directory, isolation, terminators, overseer, overlay, mesh, routes }),
  );
  return { dataplane, overlay, directory, posture };
}

async function settle(world: World, level: 1 | 2): Promise<number> {
  const { dataplane, directory, overlay, posture } = world;
  await populate(world);
  const began = performance.now();
  await posture.state('console', level, 'bench');
  const took = performance.now() - began;
  const kept = level === 1 ? 0 : MEMBERS;
  const stand = [directory.size, overlay.members.length, (await overlay.device.peers()).length];
  const routes = (await dataplane.network.routes()).length;
  if (routes > 0 || stand.some((count) => count !== kept)) throw new Error(`stand: ${stand}, routes ${routes}`);
  // For the next one from nothing.
  await posture.state('console', 1, 'bench');
  await posture.state('console', 5, 'bench');
  return took;
}

async function populate({ dataplane, overlay, directory }: World): Promise<void> {
  const holder: Holder = {
    revoked: () => undefined,
    release: async (session, reason) => {
      const standing = directory.delete(session, reason);
      if (standing?.member !== undefined) await overlay.leave(standing.member);
    },
  };
  for (let n = 0; n < SESSIONS; n += 1) {
    const member = n < MEMBERS ? await joinOverlay(overlay, dataplane, n) : undefined;
    using place = directory.takePlace(`spiffe://bench.test/${n}`);
    place.put(holder, standing(n, member));
  }
}

function joinOverlay(overlay: Overlay, dataplane: DataPlane, n: number): Promise<Member> {
  const prefixes = Array.from(
    { length: ROUTES_EACH },
    (_, index): Prefix => hostPrefix(Uint8Array.of(10, 100 + (n >> 8), n & 0xff, index)),
  );
  return overlay.join({
    spiffeId: `spiffe://bench.test/${n}`,
    publicKey: nodeCrypto.x25519Generate().publicKey,
    presharedKey: nodeCrypto.randomBytes(32),
    keepalive: 0,
    prefixes,
    hosted: [],
    visited: prefixes.slice(0, TARGETS_EACH).map((prefix) => ({ prefix, protocol: 6, port: 443, floor: 3 })),
    level: 5,
    expiresAtBootNs: dataplane.bootTimeNs() + BigInt(HOUR_MS) * 1_000_000n,
  });
}

function standing(n: number, member: Member | undefined): Standing {
  const spiffeId = parseSpiffeId(`spiffe://bench.test/${n}`);
  if (spiffeId === undefined) throw new Error('no SPIFFE ID');
  const control: ControlFlow = {
    protocol: 6,
    localAddress: Uint8Array.of(192, 0, 2, 1),
    localPort: 7843,
    remoteAddress: Uint8Array.of(198, 51, n >> 8, n & 0xff),
    remotePort: 40_000,
  };
  const admission: Admission = {
    id: n.toString(16).padStart(32, '0'),
    peer: { spiffeId, trustDomain: 'bench.test', tier: 'master' },
    offer: { versions: [1], sessionType: member === undefined ? 'operator' : 'mesh', mode: 'overlay' },
    grant: { mode: 'overlay', capabilities: ['OBSERVE'], targets: [], reachable: [], lifetimeMs: HOUR_MS },
    effectiveLevel: 5,
    governedBy: 'both',
    peerLevel: 5,
    peerEpoch: 1n,
    toldEpoch: 1n,
    expiresAt: systemClock.now() + HOUR_MS,
    reattestSecret: new Uint8Array(32),
  };
  return {
    admission,
    credentials: { issuedAtMs: 0 },
    role: 'responder',
    openedAtMs: systemClock.now(),
    peerLevel: 5,
    judgedLevel: 5,
    control,
    ...(member === undefined ? {} : { member }),
  };
}
