/**
 * The sites that this gateway holds: by their own DRAIN to level 1, by the console, or because it cannot be read any more
 * who was held. A hold blocks from the moment it is known, before it is on disk; a release counts once it is on disk.
 *
 * What a terminator says makes holds and never ends one, and only of the peer of a session that is its own: one that was
 * taken over can hold its own peers, which is less than to cut them off, or keep a DRAIN to itself, which is a failure of
 * the connection to us, and a site at level 1 that answers nobody.
 */
import { ShellstreamError } from '../../protocol/errors.ts';
import type { Ed25519, NoteKey } from '../../protocol/evidence/index.ts';
import {
  covers,
  drainHoldId,
  HOLD_ID_BYTES,
  type Hold,
  judgeRelease,
  makesHold,
  parseRelease,
  type ReceivedDrain,
} from '../../protocol/hold/index.ts';
import type { SpiffeId } from '../../protocol/identity/spiffe-id.ts';
import type { CryptoProvider } from '../../protocol/noise/crypto.ts';
import type { Clock } from '../base/clock.ts';
import { Listeners } from '../base/listeners.ts';
import type { Logger } from '../base/logger.ts';
import type { HeldSites } from '../enforcer/held-sites.ts';
import type { KeptHolds, OpenedHolds, SpentRelease } from './hold-store.ts';

export interface HoldablePeer {
  readonly name: string;
  readonly spiffeId: SpiffeId;
  /** Of its site_owner: whose signature releases it. */
  readonly releaseKeys: readonly NoteKey[];
  /** Identities of its site that may end its hold by attesting here. */
  readonly ceremony: readonly SpiffeId[];
}

export interface HoldsParts {
  readonly clock: Clock;
  readonly log: Logger;
  readonly crypto: Pick<CryptoProvider, 'sha256' | 'randomBytes'>;
  readonly ed25519: Ed25519;
  readonly opened: OpenedHolds;
  readonly peers: readonly HoldablePeer[];
  /** Our own identity. */
  readonly self: () => SpiffeId;
}

/** How a hold came, or by which channel it went. */
export type HoldEvent =
  | { readonly kind: 'held'; readonly hold: Hold }
  | { readonly kind: 'released'; readonly hold: Hold; readonly by: 'console' | 'document' | 'attestation' };

export class Holds implements HeldSites {
  readonly #parts: HoldsParts;
  readonly #listeners = new Listeners<HoldEvent>();
  #holds: readonly Hold[];
  #spent: readonly SpentRelease[];
  #problem: string | undefined;
  /** One change after the other, each on what the one before left. */
  #turn: Promise<unknown> = Promise.resolve();

  constructor(parts: HoldsParts) {
    this.#parts = parts;
    const { kept, problem } = parts.opened;
    this.#holds = kept.holds;
    this.#spent = kept.spent;
    if (problem === undefined) return;
    const reason = 'who was held before cannot be read';
    parts.log.error('the record of holds cannot be read: every peer of the mesh is held', { problem });
    for (const { spiffeId } of parts.peers) void this.#add({ ...this.#blank(spiffeId), cause: 'record', reason });
  }

  get all(): readonly Hold[] {
    return this.#holds;
  }

  /** What is wrong with the record on disk; undefined when all is well. */
  get problem(): string | undefined {
    return this.#problem;
  }

  /** The hold that an identity is under, the oldest of several. */
  of(identity: SpiffeId): Hold | undefined {
    return this.#holds.find((hold) => covers(hold, identity));
  }

  isHeld(identity: SpiffeId): boolean {
    return this.of(identity) !== undefined;
  }

  /** Whether it made, or renewed, a hold. Blocks at once. @param identity whose session the DRAIN came by */
  drained(identity: SpiffeId, drain: ReceivedDrain): boolean {
    const { crypto, peers, self } = this.#parts;
    if (!peers.some(({ spiffeId }) => spiffeId === identity) || !makesHold(drain)) return false;
    const id = drainHoldId(crypto.sha256, identity, self(), drain.epoch);
    const reason = 'it went to posture level 1';
    void this.#add({ ...this.#blank(identity), id, cause: 'drain', epoch: drain.epoch, reason });
    return true;
  }

  /** Blocks at once; resolves when it is on disk, or when `problem` says why it is not. */
  async hold(peer: string, reason: string): Promise<Hold> {
    const hold: Hold = { ...this.#blank(this.#peerNamed(peer).spiffeId), reason };
    await this.#add(hold);
    return hold;
  }

  /** By the anchor's own console: whatever holds the peer. False when nothing does. */
  async release(peer: string): Promise<boolean> {
    const { spiffeId } = this.#peerNamed(peer);
    return await this.#inTurn(async () => {
      const ended = this.#holds.filter((hold) => covers(hold, spiffeId));
      await this.#end(ended, 'console');
      return ended.length > 0;
    });
  }

  /** A signed document, by whichever way it came. @throws ShellstreamError with the reason why it releases nothing */
  async deliver(document: Uint8Array): Promise<Hold> {
    const { clock, ed25519, peers } = this.#parts;
    const { release, note } = parseRelease(document);
    return await this.#inTurn(async () => {
      const peer = peers.find(({ spiffeId }) => spiffeId === release.peer);
      // What another cause holds is not the held site's to release.
      const standing = this.#holds.find(({ cause, peer }) => cause === 'drain' && peer === release.peer);
      const now = clock.now();
      const isSpent = this.#spent.some(({ hold }) => hold === release.hold);
      judgeRelease(release, note, { ed25519, now, standing, keys: peer?.releaseKeys ?? [], isSpent });
      if (standing === undefined) throw new ShellstreamError('RELEASE_MISMATCH');
      await this.#end([standing], 'document', { hold: release.hold, untilMs: release.expiresAtMs });
      return standing;
    });
  }

  get awaitsAttestation(): boolean {
    return this.#holds.some(({ cause, peer }) => cause === 'drain' && this.#ceremonyOf(peer).length > 0);
  }

  mayAttestRelease(identity: SpiffeId): boolean {
    return this.#attestable(identity) !== undefined;
  }

  async releaseAttested(identity: SpiffeId): Promise<void> {
    await this.#inTurn(async () => {
      const hold = this.#attestable(identity);
      if (hold === undefined) throw new ShellstreamError('PEER_HELD');
      await this.#end([hold], 'attestation');
      if (this.isHeld(identity)) throw new ShellstreamError('PEER_HELD', 'something else holds the site too');
    });
  }

  /** Resolves when what was held until now is on disk, or is known not to be. */
  async settled(): Promise<void> {
    await this.#turn;
  }

  onChange(listener: (event: HoldEvent) => void): Disposable {
    return this.#listeners.add(listener);
  }

  #attestable(identity: SpiffeId): Hold | undefined {
    return this.#holds.find(({ cause, peer }) => cause === 'drain' && this.#ceremonyOf(peer).includes(identity));
  }

  #ceremonyOf(peer: SpiffeId): readonly SpiffeId[] {
    return this.#parts.peers.find(({ spiffeId }) => spiffeId === peer)?.ceremony ?? [];
  }

  #peerNamed(name: string): HoldablePeer {
    const peer = this.#parts.peers.find((candidate) => candidate.name === name);
    if (peer === undefined) throw new ShellstreamError('MALFORMED', `no mesh peer is called ${name}`);
    return peer;
  }

  #blank(peer: SpiffeId): Hold {
    const { clock, crypto, self } = this.#parts;
    const id = Buffer.from(crypto.randomBytes(HOLD_ID_BYTES)).toString('hex');
    return { id, peer, anchor: self(), cause: 'console', epoch: 0n, sinceMs: clock.now(), reason: '' };
  }

  /** One of each cause for each peer; a newer one takes the place of the former. */
  async #add(hold: Hold): Promise<void> {
    const { log } = this.#parts;
    const { peer, cause, id } = hold;
    this.#holds = [...this.#holds.filter((other) => other.peer !== peer || other.cause !== cause), hold];
    log.warn('a peer is held', { peer, hold: id, cause, epoch: String(hold.epoch), reason: hold.reason });
    this.#listeners.tell({ kind: 'held', hold });
    await this.#inTurn(() => this.#save({ holds: this.#holds, spent: this.#spent })).catch((error: unknown) => {
      log.error('a hold is not on disk: it lasts as long as this process', { hold: id, error });
      this.#problem = 'the record of holds cannot be written: a restart would forget who is held';
    });
  }

  async #end(ended: readonly Hold[], by: 'console' | 'document' | 'attestation', spent?: SpentRelease): Promise<void> {
    const now = this.#parts.clock.now();
    const remembered = this.#spent.filter(({ untilMs }) => untilMs > now);
    if (remembered.length >= MAX_SPENT) throw new ShellstreamError('OVERLOADED', 'too many releases are remembered');
    const left = {
      holds: this.#holds.filter((hold) => !ended.includes(hold)),
      spent: spent === undefined ? remembered : [...remembered, spent],
    };
    await this.#save(left);
    // One that came while it was written stays.
    this.#holds = this.#holds.filter((hold) => !ended.includes(hold));
    this.#spent = left.spent;
    for (const hold of ended) {
      this.#parts.log.warn('a peer is released', { peer: hold.peer, hold: hold.id, cause: hold.cause, by });
      this.#listeners.tell({ kind: 'released', hold, by });
    }
  }

  async #save(kept: KeptHolds): Promise<void> {
    await this.#parts.opened.store.save(kept);
    this.#problem = undefined;
  }

  #inTurn<T>(change: () => Promise<T>): Promise<T> {
    const changed = this.#turn.then(change);
    this.#turn = changed.catch(() => undefined);
    return changed;
  }
}

/** More than releases can come in their longest time without an operator's doing. */
const MAX_SPENT = 4_096;
