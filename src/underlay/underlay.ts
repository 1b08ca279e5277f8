/** What people ask of the underlay: to see it, to change a route, to propose a change, and to decide on proposals. */
import type { Tier } from '../../protocol/capability/model.ts';
import { reasonOf, ShellstreamError } from '../../protocol/errors.ts';
import type { Accord } from '../../protocol/posture/accord.ts';
import {
  decideApproval,
  decideOwner,
  decideProposal,
  type RouteChange,
  type RouteOwner,
  type Verdict,
} from '../../protocol/routes/index.ts';
import type { GovernedRoutes } from './governed-routes.ts';
import type { Proposal, RouteRecord, TierNow } from './ports.ts';
import { LONGEST_TOKEN_MS, type Proposals } from './proposals.ts';

export interface UnderlayParts {
  readonly accord: Accord;
  readonly routes: GovernedRoutes;
  readonly proposals: Proposals;
  readonly tierNow: TierNow;
}

export class Underlay {
  readonly routes: GovernedRoutes;
  readonly proposals: Proposals;
  readonly #parts: UnderlayParts;

  constructor(parts: UnderlayParts) {
    this.#parts = parts;
    this.routes = parts.routes;
    this.proposals = parts.proposals;
  }

  /** Carried out at once, with the authority of who asks. */
  change(change: RouteChange, by: RouteOwner): Promise<RouteRecord> {
    return this.routes.change({ change, owner: by, by });
  }

  /** A token for one proposal of `subject`. TIER_UNKNOWN where it has less than that tier here. */
  async issueToken(subject: string, tier: Tier, validMs: number): Promise<string> {
    if (validMs < 1 || validMs > LONGEST_TOKEN_MS) {
      throw new ShellstreamError('MALFORMED', `a token is valid for 1 to ${LONGEST_TOKEN_MS} ms`);
    }
    const proposer = { subject, tier };
    if (this.#parts.tierNow(proposer) !== tier)
      throw new ShellstreamError('TIER_UNKNOWN', `${subject} is no ${tier} here`);
    return await this.proposals.issue(proposer, validMs);
  }

  propose(token: string, change: RouteChange): Promise<Proposal> {
    const { accord, tierNow } = this.#parts;
    return this.proposals.submit(token, change, (proposer) => {
      // A token outlives whoever it was issued for.
      demand(decideOwner(proposer, tierNow(proposer)));
      demand(decideProposal(accord, this.routes.level, proposer.tier));
    });
  }

  /** Approves and carries it out: by the authority of who approves, for whom it was proposed. */
  async approve(id: string, by: RouteOwner): Promise<RouteRecord> {
    demand(decideApproval(by.tier));
    // What could not be carried out now stays pending.
    const waiting = this.proposals.all.find((one) => one.id === id && one.state === 'pending');
    if (waiting !== undefined) this.routes.demand({ change: waiting.change, owner: waiting.proposer, by });
    const { change, proposer } = await this.proposals.decide(id, 'approved', by.subject, '');
    try {
      const record = await this.routes.change({ change, owner: proposer, by, proposal: id });
      await this.proposals.settle(id, 'done', '');
      return record;
    } catch (error) {
      await this.proposals.settle(id, 'failed', error instanceof Error ? error.message : reasonOf(error));
      throw error;
    }
  }

  async reject(id: string, why: string, by: RouteOwner): Promise<Proposal> {
    demand(decideApproval(by.tier));
    return await this.proposals.decide(id, 'rejected', by.subject, why);
  }
}

function demand(verdict: Verdict): void {
  if (verdict.kind === 'deny') throw new ShellstreamError(verdict.reason, verdict.detail);
}
