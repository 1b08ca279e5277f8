/**
 * The snapshot of a lockdown in whose midst a former run was killed. The journal of the posture says that the change began,
 * the spool says which sessions had begun and not ended; the rest is what is left in the kernel. It is marked as late.
 */
import { parseArtifact } from '../../protocol/evidence/index.ts';
import type { SessionTransitArtifact } from '../../protocol/gen/shellstream/evidence/v1/evidence_pb.ts';
import { parseSpiffeId, trustDomainOf } from '../../protocol/identity/spiffe-id.ts';
import type { Route, TunnelPeerState } from '../dataplane/ports.ts';
import { recordSnapshot } from '../evidence/forensic-snapshot.ts';
import { undecidedIntents } from '../evidence/reconcile.ts';
import { KIND } from '../evidence/recorder.ts';
import type { SpoolReader } from '../evidence/spool-reader.ts';
import type { Holds } from '../mesh/holds.ts';
import type { EnforcerWorld } from './enforcer-world.ts';
import { type NodeEvidence, ownId } from './evidence.ts';
import { routeState, SNAPSHOT_ID_BYTES, SNAPSHOT_STEP, tunnelState } from './forensic-capture.ts';

/** What is left of a former run in the kernel. */
export interface LeftInKernel {
  readonly atBootNs: bigint;
  readonly device: string;
  readonly peers: readonly TunnelPeerState[];
  readonly routes: readonly Route[];
  /** Names of interfaces. */
  readonly links: ReadonlyMap<number, string>;
  /** Level 1 came while nobody was there to say so in a journal. */
  readonly cameMeanwhile: boolean;
}

/** Before anything of it is taken away; undefined when there is no lockdown of a former run. */
export async function leftInKernel(world: EnforcerWorld, isLockedDown: boolean): Promise<LeftInKernel | undefined> {
  const { dataplane, config, posture, evidence, log } = world;
  const cameMeanwhile = isLockedDown && posture.cutOffAt === undefined && (posture.lastLevel ?? 1) > 1;
  if (evidence === undefined || (!cameMeanwhile && changesOf(world).length === 0)) return undefined;
  const device = config.wireguard.interface;
  const [routes, links, peers] = await Promise.all([
    orNone(() => dataplane.network.routes()),
    orNone(() => dataplane.network.links()),
    orNone(() => (isLockedDown ? peersOf(world, device) : Promise.resolve([]))),
  ]);
  const names = new Map(links.map(({ ifindex, name }) => [ifindex, name]));
  return { atBootNs: dataplane.bootTimeNs(), device, peers, routes, links: names, cameMeanwhile };

  async function orNone<T>(ask: () => Promise<readonly T[]>): Promise<readonly T[]> {
    try {
      return await ask();
    } catch (error) {
      log.warn('what a lockdown left in the kernel cannot be read whole', { error });
      return [];
    }
  }
}

/** Before what the former run left open is compensated. What cannot be recorded is tried again at the next start. */
export async function recordLateSnapshots(
  world: EnforcerWorld,
  evidence: NodeEvidence,
  holds: Pick<Holds, 'isHeld'>,
  left: LeftInKernel,
): Promise<void> {
  const { log, crypto, posture } = world;
  try {
    const { reader } = evidence.store;
    const state = reader === undefined ? undefined : stateOf(world, reader, holds, left);
    if (reader === undefined || state === undefined) return log.error('a late snapshot cannot be recorded yet', {});
    for (const changeEpoch of dueIn(reader, world, left.cameMeanwhile && state.sessions.length > 0)) {
      const id = crypto.randomBytes(SNAPSHOT_ID_BYTES);
      await recordSnapshot(evidence.store, id, state, { changeEpoch, late: true });
      log.warn('the snapshot of a lockdown in which a former run died is recorded, late', {
        change: String(changeEpoch),
      });
      await posture.journal?.write({ kind: 'step', epoch: changeEpoch, step: SNAPSHOT_STEP, outcome: 'taken' });
    }
  } catch (error) {
    log.error('a late snapshot cannot be recorded yet', { error });
  }
}

function changesOf({ posture }: EnforcerWorld): readonly bigint[] {
  return posture.lockdownsWithout?.(SNAPSHOT_STEP) ?? [];
}

/** Epochs of the changes; 0 of one that no journal has. */
function dueIn(reader: SpoolReader, world: EnforcerWorld, cameMeanwhile: boolean): readonly bigint[] {
  const told = new Set<bigint>();
  for (let after = -1, page = PAGE; page === PAGE; ) {
    const rows = reader.ofKind(KIND.forensicSnapshot, after, PAGE);
    for (const { opening, index } of rows) {
      after = index;
      const body = opening === undefined ? undefined : parseArtifact(opening.record).body;
      if (body?.case === 'forensicSnapshot') told.add(body.value.changeEpoch);
    }
    page = rows.length;
  }
  return [...(cameMeanwhile ? [0n] : []), ...changesOf(world).filter((epoch) => !told.has(epoch))];
}

const PAGE = 100;

function stateOf(world: EnforcerWorld, reader: SpoolReader, holds: Pick<Holds, 'isHeld'>, left: LeftInKernel) {
  const wall = world.clock.now();
  const isOwn = ownIdOr(world);
  return {
    atBootNs: left.atBootNs,
    peers: world.config.mesh.peers.map(({ spiffeId }) => ({ peerId: spiffeId, held: holds.isHeld(spiffeId) })),
    tunnels: left.peers.map((peer) => tunnelState(left.device, peer, wall)),
    routes: left.routes.map((route) => routeState(route, left.links)),
    sessions: undecidedIntents(reader).flatMap(({ body }) =>
      body.case === 'sessionTransit' ? [sessionState(body.value, isOwn)] : [],
    ),
  };
}

/** As its intent has it; whether its handshake had ended nobody knows any more. */
function sessionState(intent: SessionTransitArtifact, isOwn: (id: string) => boolean) {
  const { sessionId, initiatorId, responderId, tier, sessionType, mode, expiresAtMs } = intent;
  const peerId = isOwn(initiatorId) ? responderId : initiatorId;
  return { sessionId, peerId, tier, sessionType, mode, expiresAtMs };
}

/** At lockdown a node starts without an identity, too: then the site's domain tells. */
function ownIdOr(world: EnforcerWorld): (id: string) => boolean {
  try {
    const own = ownId(world)();
    return (id) => id === own;
  } catch {
    const { trustDomain } = world.config.site;
    return (id) => {
      const parsed = parseSpiffeId(id);
      return parsed !== undefined && trustDomainOf(parsed) === trustDomain;
    };
  }
}

/** Of the tunnel that outlived its maker; at lockdown nobody goes on with it. */
async function peersOf({ dataplane }: EnforcerWorld, name: string): Promise<readonly TunnelPeerState[]> {
  const tunnel = await dataplane.tunnels.adopt(name);
  if (tunnel === undefined) return [];
  await using device = tunnel.device;
  return await device.peers();
}
