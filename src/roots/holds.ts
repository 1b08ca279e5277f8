/** Holds joined to the rest of the enforcer: a DRAIN makes them, they end what stands, and a release wakes who waits to dial. */
import { covers, type Hold } from '../../protocol/hold/index.ts';
import { type SpiffeId, trustDomainId } from '../../protocol/identity/spiffe-id.ts';
import type { SessionDirectory } from '../enforcer/directory.ts';
import type { Terminators } from '../enforcer/terminators.ts';
import { nodeEd25519 } from '../evidence/ed25519.ts';
import { NOTHING_HELD, type OpenedHolds } from '../mesh/hold-store.ts';
import { Holds } from '../mesh/holds.ts';
import type { EnforcerWorld } from './enforcer-world.ts';

export function openHolds({ config, identity, crypto, clock, log, holds }: EnforcerWorld): Holds {
  let self: SpiffeId | undefined;
  return new Holds({
    clock,
    log: log.child({ part: 'mesh' }),
    crypto,
    ed25519: nodeEd25519,
    opened: holds ?? FORGETFUL,
    peers: config.mesh.peers,
    // It does not change while we run, and a hold must not fail because our SVID just expired, or at lockdown never came.
    self: () => {
      try {
        self ??= identity.current().spiffeId;
      } catch (error) {
        const site = trustDomainId(config.site.trustDomain);
        if (site === undefined) throw error;
        return site;
      }
      return self;
    },
  });
}

/** @param nudge a peer of that site may be dialled again */
export function followHolds(
  world: EnforcerWorld,
  holds: Holds,
  terminators: Terminators,
  directory: SessionDirectory,
  nudge: () => void,
): Disposable {
  const stack = new DisposableStack();
  stack.use(
    terminators.onEvent((event) => {
      if (event.kind !== 'drain-received') return;
      const standing = directory.get(event.session);
      if (standing === undefined) return;
      const { peer, offer, peerEpoch } = standing.admission;
      const { reason, level, epoch } = event;
      const drain = { reason, level, epoch, sessionType: offer.sessionType, attestedEpoch: peerEpoch };
      holds.drained(peer.spiffeId, drain);
    }),
  );
  stack.use(
    holds.onChange((event) => {
      if (event.kind === 'released') nudge();
      else void endWhatIsHeld(world, directory, event.hold);
    }),
  );
  for (const hold of holds.all) void endWhatIsHeld(world, directory, hold);
  return stack;
}

async function endWhatIsHeld({ clock, log }: EnforcerWorld, directory: SessionDirectory, hold: Hold): Promise<void> {
  const covered = directory.all.filter(({ admission }) => covers(hold, admission.peer.spiffeId));
  const ends = covered.map(async ({ admission }) => {
    const { id, peer, offer } = admission;
    // The session of the DRAIN ends by it; what its terminator does not let go of then the overseer takes away.
    if (hold.cause === 'drain' && offer.sessionType === 'mesh' && peer.spiffeId === hold.peer) {
      return directory.note(id, { endsAtMs: clock.monotonic() + LAST_MS });
    }
    await directory.revoke(id, 'PEER_HELD').catch((error: unknown) => {
      log.error('session not fully released', { session: id, error });
    });
  });
  await Promise.all(ends);
}

/** How long the session of a DRAIN may stand after it. */
const LAST_MS = 1_000;

/** Nothing was kept, and nothing is. */
const FORGETFUL: OpenedHolds = { store: { save: async () => {} }, kept: NOTHING_HELD };
