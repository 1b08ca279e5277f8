/**
 * Changes that somebody proposed outside a session, and the RequestTokens that let them (REQUIREMENTS N8): random, kept as
 * hashes, spent in the same write that queues the proposal, so that no crash makes one good for two.
 */
import { ShellstreamError } from '../../protocol/errors.ts';
import type { RouteChange, RouteOwner } from '../../protocol/routes/index.ts';
import type { Clock } from '../base/clock.ts';
import type { Kept, KeptProposals, Proposal, RequestTokenRecord } from './ports.ts';
import { MAX_PROPOSALS, MAX_TOKENS } from './records.ts';

export interface ProposalParts {
  readonly clock: Clock;
  readonly record: Kept<KeptProposals>;
  readonly sha256: (bytes: Uint8Array) => Uint8Array;
  readonly randomBytes: (length: number) => Uint8Array;
}

export const LONGEST_TOKEN_MS = 86_400_000;
/** Of the proposals that nobody decided; the rest of the room is for those that were. */
export const MAX_PENDING = 256;
const TOKEN_BYTES = 32;
const ID_BYTES = 16;
const DAMAGED = 'the record of proposals cannot be read';

export class Proposals {
  readonly #parts: ProposalParts;
  #kept: KeptProposals;
  #queue: Promise<unknown> = Promise.resolve();

  constructor(parts: ProposalParts) {
    this.#parts = parts;
    this.#kept = parts.record.value ?? { tokens: [], proposals: [] };
  }

  /** Oldest first. */
  get all(): readonly Proposal[] {
    return this.#kept.proposals;
  }

  /** Why what was proposed before is not here; tokens of that time are void. */
  get problem(): string | undefined {
    return this.#parts.record.problem === undefined ? undefined : DAMAGED;
  }

  /** A token, 64 hex digits, that lets its holder propose one change as `proposer`. It is nowhere else from now on. */
  issue(proposer: RouteOwner, validMs: number): Promise<string> {
    const { clock, randomBytes } = this.#parts;
    return this.#exclusively(async () => {
      const tokens = this.#liveTokens();
      if (tokens.length >= MAX_TOKENS) throw new ShellstreamError('OVERLOADED', `${MAX_TOKENS} tokens are out`);
      const token = Buffer.from(randomBytes(TOKEN_BYTES)).toString('hex');
      const record = { hash: this.#hash(token), proposer, expiresAtMs: clock.now() + validMs, isSpent: false };
      await this.#save({ ...this.#kept, tokens: [...tokens, record] });
      return token;
    });
  }

  /**
   * @param judge throws when none is taken of this proposer now; a token that was refused so is not spent
   * @throws ShellstreamError REQUEST_TOKEN_INVALID, REQUEST_TOKEN_EXPIRED, REQUEST_TOKEN_SPENT
   */
  submit(token: string, change: RouteChange, judge: (proposer: RouteOwner) => void): Promise<Proposal> {
    const { clock, randomBytes } = this.#parts;
    return this.#exclusively(async () => {
      const hash = this.#hash(token);
      const found = this.#kept.tokens.find((one) => one.hash === hash);
      if (found === undefined) throw new ShellstreamError('REQUEST_TOKEN_INVALID');
      if (found.isSpent) throw new ShellstreamError('REQUEST_TOKEN_SPENT');
      if (found.expiresAtMs <= clock.now()) throw new ShellstreamError('REQUEST_TOKEN_EXPIRED');
      judge(found.proposer);
      if (this.#kept.proposals.filter(({ state }) => state === 'pending').length >= MAX_PENDING) {
        throw new ShellstreamError('OVERLOADED', `${MAX_PENDING} proposals wait for a decision`);
      }
      const proposal: Proposal = {
        id: Buffer.from(randomBytes(ID_BYTES)).toString('hex'),
        change,
        proposer: found.proposer,
        atMs: clock.now(),
        state: 'pending',
      };
      await this.#save({
        tokens: this.#liveTokens().map((one) => (one === found ? { ...one, isSpent: true } : one)),
        proposals: [...this.#kept.proposals, proposal],
      });
      return proposal;
    });
  }

  /** Decides on a pending one, once. MALFORMED when there is none of that name, or it was decided. */
  decide(id: string, state: 'approved' | 'rejected', by: string, detail: string): Promise<Proposal> {
    return this.#exclusively(async () => {
      const proposal = this.#kept.proposals.find((one) => one.id === id);
      if (proposal?.state !== 'pending') {
        const why = proposal === undefined ? 'no proposal is called' : `${proposal.state} already:`;
        throw new ShellstreamError('MALFORMED', `${why} ${id}`);
      }
      return await this.#replace({ ...proposal, state, decision: { by, atMs: this.#parts.clock.now(), detail } });
    });
  }

  /** What became of an approved one. */
  settle(id: string, state: 'done' | 'failed', detail: string): Promise<void> {
    return this.#exclusively(async () => {
      const proposal = this.#kept.proposals.find((one) => one.id === id);
      if (proposal?.decision === undefined) return;
      await this.#replace({ ...proposal, state, decision: { ...proposal.decision, detail: detail.slice(0, 1_024) } });
    });
  }

  async #replace(proposal: Proposal): Promise<Proposal> {
    const proposals = this.#kept.proposals.map((one) => (one.id === proposal.id ? proposal : one));
    await this.#save({ ...this.#kept, proposals });
    return proposal;
  }

  /** In memory only what is on disk: a proposal that a crash would lose is not told as queued. */
  async #save({ tokens, proposals }: KeptProposals): Promise<void> {
    // The oldest decided ones go first; those that wait never do.
    const decided = proposals.filter(({ state }) => state !== 'pending');
    const surplus = new Set(decided.slice(0, Math.max(0, proposals.length - MAX_PROPOSALS)));
    const kept = { tokens, proposals: proposals.filter((one) => !surplus.has(one)) };
    try {
      await this.#parts.record.save(kept);
    } catch (cause) {
      throw new ShellstreamError('INTERNAL', 'proposals cannot be recorded', { cause });
    }
    this.#kept = kept;
  }

  /** A spent one is remembered until it would have run out; one that nobody knows any more is invalid. */
  #liveTokens(): readonly RequestTokenRecord[] {
    const now = this.#parts.clock.now();
    return this.#kept.tokens.filter(({ expiresAtMs }) => expiresAtMs > now);
  }

  #hash(token: string): string {
    return Buffer.from(this.#parts.sha256(Buffer.from(token))).toString('hex');
  }

  #exclusively<T>(action: () => Promise<T>): Promise<T> {
    const result = this.#queue.then(action);
    this.#queue = result.catch(() => undefined);
    return result;
  }
}
