/** Governed routes joined to the rest of the enforcer, and as the console sees and changes them. */
import { decideTier, tierPolicyOf } from '../../protocol/capability/index.ts';
import { parseSpiffeId, trustDomainOf } from '../../protocol/identity/spiffe-id.ts';
import type { PostureLevel } from '../../protocol/posture/index.ts';
import type { RouteOwner } from '../../protocol/routes/index.ts';
import type { Finding } from '../control/ports.ts';
import type { RouteDesk } from '../control/route-desk.ts';
import type { Overlay } from '../enforcer/overlay.ts';
import type { Revocations } from '../identity/revocations.ts';
import { GovernedRoutes } from '../underlay/governed-routes.ts';
import { KernelRoutes } from '../underlay/kernel-routes.ts';
import { NO_WITNESS, type TierNow } from '../underlay/ports.ts';
import { Proposals } from '../underlay/proposals.ts';
import { FORGETFUL } from '../underlay/records.ts';
import { Underlay } from '../underlay/underlay.ts';
import type { EnforcerWorld } from './enforcer-world.ts';
import type { NodeEvidence } from './evidence.ts';
import { mutationWitness } from './mutation-witness.ts';

/** @param overlay asked when it is needed: the routes of tunnels follow these */
export function openUnderlay(
  world: EnforcerWorld,
  level: PostureLevel,
  overlay: () => Overlay | undefined,
  evidence: NodeEvidence | undefined,
  revocations: Pick<Revocations, 'find'>,
): Underlay {
  const { config, accord, dataplane, clock, crypto } = world;
  const records = world.underlay ?? FORGETFUL;
  const tierNow = tierNowOf(world, revocations);
  const randomBytes = (length: number): Uint8Array => crypto.randomBytes(length);
  const routes = new GovernedRoutes({
    clock,
    log: world.log.child({ part: 'underlay' }),
    accord: accord.accord,
    network: dataplane.network,
    records,
    tunnels: () => {
      const tunnel = overlay();
      if (tunnel === undefined) return undefined;
      const prefixes = tunnel.members.flatMap(({ spec }) => spec.prefixes);
      return { prefixes, follow: () => tunnel.followRoutes() };
    },
    tierNow,
    witness:
      evidence === undefined
        ? NO_WITNESS
        : mutationWitness({
            store: evidence.store,
            accordHash: accord.hash,
            sha256: (bytes) => crypto.sha256(bytes),
            routes: () => new KernelRoutes(dataplane.network).list(),
          }),
    preApproved: config.underlay.preApproved,
    randomBytes,
    level,
  });
  const proposals = new Proposals({
    clock,
    record: records.proposals,
    sha256: (bytes) => crypto.sha256(bytes),
    randomBytes,
  });
  return new Underlay({ accord: accord.accord, routes, proposals, tierNow });
}

/** Routes of whom a revocation names are gone when it is taken. */
export function followRevokedOwners({ routes }: Underlay, revocations: Pick<Revocations, 'onTaken'>): Disposable {
  return revocations.onTaken(() => routes.review());
}

/** A user of this host is a site_owner or nobody; an identity has the tier that the accord gives it now. */
function tierNowOf({ config, accord }: EnforcerWorld, revocations: Pick<Revocations, 'find'>): TierNow {
  const policy = tierPolicyOf(accord.accord, config.site.trustDomain);
  return ({ subject, tier }) => {
    const [, uid] = /^uid:(\d{1,10})$/.exec(subject) ?? [];
    if (uid !== undefined) return config.control.siteOwners.includes(Number(uid)) ? 'site_owner' : undefined;
    const id = parseSpiffeId(subject);
    if (id === undefined) return undefined;
    const isRevoked = revocations.find({ trustDomain: trustDomainOf(id), spiffeId: id }) !== undefined;
    return isRevoked ? undefined : decideTier(id, tier, policy);
  };
}

/** Whoever gets this far is a site_owner of this host, but who proposes: there the token says who that is. */
export function routeDesk(underlay: Underlay, { log }: EnforcerWorld): RouteDesk {
  const { routes, proposals } = underlay;
  return {
    list: async () => ({
      level: routes.level,
      routes: routes.recorded,
      differences: routes.differences,
      snapshotAtMs: routes.snapshot.value?.takenAtMs,
      problem: routes.snapshot.problem ?? proposals.problem,
    }),
    proposals: async () => proposals.all,
    change: async (change, by) => void (await underlay.change(change, owner(by))),
    issueToken: async ({ subject, tier, validMs }, by) => {
      const holder = subject ?? owner(by).subject;
      log.warn('a request token was issued', { subject: holder, tier, validMs, by });
      return await underlay.issueToken(holder, tier, validMs);
    },
    propose: async (token, change, by) => {
      const proposal = await underlay.propose(token, change);
      log.warn('a change of a route was proposed', { proposal: proposal.id, proposer: proposal.proposer, by });
      return proposal.id;
    },
    approve: async (id, by) => {
      log.warn('a proposal was approved', { proposal: id, by });
      await underlay.approve(id, owner(by));
    },
    reject: async (id, why, by) => {
      log.warn('a proposal was rejected', { proposal: id, why, by });
      await underlay.reject(id, why, owner(by));
    },
  };
}

/** Nothing where all is well. */
export function routeFindings({ routes, proposals }: Underlay): readonly Finding[] {
  const found: Finding[] = [];
  for (const detail of [routes.snapshot.problem, proposals.problem]) {
    if (detail === undefined) continue;
    found.push({ name: 'routes', state: 'missing', detail, mend: 'make room in the state directory' });
  }
  if (routes.differences.length > 0) {
    const detail = `${routes.differences.length} governed routes are not as they were recorded`;
    found.push({ name: 'routes', state: 'warning', detail, mend: 'shellstream routes list, then apply or remove' });
  }
  return found;
}

function owner({ uid }: { readonly uid: number }): RouteOwner {
  return { subject: `uid:${uid}`, tier: 'site_owner' };
}
