/** A gateway without a gateway: keeps its sessions and posture in memory and behaves as `ports.ts` says. For tests. */

import { ShellstreamError } from '../../protocol/errors.ts';
import { LOCKDOWN, mostRestrictive, NORMAL, type PostureLevel } from '../../protocol/posture/level.ts';
import type { Reason } from '../../protocol/reasons.ts';
import type { Clock } from '../base/clock.ts';
import { type EvidenceDesk, NO_EVIDENCE } from './evidence-desk.ts';
import type {
  Actor,
  ConsoleStatement,
  Finding,
  GatewayEvent,
  GatewayStatus,
  GatewayView,
  PeerView,
  PosturePreview,
  PostureSourceView,
  PostureView,
  SessionDetail,
  SessionFilter,
  SessionView,
} from './ports.ts';
import { NO_REVOCATIONS, type RevocationDesk } from './revocation-desk.ts';
import { NO_ROUTES } from './route-desk.ts';

/** What `MemoryGateway` says in `status` where it has nothing of its own to say. */
export type StatusFacts = Omit<GatewayStatus, 'posture' | 'counts' | 'nowMs'>;

export interface Order {
  readonly verb:
    | 'drain'
    | 'end'
    | 'setPosture'
    | 'confirmPosture'
    | 'setAside'
    | 'holdPeer'
    | 'releasePeer'
    | 'deliverRelease';
  readonly by: Actor;
}

export class MemoryGateway implements GatewayView {
  facts: StatusFacts;
  peerList: readonly PeerView[] = [];
  findings: readonly Finding[] = [];
  terminators = 1;
  revocations: RevocationDesk = NO_REVOCATIONS;
  evidence: EvidenceDesk = NO_EVIDENCE;
  readonly underlay = NO_ROUTES;
  /** The orders that were carried out, with who gave them. */
  readonly orders: Order[] = [];
  readonly #clock: Clock;
  readonly #sessions = new Map<string, SessionDetail>();
  readonly #statements = new Map<string, Omit<PostureSourceView, 'governs'>>();
  postureProblems: readonly string[] = [];
  unconfirmed: PostureView['unconfirmed'];
  routesAtNormal: PosturePreview['withdrawn'] = { count: 0, first: [] };
  readonly #watchers = new Set<(event: GatewayEvent) => void>();
  #epoch = 0n;
  #sinceMs: number;

  constructor(clock: Clock, facts: StatusFacts) {
    this.#clock = clock;
    this.facts = facts;
    this.#sinceMs = clock.now();
  }

  open(session: SessionDetail): void {
    this.#sessions.set(session.id, session);
    this.emit({ kind: 'session-opened', atMs: this.#clock.now(), session: summary(session) });
  }

  /** What any source of posture does: its former statement is replaced. */
  state(source: string, level: PostureLevel, reason: string, expiresAtMs?: number): void {
    const from = this.#effective();
    this.#epoch += 1n;
    const sinceMs = this.#clock.now();
    this.#statements.set(source, { source, level, epoch: this.#epoch, sinceMs, expiresAtMs, reason, setAside: false });
    const to = this.#effective();
    if (to === from) return;
    this.#sinceMs = sinceMs;
    this.emit({ kind: 'posture-changed', atMs: sinceMs, from, to, epoch: this.#epoch, source, reason });
  }

  emit(event: GatewayEvent): void {
    for (const watcher of this.#watchers) watcher(event);
  }

  get watcherCount(): number {
    return this.#watchers.size;
  }

  async status(): Promise<GatewayStatus> {
    const sessions = [...this.#sessions.values()];
    return {
      ...this.facts,
      nowMs: this.#clock.now(),
      posture: await this.posture(),
      counts: {
        pendingHandshakes: 0,
        sessions: sessions.length,
        streams: sessions.reduce((sum, { streams }) => sum + streams.length, 0),
        tunnelPeers: sessions.filter(({ tunnel }) => tunnel !== undefined).length,
        flows: sessions.reduce((sum, { targets, offered = [] }) => sum + targets.length + offered.length, 0),
        heldPeers: this.peerList.filter(({ hold }) => hold !== undefined).length,
        terminators: this.terminators,
      },
    };
  }

  async sessions(filter: SessionFilter): Promise<readonly SessionView[]> {
    return [...this.#sessions.values()]
      .filter(
        ({ peer, type, state }) =>
          matches(filter.peer, peer) && matches(filter.type, type) && matches(filter.state, state),
      )
      .map(summary)
      .sort((one, other) => (one.id < other.id ? -1 : 1));
  }

  async session(id: string): Promise<SessionDetail | undefined> {
    return this.#sessions.get(id);
  }

  async drain(id: string, deadlineMs: number, by: Actor): Promise<boolean> {
    const session = this.#sessions.get(id);
    if (session === undefined) return false;
    this.orders.push({ verb: 'drain', by });
    this.#sessions.set(id, { ...session, state: 'draining' });
    this.#clock.after(deadlineMs, () => this.#remove(id, 'OPERATOR_DRAIN'));
    return true;
  }

  async end(id: string, _why: string, by: Actor): Promise<boolean> {
    const isKnown = this.#remove(id, 'CLOSED');
    if (isKnown) this.orders.push({ verb: 'end', by });
    return isKnown;
  }

  async posture(): Promise<PostureView> {
    const effective = this.#effective();
    const sources = [...this.#statements.values()].map((statement) => ({
      ...statement,
      governs: statement.level === effective,
    }));
    return {
      effective,
      epoch: this.#epoch,
      sinceMs: this.#sinceMs,
      sources,
      problems: this.postureProblems,
      unconfirmed: this.unconfirmed,
    };
  }

  async setPosture({ level, reason, forMs, confirmWithinMs }: ConsoleStatement, by: Actor): Promise<PostureView> {
    this.orders.push({ verb: 'setPosture', by });
    const formerLevel = this.#effective();
    this.state('console', level, reason, forMs === undefined ? undefined : this.#clock.now() + forMs);
    this.unconfirmed =
      confirmWithinMs === undefined
        ? undefined
        : { formerLevel, untilMs: this.#clock.now() + confirmWithinMs, epoch: this.#epoch };
    return this.posture();
  }

  async confirmPosture(epoch: bigint, by: Actor): Promise<PostureView> {
    if (this.unconfirmed === undefined) throw new ShellstreamError('MALFORMED', 'nothing waits to be confirmed');
    if (this.unconfirmed.epoch !== epoch) throw new ShellstreamError('POSTURE_CHANGED');
    this.orders.push({ verb: 'confirmPosture', by });
    this.unconfirmed = undefined;
    return this.posture();
  }

  /** As at lockdown: every session ends, every route goes; at other levels all stay. */
  async previewPosture(level: PostureLevel): Promise<PosturePreview> {
    const all = [...this.#sessions.values()];
    const ended = level === LOCKDOWN ? all : [];
    const sessions = ended.map(({ id, peer, type }) => ({ id, peer, type, fate: 'end' as const, deadlineMs: 0 }));
    const counts = { keep: all.length - ended.length, reattest: 0, narrow: 0, drain: 0, end: ended.length };
    const isolates = level === LOCKDOWN ? ['eth0'] : [];
    const none = { count: 0, first: [] };
    const withdrawn = level === LOCKDOWN ? this.routesAtNormal : none;
    return { from: this.#effective(), to: level, counts, sessions, isolates, withdrawn, restored: none };
  }

  async setAside(source: string, _why: string, by: Actor, epoch?: bigint): Promise<PostureView> {
    const statement = this.#statements.get(source);
    if (statement === undefined) throw new ShellstreamError('MALFORMED', `no source ${source} says anything`);
    if (epoch !== undefined && epoch !== statement.epoch) throw new ShellstreamError('POSTURE_CHANGED');
    this.orders.push({ verb: 'setAside', by });
    this.#statements.set(source, { ...statement, setAside: true });
    return this.posture();
  }

  async holdPeer(name: string, reason: string, by: Actor): Promise<void> {
    this.#requirePeer(name);
    this.orders.push({ verb: 'holdPeer', by });
    const hold = { id: '0'.repeat(32), sinceMs: this.#clock.now(), epoch: 0n, cause: 'console', reason } as const;
    this.#changePeer(name, (peer) => ({ ...peer, state: 'held', hold }));
  }

  async releasePeer(name: string, _why: string, by: Actor): Promise<boolean> {
    const isHeld = this.#requirePeer(name).hold !== undefined;
    if (isHeld) this.orders.push({ verb: 'releasePeer', by });
    this.#changePeer(name, freed);
    return isHeld;
  }

  /** Any document, since nobody here has keys, lifts every hold; an empty one is refused. */
  async deliverRelease(document: Uint8Array, by: Actor): Promise<void> {
    if (document.length === 0) throw new ShellstreamError('RELEASE_UNTRUSTED');
    this.orders.push({ verb: 'deliverRelease', by });
    for (const { name } of this.peerList) this.#changePeer(name, freed);
  }

  async peers(): Promise<readonly PeerView[]> {
    return this.peerList;
  }

  async diagnose(): Promise<readonly Finding[]> {
    return this.findings;
  }

  watch(listener: (event: GatewayEvent) => void): Disposable {
    this.#watchers.add(listener);
    return { [Symbol.dispose]: () => void this.#watchers.delete(listener) };
  }

  #requirePeer(name: string): PeerView {
    const peer = this.peerList.find((candidate) => candidate.name === name);
    if (peer === undefined) throw new ShellstreamError('MALFORMED', `no mesh peer is called ${name}`);
    return peer;
  }

  #changePeer(name: string, change: (peer: PeerView) => PeerView): void {
    this.peerList = this.peerList.map((peer) => (peer.name === name ? change(peer) : peer));
  }

  #effective(): PostureLevel {
    const counting = [...this.#statements.values()].filter(({ setAside }) => !setAside);
    return mostRestrictive(NORMAL, ...counting.map(({ level }) => level));
  }

  #remove(id: string, reason: Reason): boolean {
    const session = this.#sessions.get(id);
    if (session === undefined) return false;
    this.#sessions.delete(id);
    this.emit({ kind: 'session-ended', atMs: this.#clock.now(), id, peer: session.peer, reason, byPeer: false });
    return true;
  }
}

function matches<T>(wanted: T | undefined, actual: T): boolean {
  return wanted === undefined || wanted === actual;
}

function summary({
  targets: _targets,
  offered: _offered,
  counters: _counters,
  tunnel: _tunnel,
  streams: _streams,
  ...session
}: SessionDetail): SessionView {
  return session;
}

function freed(peer: PeerView): PeerView {
  return { ...peer, state: 'connecting', hold: undefined };
}
