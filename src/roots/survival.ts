/**
 * The restart of an enforcer under sessions that stand: what a former run kept is judged again, the kernel's tunnels go on
 * with what may stay, and terminators come for it. Whatever is in doubt ends: peers connect again by themselves.
 */
import { reasonOf } from '../../protocol/errors.ts';
import { judgeSession, mostRestrictive, type PostureLevel } from '../../protocol/posture/index.ts';
import type { AdoptedTunnel } from '../dataplane/ports.ts';
import type { SessionDirectory } from '../enforcer/directory.ts';
import { Keeper } from '../enforcer/keeper.ts';
import type { KeptSession } from '../enforcer/kept-session.ts';
import { Orphans } from '../enforcer/orphans.ts';
import { Overlay, type OverlaySpec } from '../enforcer/overlay.ts';
import type { RevocationReader } from '../enforcer/ports.ts';
import { isRevoked } from '../enforcer/revocation.ts';
import type { TransitEvidence } from '../enforcer/transit-evidence.ts';
import type { EnforcerWorld } from './enforcer-world.ts';

/** A tunnel of a former run, and the sessions that it had. */
export interface Former {
  readonly tunnel: AdoptedTunnel;
  readonly kept: readonly KeptSession[];
}

/** Disposing ends what nobody came for. */
export interface Survival extends AsyncDisposable {
  readonly keeper: Keeper;
  readonly orphans: Orphans;
  /** How long a session waits for an enforcer, and an enforcer for its terminator: the node's lease, for then flows lapse. */
  readonly graceMs: number;
}

/** What a former run left to go on with; undefined when there is nothing, and then nothing of it is left. */
export async function findFormer(world: EnforcerWorld, isLockedDown: boolean): Promise<Former | undefined> {
  const { standing, dataplane, config, log } = world;
  if (standing === undefined) return undefined;
  const kept = await standing.load();
  const isWanted = kept.length > 0 && dataplane.tunnels.survives && !isLockedDown;
  const tunnel = isWanted
    ? await dataplane.tunnels.adopt(config.wireguard.interface).catch((error: unknown) => {
        log.error('the tunnel of a former run cannot be taken on', { error });
        return undefined;
      })
    : undefined;
  if (tunnel !== undefined) {
    if (await dataplane.flows.replacesAtOnce(tunnel.device.ifindex)) return { tunnel, kept };
    log.warn('the tunnel of a former run has no filter that could be replaced in one step: it ends', {});
    await tunnel.device[Symbol.asyncDispose]();
  }
  await dropAll(world, kept);
  return undefined;
}

/** An overlay on the former tunnel, with those sessions that may stand at this level; undefined when it cannot be had. */
export async function adoptOverlay(
  world: EnforcerWorld,
  { tunnel, kept }: Former,
  spec: OverlaySpec,
  level: PostureLevel,
  revocations: RevocationReader,
): Promise<{ readonly overlay: Overlay; readonly kept: readonly KeptSession[] } | undefined> {
  const { dataplane, crypto, log } = world;
  const staying = kept
    .filter(({ standing }) => !isRevoked(revocations, standing))
    .flatMap((session) => judged(world, session, level) ?? []);
  try {
    const members = staying.map(({ standing }) => standing.member);
    const overlay = await Overlay.adopt(dataplane, crypto, spec, tunnel, members);
    const adopted = staying.flatMap((session) => {
      const { standing } = session;
      const member = overlay.members.find((one) => one.session.sessionSlot === standing.member.session.sessionSlot);
      return member?.spec === standing.member.spec ? [{ ...session, standing: { ...standing, member } }] : [];
    });
    const ids = new Set(adopted.map(({ standing }) => standing.admission.id));
    await dropAll(
      world,
      kept.filter(({ standing }) => !ids.has(standing.admission.id)),
    );
    log.info('the tunnel of a former run goes on', { sessions: adopted.length, ended: kept.length - adopted.length });
    return { overlay, kept: adopted };
  } catch (error) {
    log.error('the tunnel of a former run cannot go on', { error });
    await dropAll(world, kept);
    return undefined;
  }
}

/** Undefined where nothing is kept on this node. */
export async function startSurvival(
  world: EnforcerWorld,
  directory: SessionDirectory,
  { overlay, kept }: { readonly overlay: Overlay; readonly kept: readonly KeptSession[] },
  evidence?: TransitEvidence,
): Promise<Survival | undefined> {
  const { standing, dataplane, config, crypto, clock, log } = world;
  if (standing === undefined || !dataplane.tunnels.survives) return undefined;
  const graceMs = config.posture.leaseSeconds * 1000;
  const keeper = new Keeper({ store: standing, crypto, log });
  const sha256 = (bytes: Uint8Array): Uint8Array => crypto.sha256(bytes);
  const orphans = new Orphans({
    clock,
    log,
    directory,
    overlay,
    keeper,
    ...(evidence === undefined ? {} : { evidence }),
    sha256,
    graceMs,
  });
  // Drained or narrowed, it is not what was kept any more.
  const subscription = directory.onLessened((session) => void keeper.forget(session));
  for (const session of kept) {
    keeper.restore(session);
    try {
      orphans.take(session);
    } catch (error) {
      log.warn('a kept session has no place', { reason: reasonOf(error) });
      await overlay.leave(session.standing.member);
      await keeper.forget(session.standing.admission.id);
    }
  }
  return {
    keeper,
    orphans,
    graceMs,
    async [Symbol.asyncDispose]() {
      subscription[Symbol.dispose]();
      await orphans[Symbol.asyncDispose]();
    },
  };
}

/** Undefined when it must end: it expired, or a level fell meanwhile that takes anything of it away. */
function judged({ accord, clock, dataplane }: EnforcerWorld, session: KeptSession, level: PostureLevel) {
  const { admission, peerLevel, judgedLevel, member } = session.standing;
  const { offer, grant, peer, expiresAt } = admission;
  if (expiresAt <= clock.now() || member.spec.expiresAtBootNs <= dataplane.bootTimeNs()) return undefined;
  // An initiator was not told its tier; the responder judges by it.
  const live = { type: offer.sessionType, tier: peer.tier ?? 'site_owner', grant };
  const now = mostRestrictive(level, peerLevel);
  return judgeSession(accord.accord, live, judgedLevel, now).kind === 'keep' ? session : undefined;
}

async function dropAll({ standing }: EnforcerWorld, sessions: readonly KeptSession[]): Promise<void> {
  for (const session of sessions) await standing?.drop(session.standing.admission.id);
}
