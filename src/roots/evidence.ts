/** Evidence joined to the rest of the enforcer: who is told of what, and what is read where. */
import type { Config } from '../base/config.ts';
import type { Logger } from '../base/logger.ts';
import type { Uptime } from '../base/passed-time.ts';
import type { SessionDirectory } from '../enforcer/directory.ts';
import type { EvidencePlace } from '../evidence/evidence-place.ts';
import { EvidenceStore } from '../evidence/evidence-store.ts';
import { undecidedIntents } from '../evidence/reconcile.ts';
import { Transits } from '../evidence/transits.ts';
import type { Holds } from '../mesh/holds.ts';
import type { PostureEngine } from '../posture/engine.ts';
import type { EnforcerWorld } from './enforcer-world.ts';

/** Disposing makes all of it durable, and readable for others. */
export interface NodeEvidence extends AsyncDisposable {
  readonly store: EvidenceStore;
  readonly transits: Transits;
  /** Once, when nothing of former runs stands any more but what is in the directory. */
  reconcile(): Promise<void>;
}

/** As the configuration has it; nothing where it says that none is kept. */
export function evidencePlace({ evidence }: Config, uptime: Uptime): { readonly evidence?: EvidencePlace } {
  if (evidence === undefined) return {};
  const { directory, origin, keys, budgetMegabytes, retentionDays, logDays, witnesses } = evidence;
  const kept = logDays === undefined ? {} : { logDays };
  const place = { directory, origin, keys, budgetBytes: budgetMegabytes * 2 ** 20, retentionDays, uptime, ...kept };
  if (witnesses === undefined) return { evidence: place };
  const { quorum, timeoutSeconds, ask } = witnesses;
  return { evidence: { ...place, witnesses: { quorum, timeoutMs: timeoutSeconds * 1_000, ask } } };
}

/** Undefined where none is kept. */
export async function openEvidence(
  world: EnforcerWorld,
  posture: PostureEngine,
  directory: SessionDirectory,
): Promise<NodeEvidence | undefined> {
  const { evidence: place, accord, clock, crypto, dataplane } = world;
  if (place === undefined) return undefined;
  const log = world.log.child({ part: 'evidence' });
  const isStanding = (session: string): boolean => transits.isOpen(session) || directory.get(session) !== undefined;
  const store = await EvidenceStore.open({
    place,
    clock,
    crypto,
    log,
    posture: () => posture,
    notarisation: (level) => accord.accord.levels[level].notarisation,
    isLive: ({ id }) => isStanding(Buffer.from(id).toString('hex')),
  });
  const transits: Transits = new Transits({
    record: (body, at) => store.record(body, at),
    moment: () => store.moment(),
    flows: dataplane.flows,
    accordHash: accord.hash,
    self: ownId(world),
    log,
    clock,
    holds: { changingSinceMs: () => posture.changingSinceMs, isReopening: () => store.isReopening },
  });
  return {
    store,
    transits,
    reconcile: async () => {
      if (store.reader !== undefined) resumeTransits(store.reader, transits, directory);
      await store.reconcile();
    },
    async [Symbol.asyncDispose]() {
      await transits.settled();
      await store[Symbol.asyncDispose]();
    },
  };
}

/** Holds and what lifts them. */
export function recordHolds({ store }: NodeEvidence, holds: Holds, log: Logger): Disposable {
  return holds.onChange((event) => {
    const { id, peer, epoch, cause, reason } = event.hold;
    const released = event.kind === 'released';
    const value = {
      holdId: id,
      peerId: peer,
      released,
      cause: event.kind === 'released' ? event.by : cause,
      peerEpoch: epoch,
      reason,
    };
    store.record({ case: 'holdChange', value }).catch((error: unknown) => {
      log.error('a hold is not recorded', { hold: id, error });
    });
  });
}

/** Sessions that outlived the former run go on with their transits. */
function resumeTransits(reader: NonNullable<EvidenceStore['reader']>, transits: Transits, directory: SessionDirectory) {
  for (const { intent, body } of undecidedIntents(reader)) {
    const session = Buffer.from(intent.id).toString('hex');
    const standing = directory.get(session);
    if (body.case !== 'sessionTransit' || standing === undefined) continue;
    const { transit = 0n, initiatorId = '', responderId = '' } = body.value;
    transits.resume(session, Number(transit), standing.role === 'initiator' ? initiatorId : responderId);
  }
}

/** It does not change while we run, and the end of a session must be told though our SVID just expired. */
export function ownId({ identity }: Pick<EnforcerWorld, 'identity'>): () => string {
  let id: string | undefined;
  return () => {
    id ??= identity.current().spiffeId;
    return id;
  };
}
