/** What a level said by the console would do here, without saying it. */
import { mostRestrictive, type PostureLevel, previewLevel } from '../../protocol/posture/index.ts';
import { type RouteSpec, routeWords } from '../../protocol/routes/index.ts';
import type { PosturePreview, PreviewedRoutes } from '../control/ports.ts';
import type { EnforcerNode } from './enforcer.ts';

/** Sessions are told of up to so many, the hardest hit first, and routes; the counts are of all. */
const MAX_TOLD = 256;
const MAX_ROUTES_TOLD = 100;
const HARDEST_FIRST = ['end', 'drain', 'narrow', 'reattest'] as const;

export async function previewPosture(node: EnforcerNode, level: PostureLevel): Promise<PosturePreview> {
  const { posture, directory, isolation, underlay, world } = node;
  const others = posture.sources.filter(({ source, counts }) => counts && source !== 'console');
  const to = mostRestrictive(level, ...others.map((stated) => stated.level));
  const sessions = directory.all.map(({ admission: { id, peer, offer, grant }, peerLevel }) => ({
    id,
    peer: peer.spiffeId,
    type: offer.sessionType,
    // An initiator was not told its tier; the responder judges by it.
    tier: peer.tier ?? ('site_owner' as const),
    grant,
    peerLevel,
  }));
  const fates = previewLevel(world.accord.accord, sessions, posture.level, to);
  const { add, remove } = await underlay.routes.preview(to);
  const count = (wanted: string): number => fates.filter(({ fate }) => fate === wanted).length;
  const hit = HARDEST_FIRST.flatMap((wanted) => fates.filter(({ fate }) => fate === wanted));
  return {
    from: posture.level,
    to,
    counts: {
      keep: count('keep'),
      reattest: count('reattest'),
      narrow: count('narrow'),
      drain: count('drain'),
      end: count('end'),
    },
    sessions: hit.slice(0, MAX_TOLD).map(({ session: { id, peer, type }, fate, deadlineMs }) => ({
      id,
      peer,
      type,
      fate,
      deadlineMs,
    })),
    isolates: to === 1 && posture.level > 1 ? isolation.links.map(({ name }) => name) : [],
    withdrawn: told(remove),
    restored: told(add),
  };
}

function told(routes: readonly RouteSpec[]): PreviewedRoutes {
  return { count: routes.length, first: routes.slice(0, MAX_ROUTES_TOLD).map(routeWords) };
}
