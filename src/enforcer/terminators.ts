/** All terminators of this node as one. */
import { ShellstreamError } from '../../protocol/errors.ts';
import type { PostureLevel } from '../../protocol/posture/level.ts';
import type { Reason } from '../../protocol/reasons.ts';
import { Listeners } from '../base/listeners.ts';
import type { LocalEnforcer } from './enforcer.ts';
import type { SessionId } from './ports.ts';
import type { DialOrder, StreamState, Terminator, TerminatorEvent, TerminatorLoad } from './terminator-port.ts';

interface Hired {
  readonly enforcer: LocalEnforcer;
  readonly terminator: Terminator;
}

export class Terminators {
  readonly #hired: Hired[] = [];
  readonly #draining = new Set<SessionId>();
  readonly #listeners = new Listeners<TerminatorEvent>();
  #turn = 0;

  get count(): number {
    return this.#hired.length;
  }

  /** From here on it is told everything; until disposed. What it holds then is the caller's to release. */
  add(enforcer: LocalEnforcer, terminator: Terminator): Disposable {
    const hired: Hired = { enforcer, terminator };
    const subscription = terminator.onEvent((event) => this.#tell(enforcer, event));
    this.#hired.push(hired);
    return {
      [Symbol.dispose]: () => {
        subscription[Symbol.dispose]();
        const at = this.#hired.indexOf(hired);
        if (at >= 0) this.#hired.splice(at, 1);
      },
    };
  }

  setPosture(level: PostureLevel, epoch: bigint): void {
    for (const { terminator } of this.#hired) terminator.setPosture(level, epoch);
  }

  async judgeSessions(): Promise<void> {
    await this.#all((terminator) => terminator.judgeSessions());
  }

  identityRotated(): void {
    for (const { terminator } of this.#hired) terminator.identityRotated();
  }

  drain(session: SessionId, reason: Reason, deadlineMs: number): void {
    this.#of(session)?.drain(session, reason, deadlineMs);
  }

  async drainAll(reason: Reason, deadlineMs: number): Promise<void> {
    await this.#all((terminator) => terminator.drainAll(reason, deadlineMs));
  }

  /** By turns. @throws ShellstreamError OVERLOADED while there is no terminator */
  async dial(order: DialOrder, signal: AbortSignal): Promise<SessionId> {
    const hired = this.#hired[this.#turn % Math.max(1, this.#hired.length)];
    this.#turn += 1;
    if (hired === undefined) throw new ShellstreamError('OVERLOADED', 'no terminator runs just now');
    const session = await hired.terminator.dial(order, signal);
    // One that names another's session, or none, must not pass for a connection to the peer.
    if (hired.enforcer.peerOf(session) !== order.approach.expectedId) {
      throw new ShellstreamError('CONNECTION_LOST', 'the session that was opened does not stand');
    }
    return session;
  }

  async streams(session: SessionId): Promise<readonly StreamState[]> {
    return (await this.#of(session)?.streams(session)) ?? [];
  }

  async load(): Promise<TerminatorLoad> {
    const total = { pendingHandshakes: 0, streams: 0 };
    await this.#all(async (terminator) => {
      const { pendingHandshakes, streams } = await terminator.load();
      total.pendingHandshakes += pendingHandshakes;
      total.streams += streams;
    });
    return total;
  }

  /** Whether it takes no new streams any more, as its terminator says. */
  isDraining(session: SessionId): boolean {
    return this.#draining.has(session);
  }

  /** The session is over. */
  forget(session: SessionId): void {
    this.#draining.delete(session);
  }

  onEvent(listener: (event: TerminatorEvent) => void): Disposable {
    return this.#listeners.add(listener);
  }

  #of(session: SessionId): Terminator | undefined {
    return this.#hired.find(({ enforcer }) => enforcer.holds(session))?.terminator;
  }

  /** What one says of sessions that are not its own is not passed on. */
  #tell(enforcer: LocalEnforcer, event: TerminatorEvent): void {
    if ('session' in event && !enforcer.holds(event.session)) return;
    if (event.kind === 'draining') this.#draining.add(event.session);
    this.#listeners.tell(event);
  }

  /** One that fails, or dies meanwhile, does not keep the others from being waited for. */
  async #all(action: (terminator: Terminator) => Promise<void>): Promise<void> {
    await Promise.allSettled(this.#hired.map(({ terminator }) => action(terminator)));
  }
}
