/**
 * One open session, from its grant to its end: what was admitted, the wire under it, the streams in it. It judges
 * itself whenever a level changes at either end, attests again in time, and when it ends takes with it whatever the
 * enforcer put into the data plane.
 */
import { Channel, type ChannelEvent, encodeFrame, type Governor } from '../../protocol/channel/index.ts';
import { assertNever } from '../../protocol/errors.ts';
import type { HandshakeOptions } from '../../protocol/handshake/index.ts';
import {
  type Accord,
  freshSatRequired,
  healthPaceMs,
  judgeSession,
  negotiate,
  type PostureLevel,
  type SessionVerdict,
} from '../../protocol/posture/index.ts';
import type { Reason } from '../../protocol/reasons.ts';
import type { Clock, Timer } from '../base/clock.ts';
import type { Descriptors } from '../base/descriptors.ts';
import type { Admission, Connection, Enforcer, FinalFrames, PostureReader } from '../enforcer/ports.ts';
import type { Approach } from '../enforcer/terminator-port.ts';
import type { Link } from '../link/index.ts';
import type { Attested } from './attest.ts';
import { Reattestation } from './reattest.ts';
import { SessionStreams, type StreamJudgement } from './streams.ts';
import { SessionWire } from './wire.ts';

export interface SessionParts {
  readonly clock: Clock;
  readonly enforcer: Enforcer;
  readonly posture: PostureReader;
  /** Absent on an operator's own machine: there the other side alone judges. */
  readonly accord?: Accord;
  readonly handshake: HandshakeOptions;
  /** The longest from one PING to the next; the level that governs may ask for less. */
  readonly pingMs: number;
  readonly maxStreams: number;
  readonly windowBytes: number;
  /** What the process has for connections of all kinds. */
  readonly descriptors: Descriptors;
}

export interface SessionListener {
  levelChanged?(session: Session): void;
  /** It takes no new streams any more, by either end's wish. */
  draining?(session: Session): void;
  drainReceived?(session: Session, event: Extract<ChannelEvent, { type: 'drain' }>): void;
  tunnelReported?(session: Session, event: Extract<ChannelEvent, { type: 'tunnel' }>): void;
  roundTrip?(session: Session, ms: number): void;
  attestedAgain?(session: Session): void;
  ended(session: Session, reason: Reason, byPeer: boolean, detail: string | undefined): void;
}

/** The initiator attests again when this part of what is left has passed. */
const REATTEST_AFTER = 0.6;
/** How long a peer's DRAIN may be behind its POSTURE. */
const LAST_WORD_MS = 500;

export class Session {
  readonly role: 'initiator' | 'responder';
  readonly connection: Connection;
  readonly openedAtMs: number;
  readonly streams: SessionStreams;
  readonly #parts: SessionParts;
  readonly #listener: SessionListener;
  readonly #wire: SessionWire;
  readonly #reattestation: Reattestation;
  #admission: Admission;
  #peerLevel: PostureLevel;
  #peerEpoch: bigint;
  #effective: PostureLevel;
  #expiry: Timer | undefined;
  #renewal: Timer | undefined;
  #lastWord: Timer | undefined;
  #drainedByPeer = false;
  #end: { readonly reason: Reason; readonly released: Promise<void> } | undefined;

  /** `approach` for an initiator: what it asks for again when it attests again. */
  constructor(
    parts: SessionParts,
    link: Link,
    { admission, established }: Attested,
    listener: SessionListener,
    approach?: Approach,
  ) {
    const { clock } = parts;
    this.role = approach === undefined ? 'responder' : 'initiator';
    this.connection = link;
    this.openedAtMs = clock.now();
    this.#parts = parts;
    this.#listener = listener;
    this.#admission = admission;
    this.#peerLevel = admission.peerLevel;
    this.#peerEpoch = admission.peerEpoch;
    this.#effective = admission.effectiveLevel;
    const channel = new Channel(
      {
        role: this.role,
        pingMs: paceOf(parts, admission.effectiveLevel),
        maxStreams: parts.maxStreams,
        windowBytes: parts.windowBytes,
        carriesPackets: admission.carriesPackets === true,
      },
      clock.monotonic(),
    );
    this.#wire = new SessionWire({ link, established, channel, clock, onEvent: (event) => this.#handle(event) });
    this.streams = new SessionStreams(this.#wire, clock, parts.descriptors);
    this.#reattestation = new Reattestation({
      wire: this.#wire,
      enforcer: parts.enforcer,
      handshake: parts.handshake,
      connection: link,
      clock,
      current: () => this.#admission,
      adopt: (renewed) => this.#adopt(renewed),
      fail: (reason, detail) => this.end(reason, detail),
      ...(approach === undefined ? {} : { approach }),
    });
    this.#watchDeadlines();
    if (admission.tunnelGeneration !== undefined) this.#reportTunnel(admission.tunnelGeneration);
    if (this.#isOutdated) this.ownPostureChanged();
    this.#wire.resume();
  }

  /** Whether a level changed since the grant's decision, or since the peer was told ours. */
  get #isOutdated(): boolean {
    const { posture } = this.#parts;
    if (posture.epoch !== this.#admission.toldEpoch) return true;
    return negotiate({ initiator: posture.level, responder: this.#peerLevel }).effective !== this.#effective;
  }

  get id(): string {
    return this.#admission.id;
  }

  get admission(): Admission {
    return this.#admission;
  }

  get peerLevel(): PostureLevel {
    return this.#peerLevel;
  }

  get effectiveLevel(): PostureLevel {
    return this.#effective;
  }

  get governedBy(): Governor {
    const own = this.#parts.posture.level;
    return this.role === 'initiator'
      ? negotiate({ initiator: own, responder: this.#peerLevel }).governedBy
      : negotiate({ initiator: this.#peerLevel, responder: own }).governedBy;
  }

  get state(): 'active' | 'draining' | 'ended' {
    if (this.#end !== undefined) return 'ended';
    return this.#wire.act((channel) => channel.phase) === 'open' ? 'active' : 'draining';
  }

  get wire(): SessionWire {
    return this.#wire;
  }

  /**
   * Our own level changed. A session that ends or drains with it says so in its DRAIN, which carries the level; a POSTURE
   * before it would have the peer end the session first, without ever seeing why, or attest again for one that is ending.
   */
  ownPostureChanged(): void {
    if (this.#end !== undefined) return;
    const verdict = this.#judge();
    const { level, epoch } = this.#parts.posture;
    const isTold = verdict?.kind === 'end' || verdict?.kind === 'drain';
    if (!isTold) this.#wire.send({ type: 'POSTURE', level, epoch });
    if (verdict !== undefined) this.#obey(verdict);
    this.streams.judge(this.#streamJudgement);
  }

  /** The peer's level changed: it tells with DRAIN what ends by it, and has that long before we end it ourselves. */
  #peerPostureChanged(): void {
    const verdict = this.#judge();
    if (verdict?.kind === 'end') this.#lastWord ??= this.#parts.clock.after(LAST_WORD_MS, () => this.#obey(verdict));
    else if (verdict !== undefined) this.#obey(verdict);
    this.streams.judge(this.#streamJudgement);
  }

  /** What the level that governs now does to the session. Flows need none of this: their floors act in the kernel. */
  #judge(): SessionVerdict | undefined {
    const from = this.#effective;
    const to = negotiate({ initiator: this.#parts.posture.level, responder: this.#peerLevel }).effective;
    this.#followLevel(to);
    if (to === from || this.#end !== undefined) return undefined;
    this.#listener.levelChanged?.(this);
    const { accord } = this.#parts;
    // Without rules of our own the other side judges; we owe it a fresh attestation where it asks for one.
    if (accord === undefined) return { kind: 'keep', reattest: freshSatRequired(to) && !freshSatRequired(from) };
    const { offer, grant, peer } = this.#admission;
    // An initiator was not told its tier; the responder judges by it.
    return judgeSession(accord, { type: offer.sessionType, tier: peer.tier ?? 'site_owner', grant }, from, to);
  }

  #followLevel(level: PostureLevel): void {
    const [former, pace] = [paceOf(this.#parts, this.#effective), paceOf(this.#parts, level)];
    this.#effective = level;
    if (pace !== former) this.#wire.act((channel, now) => channel.setPingPeriod(now, pace));
  }

  #obey(verdict: SessionVerdict): void {
    switch (verdict.kind) {
      case 'keep':
        if (verdict.reattest) this.#attestAgain();
        return;
      case 'narrow': {
        const grant = { ...this.#admission.grant, capabilities: verdict.capabilities };
        this.#admission = { ...this.#admission, grant };
        if (verdict.reattest) this.#attestAgain();
        return;
      }
      case 'drain':
        return this.drain(verdict.reason, verdict.deadlineMs);
      case 'end':
        return this.drain(verdict.reason, 0);
    }
    assertNever(verdict);
  }

  /** A drain is not taken back: a thousand sessions that attest again while they end would starve the work they finish. */
  #attestAgain(): void {
    if (this.state === 'active') this.#reattestation.start();
  }

  /** The round trip is told as an event. */
  ping(): void {
    this.#wire.act((channel, now) => channel.ping(now));
  }

  /** A packet of the tunnel to the peer; dropped where the connection has no room. */
  packet(packet: Uint8Array): void {
    this.#wire.act((channel) => channel.sendPacket(packet));
  }

  /** DRAIN with a deadline lets streams finish; with 0 the session ends now. */
  drain(reason: Reason, deadlineMs: number): void {
    const { level, epoch } = this.#parts.posture;
    const byPosture = reason.startsWith('POSTURE');
    if (deadlineMs > 0) this.#listener.draining?.(this);
    this.#wire.act((channel, now) =>
      channel.drain(now, { reason, level: byPosture ? level : undefined, epoch: byPosture ? epoch : 0n, deadlineMs }),
    );
  }

  /** Idempotent. The peer is told. */
  end(reason: Reason, detail?: string): void {
    this.#wire.close(reason, detail);
  }

  /** Our identity rotated: what we attested with ends soon. */
  identityRotated(): void {
    if (this.role === 'initiator') this.#reattestation.start();
  }

  /** Resolves when nothing of the session is left in the data plane. */
  async released(): Promise<void> {
    await this.#end?.released;
  }

  get #streamJudgement(): StreamJudgement {
    const { grant } = this.#admission;
    // Only the responder hosts targets.
    return { grant: this.role === 'responder' ? grant : { ...grant, capabilities: [] }, level: this.#effective };
  }

  #handle(event: ChannelEvent): void {
    switch (event.type) {
      case 'stream-opened':
        return this.streams.accept(event.stream, event.target, this.#streamJudgement);
      case 'stream-accepted':
      case 'stream-readable':
      case 'stream-writable':
      case 'stream-finished':
      case 'stream-closed':
        return this.streams.handle(event);
      case 'posture':
        if (this.#noteLevel(event.level, event.epoch)) this.#peerPostureChanged();
        return;
      case 'drain':
        this.#drainedByPeer = true;
        this.#listener.draining?.(this);
        this.#listener.drainReceived?.(this, event);
        // With no time left CLOSE is behind it, and nothing is left to judge.
        if (event.level === undefined || !this.#noteLevel(event.level, event.epoch)) return;
        return event.deadlineMs === 0 ? undefined : this.#peerPostureChanged();
      case 'drained':
        return;
      case 'packet':
        return this.#parts.enforcer.packet?.(this.id, event.packet);
      case 'tunnel':
        this.#listener.tunnelReported?.(this, event);
        if (event.state === 'failed') this.end('TUNNEL_FAILED', 'the peer could not install it');
        return;
      case 'reattest':
      case 'grant':
      case 'deny':
        return this.#reattestation.handle(event);
      case 'round-trip':
        return this.#listener.roundTrip?.(this, event.ms);
      case 'closed':
        return this.#ended(event.reason, event.by === 'peer' || this.#drainedByPeer, event.detail);
    }
    assertNever(event);
  }

  /** False for what is old: a POSTURE that crossed with a GRANT. */
  #noteLevel(level: PostureLevel, epoch: bigint): boolean {
    if (epoch <= this.#peerEpoch) return false;
    this.#peerEpoch = epoch;
    this.#peerLevel = level;
    this.#supervise(this.#parts.enforcer.setPeerLevel(this.id, level));
    return true;
  }

  #adopt(renewed: Admission): void {
    if (this.#end !== undefined) return;
    this.#admission = renewed;
    // What was decided at this level is judged from it, though a stricter one may have come while it was on its way.
    this.#followLevel(renewed.effectiveLevel);
    if (renewed.peerEpoch >= this.#peerEpoch) {
      this.#peerLevel = renewed.peerLevel;
      this.#peerEpoch = renewed.peerEpoch;
    }
    // The renewal left the lower of both levels in the data plane.
    this.#supervise(this.#parts.enforcer.setPeerLevel(this.id, this.#peerLevel));
    this.#watchDeadlines();
    if (renewed.tunnelGeneration !== undefined) this.#reportTunnel(renewed.tunnelGeneration);
    this.#listener.attestedAgain?.(this);
    this.#peerPostureChanged();
  }

  #watchDeadlines(): void {
    const { clock } = this.#parts;
    const left = this.#admission.expiresAt - clock.now();
    this.#expiry?.cancel();
    this.#renewal?.cancel();
    this.#expiry = clock.after(left, () => this.end('EXPIRED'));
    if (this.role === 'initiator') {
      this.#renewal = clock.after(left * REATTEST_AFTER, () => this.#reattestation.start());
    }
  }

  #reportTunnel(generation: number): void {
    this.#wire.send({ type: 'TUNNEL', state: 'ready', generation });
  }

  #ended(reason: Reason, byPeer: boolean, detail: string | undefined): void {
    if (this.#end !== undefined) return;
    this.#expiry?.cancel();
    this.#renewal?.cancel();
    this.#lastWord?.cancel();
    this.#reattestation.abandon();
    const lastWord = { ...this.streams.totals, ...this.#finalFrames() };
    this.streams.closeAll(reason);
    this.#end = { reason, released: this.#parts.enforcer.release(this.id, reason, byPeer, lastWord) };
    this.#listener.ended(this, reason, byPeer, detail);
  }

  /** Where evidence is of frames: at level 1 no others pass any more. */
  #finalFrames(): { readonly frames?: FinalFrames } {
    const { accord, posture, handshake } = this.#parts;
    const { payload, frameHeaders } = accord?.levels[posture.level].notarisation ?? {};
    if (payload !== 'full-hash' && frameHeaders !== true) return {};
    const frames = this.#wire.act((channel) => channel.unsent).map((frame) => encodeFrame(frame));
    const payloadHash = handshake.crypto.sha256(Buffer.concat(frames.map((bytes) => bytes.subarray(1))));
    return { frames: { payloadHash, headers: Uint8Array.from(frames, ([type = 0]) => type) } };
  }

  /** A data plane that cannot be told is a session that cannot be kept. */
  #supervise(work: Promise<void>): void {
    work.catch((error: unknown) =>
      this.end('DATAPLANE_FAILED', error instanceof Error ? error.message : String(error)),
    );
  }
}

/** An operator's own machine has no accord; there the other side sets the pace. */
function paceOf({ accord, pingMs }: SessionParts, level: PostureLevel): number {
  return accord === undefined ? pingMs : healthPaceMs(accord, level, pingMs);
}
