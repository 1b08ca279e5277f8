/** Changes of site-b's underlay, as its console asks for them (P2). */
import { type TargetClass, TIERS, type Tier } from '../../protocol/capability/model.ts';
import { reasonOf } from '../../protocol/errors.ts';
import { parsePrefix } from '../../protocol/net/prefix.ts';
import { MAIN_TABLE, type RouteChange } from '../../protocol/routes/index.ts';
import type { Site } from '../lab/site.ts';
import { UNDERLAY } from './street.ts';

const TOKEN_MS = 60_000;

/** Those of `UNDERLAY`, two of them proposed by who is to own them. */
export async function layRoutes(site: Site): Promise<void> {
  using console = await site.console();
  const { underlay } = console;
  for (const tier of ['master', 'journeyman'] as const) {
    const token = await underlay.issueToken({
      subject: `spiffe://site-b.test/people/${tier}`,
      tier,
      validMs: TOKEN_MS,
    });
    await underlay.approve(await underlay.propose(token, adding(UNDERLAY[`of-${tier}`], 'ordinary')));
  }
  for (const name of ['management', 'monitoring'] as const) await underlay.change(adding(UNDERLAY[name], name));
}

/** `done`, or the reason why not, when a site_owner adds a route. */
export async function changed(site: Site, prefix: string, targetClass: TargetClass = 'ordinary'): Promise<string> {
  using console = await site.console();
  return await console.underlay.change(adding(prefix, targetClass)).then(() => 'done', reasonOf);
}

/** Tiers whose proposal is queued, each with a token of its own. */
export async function proposers(site: Site): Promise<readonly Tier[]> {
  using console = await site.console();
  const { underlay } = console;
  const queued: Tier[] = [];
  for (const tier of TIERS) {
    const token = await underlay.issueToken({
      subject: `spiffe://site-b.test/people/${tier}`,
      tier,
      validMs: TOKEN_MS,
    });
    const answer = await underlay.propose(token, adding('10.38.0.0/24', 'ordinary')).then(() => 'queued', reasonOf);
    if (answer === 'queued') queued.push(tier);
    else if (answer !== 'POSTURE_MODE_NOT_ALLOWED') throw new Error(`a proposal of ${tier}: ${answer}`);
  }
  return queued;
}

function adding(prefix: string, targetClass: TargetClass): RouteChange {
  const route = { destination: parsePrefix(prefix), link: 'lan', table: MAIN_TABLE };
  return { action: 'add', route, class: targetClass, reason: 'drill' };
}
