/**
 * Who may start a handshake at all, asked before any cryptography: the cheapest refusals come first, and what a
 * stranger can make this node spend is bounded: in number, in rate for each network, and in time of this process.
 * Peers of the mesh, as far as their address tells them, have a share of each that strangers cannot use up.
 * A refusal here is a closed connection and nothing else.
 */
import { type Accord, remoteHandshakeAllowed } from '../../protocol/posture/index.ts';
import type { Reason } from '../../protocol/reasons.ts';
import type { Clock } from '../base/clock.ts';
import type { Descriptors } from '../base/descriptors.ts';
import type { PostureReader } from '../enforcer/ports.ts';
import type { Visit } from '../link/index.ts';
import { Doorstep } from './doorstep.ts';
import { type Claimant, HandshakeBudget, type HandshakeBudgetLimits, type Work } from './handshake-budget.ts';
import { MeshSources } from './mesh-sources.ts';
import { Refusals } from './refusals.ts';
import { TokenBuckets } from './token-buckets.ts';

export interface AdmissionLimits {
  readonly pendingHandshakes: number;
  readonly perPrefixRate: { readonly perSecond: number; readonly burst: number };
  readonly handshakeBudget: HandshakeBudgetLimits & {
    /** Networks from which peers of the mesh come, besides those that are learnt. */
    readonly meshSources: readonly string[];
  };
}

export interface AdmissionParts {
  readonly posture: PostureReader;
  readonly accord: Accord;
  readonly clock: Clock;
  readonly limits: AdmissionLimits;
  /** What the process has for connections of all kinds. */
  readonly descriptors: Descriptors;
  /** Connections that were turned away, at most once a second for each reason. */
  readonly onRefused?: (reason: Reason, count: number) => void;
}

/** A handshake under way; it counts as pending until disposed. */
export interface PendingHandshake extends Disposable {
  /** Told when the handshake has the thread, and when it waits. */
  readonly work: Work;
}

export class AdmissionControl implements Disposable {
  readonly #parts: AdmissionParts;
  readonly #rates: TokenBuckets;
  readonly #budget: HandshakeBudget;
  readonly #sources: MeshSources;
  readonly #refusals: Refusals;
  readonly #doorstep = new Doorstep();
  readonly #pending: Record<Claimant, number> = { stranger: 0, mesh: 0 };
  /** When the connection that was let in last came: its upgrade is answered in the same turn. */
  #letInAt: number | undefined;
  #closed = false;

  constructor(parts: AdmissionParts) {
    const { clock, limits, onRefused } = parts;
    this.#parts = parts;
    this.#rates = new TokenBuckets(clock, limits.perPrefixRate);
    this.#budget = new HandshakeBudget(clock, limits.handshakeBudget);
    this.#sources = new MeshSources(clock, limits.handshakeBudget.meshSources);
    this.#refusals = new Refusals(clock, (reason, count) => onRefused?.(reason, count));
  }

  get pending(): number {
    return this.#pending.stranger + this.#pending.mesh;
  }

  /** A connection came and has said nothing yet: a place for it until it has, or undefined to cut it. */
  meet(remoteAddress: string): Visit | undefined {
    const claimant = this.#claimant(remoteAddress);
    const descriptor = this.#descriptor(claimant);
    const place = descriptor && this.#doorstep.take(claimant, remoteAddress);
    if (place === undefined) {
      descriptor?.[Symbol.dispose]();
      this.#refusals.add('OVERLOADED');
      return undefined;
    }
    return {
      asked: () => place[Symbol.dispose](),
      [Symbol.dispose]: () => {
        place[Symbol.dispose]();
        descriptor?.[Symbol.dispose]();
      },
    };
  }

  /** The reason for turning a connection away before it is answered, if there is one. */
  refuses(remoteAddress: string): Reason | undefined {
    const reason = this.#judge(remoteAddress);
    if (reason === undefined) this.#letInAt = this.#parts.clock.monotonic();
    else this.#refusals.add(reason);
    return reason;
  }

  begin(remoteAddress: string): PendingHandshake {
    const claimant = this.#claimant(remoteAddress);
    this.#pending[claimant] += 1;
    if (this.#letInAt !== undefined) this.#budget.spend(claimant, this.#parts.clock.monotonic() - this.#letInAt);
    this.#letInAt = undefined;
    const work = this.#budget.work(claimant);
    work.run();
    let counted = true;
    return {
      work,
      [Symbol.dispose]: () => {
        work.rest();
        if (counted) this.#pending[claimant] -= 1;
        counted = false;
      },
    };
  }

  /** A peer of the mesh is at this address: it was dialled there, or was granted a session from there. */
  learn(address: string): void {
    this.#sources.learn(address);
  }

  close(): void {
    this.#closed = true;
  }

  [Symbol.dispose](): void {
    this.#refusals[Symbol.dispose]();
  }

  #judge(remoteAddress: string): Reason | undefined {
    const { posture, accord } = this.#parts;
    if (this.#closed) return 'SHUTTING_DOWN';
    if (!remoteHandshakeAllowed(posture.level, accord)) return 'POSTURE_ISOLATED';
    const claimant = this.#claimant(remoteAddress);
    if (!this.#hasPlace(claimant) || !this.#budget.hasRoom(claimant)) return 'OVERLOADED';
    // A peer has a rate of its own: whoever is in its network cannot use it up.
    const isInRate = claimant === 'mesh' ? this.#rates.takeFor(remoteAddress) : this.#rates.take(remoteAddress);
    return isInRate ? undefined : 'RATE_LIMITED';
  }

  #descriptor(claimant: Claimant): Disposable | undefined {
    const { descriptors, limits } = this.#parts;
    const keptForMesh = Math.ceil((descriptors.total * limits.handshakeBudget.meshPercent) / 100);
    return descriptors.take(claimant === 'mesh' ? 0 : keptForMesh);
  }

  #hasPlace(claimant: Claimant): boolean {
    const { pendingHandshakes, handshakeBudget } = this.#parts.limits;
    if (this.pending >= pendingHandshakes) return false;
    const kept = Math.ceil((pendingHandshakes * handshakeBudget.meshPercent) / 100);
    return claimant === 'mesh' || this.#pending.stranger < pendingHandshakes - kept;
  }

  #claimant(remoteAddress: string): Claimant {
    return this.#sources.has(remoteAddress) ? 'mesh' : 'stranger';
  }
}
