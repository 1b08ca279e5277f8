/**
 * What stands at one instant, for the forensic snapshot of level 1. What this process knows is taken without waiting; the
 * kernel is asked in the same moment, and what it has not said when the time is up is told from memory.
 */
import { sessionIdBytes } from '../../protocol/evidence/index.ts';
import { tryParseAddress } from '../../protocol/net/address.ts';
import { modeToWire, prefixToWire, sessionTypeToWire } from '../../protocol/wire/convert.ts';
import { type Clock, sleep } from '../base/clock.ts';
import type { DataPlane, Route, TunnelPeerState } from '../dataplane/ports.ts';
import type { SessionDirectory, Standing } from '../enforcer/directory.ts';
import type { Overlay } from '../enforcer/overlay.ts';
import type { Admission } from '../enforcer/ports.ts';
import { routesTo } from '../enforcer/reach.ts';
import type { ForensicState } from '../evidence/forensic-snapshot.ts';
import { type Transits, tierToWire } from '../evidence/transits.ts';
import type { Holds } from '../mesh/holds.ts';
import type { Mesh } from '../mesh/mesh.ts';

export interface CaptureParts {
  readonly clock: Clock;
  readonly dataplane: DataPlane;
  readonly directory: SessionDirectory;
  readonly transits: Transits;
  readonly overlay: Overlay | undefined;
  readonly mesh: Mesh;
  readonly holds: Holds;
}

export const SNAPSHOT_ID_BYTES = 16;
/** The step of a change that makes it durable; the journal says whether it was taken. */
export const SNAPSHOT_STEP = 'forensic snapshot of the kernel';

/** Resolves at the latest when the kernel's time is up; what was taken is of the moment of the call. */
export function capture(parts: CaptureParts, kernelMs: number): Promise<ForensicState> {
  const { clock, dataplane, directory, transits, overlay, mesh, holds } = parts;
  // Of what just ended the kernel may have something yet.
  const standing = [...directory.all, ...transits.leaving];
  const wall = clock.now();
  const state = {
    atBootNs: dataplane.bootTimeNs(),
    peers: mesh.peers.map(({ spiffeId }) => ({
      peerId: spiffeId,
      level: directory.tunnelOf(spiffeId)?.peerLevel ?? 0,
      held: holds.isHeld(spiffeId),
    })),
    sessions: [...standing.map(sessionState), ...pending(transits, directory)],
  };
  const device = overlay?.device;
  const peers = settledOr(device?.peers() ?? Promise.resolve([]), membersAsPeers(standing));
  const routes = settledOr(dataplane.network.routes(), membersAsRoutes(standing, device?.ifindex));
  const links = new Map(device === undefined ? [] : [[device.ifindex, device.name]]);
  return (async () => {
    const isUp = sleep(clock, kernelMs);
    const tunnels = await Promise.race([peers.value, isUp.then(() => peers.instead)]);
    const programmed = await Promise.race([routes.value, isUp.then(() => routes.instead)]);
    return {
      ...state,
      tunnels: tunnels.map((peer) => tunnelState(device?.name ?? '', peer, wall)),
      routes: programmed.map((route) => routeState(route, links)),
    };
  })();
}

function settledOr<T>(asked: Promise<T>, instead: T): { readonly value: Promise<T>; readonly instead: T } {
  return { value: asked.catch(() => instead), instead };
}

function membersAsPeers(standing: readonly Standing[]): readonly TunnelPeerState[] {
  return standing.flatMap(({ member }) => {
    if (member === undefined) return [];
    const { publicKey, endpoint, prefixes } = member.spec;
    const at = endpoint === undefined ? {} : { endpoint };
    return [{ publicKey, ...at, allowedIps: prefixes, receivedBytes: 0n, sentBytes: 0n, keepalive: 0 }];
  });
}

/** What routes were made for; at a level that narrows them there may be less. */
function membersAsRoutes(standing: readonly Standing[], ifindex: number | undefined): readonly Route[] {
  if (ifindex === undefined) return [];
  return routesTo(
    ifindex,
    standing.flatMap(({ member }) => member?.spec.prefixes ?? []),
  );
}

function pending(transits: Transits, directory: SessionDirectory) {
  return transits.announced
    .filter(({ id }) => directory.get(id) === undefined)
    .map((admission) => ({ ...admissionState(admission), pending: true }));
}

function sessionState({ admission }: Standing) {
  return admissionState(admission);
}

function admissionState({ id, peer, offer, grant, expiresAt }: Admission) {
  return {
    sessionId: sessionIdBytes(id),
    peerId: peer.spiffeId,
    tier: tierToWire(peer.tier),
    sessionType: sessionTypeToWire(offer.sessionType),
    mode: modeToWire(grant.mode),
    expiresAtMs: BigInt(Math.floor(expiresAt)),
  };
}

export function tunnelState(name: string, peer: TunnelPeerState, wall: number) {
  const { publicKey, endpoint, handshakeAgeMs, receivedBytes, sentBytes } = peer;
  const address = endpoint === undefined ? undefined : tryParseAddress(endpoint.address);
  return {
    interface: name,
    publicKey,
    ...(address === undefined ? {} : { endpoint: address, endpointPort: endpoint?.port ?? 0 }),
    ...(handshakeAgeMs === undefined ? {} : { lastHandshakeMs: BigInt(Math.floor(wall - handshakeAgeMs)) }),
    receivedBytes,
    sentBytes,
  };
}

export function routeState(
  { destination, ifindex, gateway, table, metric }: Route,
  links: ReadonlyMap<number, string>,
) {
  return {
    destination: prefixToWire(destination),
    interface: links.get(ifindex) ?? `#${ifindex}`,
    table,
    ...(gateway === undefined ? {} : { gateway }),
    ...(metric === undefined ? {} : { metric }),
  };
}
