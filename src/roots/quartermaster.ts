/**
 * A gateway's way to Quartermaster: the one that the configuration names, or one within this process, over an
 * index of the spool, that the console asks.
 */
import { join } from 'node:path';
import { Lane } from '../../protocol/quartermaster/index.ts';
import type { Config } from '../base/config.ts';
import { peerCredentialsOf } from '../dataplane/linux/index.ts';
import type { EvidenceStore } from '../evidence/evidence-store.ts';
import { SvidVerifier } from '../identity/index.ts';
import {
  createQuartermaster,
  Forwarder,
  type ForwarderStatus,
  type ForwardSource,
  fileMarks,
  keepWithin,
  LocalLedger,
  linkBySpiffe,
  linkWithin,
  memoryMarks,
  ownCaller,
  type RemoteQuartermaster,
  Store,
  serveLocally,
  spoolRecords,
  spoolSource,
} from '../quartermaster/index.ts';
import type { EnforcerWorld } from './enforcer-world.ts';

export interface AttachedQuartermaster extends AsyncDisposable {
  readonly place: 'embedded' | 'remote';
  readonly status: ForwarderStatus;
}

type World = Pick<EnforcerWorld, 'identity' | 'clock' | 'log' | 'random'> & { readonly config: Config };

/** Undefined where no evidence is kept. Whether Quartermaster can be reached is not waited for. */
export async function attachQuartermaster(
  world: World,
  evidence: EvidenceStore | undefined,
): Promise<AttachedQuartermaster | undefined> {
  const { config, clock, random } = world;
  if (evidence === undefined || config.evidence === undefined) return undefined;
  const log = world.log.child({ part: 'quartermaster' });
  const { origin, quartermaster: remote } = config.evidence;
  await using parts = new AsyncDisposableStack();
  const way = { ...world, log };
  const place = remote === undefined ? 'embedded' : 'remote';
  const source = spoolSource(() => evidence.spool);
  const found = remote === undefined ? await tryWithin(way, evidence, config.evidence, parts) : await away(way, remote);
  if ('problem' in found) return notThere(found.problem, clock.now(), source);
  const { connect, marks } = found;
  const forwarder = parts.use(Forwarder.start({ origin, source, connect, marks, clock, log, random }));
  parts.use(evidence.onDurable(() => forwarder.wake()));
  const owned = parts.move();
  return {
    place,
    get status() {
      return forwarder.status;
    },
    [Symbol.asyncDispose]: () => owned.disposeAsync(),
  };
}

/** All stays in the spool. */
function notThere(problem: string, awaySinceMs: number, source: ForwardSource): AttachedQuartermaster {
  return {
    place: 'embedded',
    get status(): ForwarderStatus {
      const behind = [Lane.LOG, Lane.LEFT_OUT].reduce((sum, lane) => sum + (source.end(lane) ?? 0), 0);
      return { state: 'connecting', acknowledged: 0, behind, forgotten: 0, problem, awaySinceMs };
    },
    [Symbol.asyncDispose]: () => Promise.resolve(),
  };
}

async function away({ config, identity, clock, log }: World, remote: RemoteQuartermaster) {
  const tls = { identity, svids: new SvidVerifier({ bundles: () => identity.bundles, clock }), clock };
  const marks = await fileMarks(join(config.stateDirectory, 'forwarded.json'), (error) =>
    log.warn('what Quartermaster acknowledged cannot be kept', { error }),
  );
  return { marks, connect: (signal: AbortSignal) => linkBySpiffe(tls, remote, signal) };
}

/** Its store can be made anew from the spool; it is no reason not to start. */
async function tryWithin(
  world: World,
  evidence: Pick<EvidenceStore, 'spool' | 'passedNow'>,
  place: NonNullable<Config['evidence']>,
  parts: AsyncDisposableStack,
) {
  try {
    return await within(world, evidence, place, parts);
  } catch (error) {
    world.log.error('no Quartermaster within this process: evidence stays in the spool and cannot be asked for', {
      error,
    });
    return { problem: error instanceof Error ? error.message : String(error) };
  }
}

async function within(
  { config, clock, log }: World,
  evidence: Pick<EvidenceStore, 'spool' | 'passedNow'>,
  place: NonNullable<Config['evidence']>,
  parts: AsyncDisposableStack,
) {
  const path = join(config.stateDirectory, 'quartermaster', 'store.db');
  const budgetBytes = place.budgetMegabytes * 2 ** 20;
  const records = spoolRecords(() => evidence.spool);
  const store = parts.use(Store.open({ path, budgetBytes, durability: 'behind-spool', records }));
  const passed = { now: () => evidence.passedNow() };
  parts.use(keepWithin({ store, days: place.retentionDays, passed, clock, log }));
  const ledger = parts.use(new LocalLedger(store, passed));
  const quartermaster = parts.use(createQuartermaster({ ledger, clock, log }));
  parts.use(
    await serveLocally({
      path: join(config.runtimeDirectory, 'quartermaster.sock'),
      quartermaster,
      siteOwners: new Set(config.control.siteOwners),
      credentialsOf: peerCredentialsOf,
      log,
    }),
  );
  const caller = ownCaller(place.origin);
  return { marks: memoryMarks(), connect: async () => linkWithin(quartermaster, caller) };
}
