/**
 * The enforcer as one terminator has it: verifies, decides, and owns the data plane. What stands in the kernel for a
 * session is in the directory, and nothing stands there that is not. Nonces, approaches and sessions are each
 * terminator's own: what another one holds it cannot name.
 */

import type { GrantedTarget } from '../../protocol/capability/index.ts';
import { reasonOf, ShellstreamError } from '../../protocol/errors.ts';
import { deriveSecrets, type Evidence, SECRET_BYTES } from '../../protocol/handshake/index.ts';
import { tryParseAddress } from '../../protocol/net/address.ts';
import { negotiate, type PostureLevel, remoteHandshakeAllowed, typeAllowed } from '../../protocol/posture/index.ts';
import type { Reason } from '../../protocol/reasons.ts';
import type { ControlFlow, DataPlane } from '../dataplane/ports.ts';
import { type AdmitParts, challenge, judge } from './admit.ts';
import { Approaches, type ApproachParts } from './approach.ts';
import { type CarryingParts, carried } from './carrying.ts';
import type { Holder, SessionDirectory, Standing } from './directory.ts';
import { answerTo, type GrantingParts, ownView, tunnelTerms } from './grants.ts';
import type { Keeper } from './keeper.ts';
import { initiatorAsMember, responderAsMember } from './mesh-member.ts';
import type { Member, MemberSpec, Overlay } from './overlay.ts';
import type {
  AcceptInput,
  Admission,
  AdmitInput,
  ApproachInput,
  ChallengeInput,
  Connection,
  Enforcer,
  LastWord,
  SessionId,
  StreamTotals,
} from './ports.ts';
import { refuseWider } from './refuse-wider.ts';
import { isRevoked, refuseStale } from './revocation.ts';
import { NO_STREAMS, type StreamsAtEnd, ToldTotals } from './stream-totals.ts';
import type { Approach } from './terminator-port.ts';
import type { TransitEvidence } from './transit-evidence.ts';
import { Undo } from './undo.ts';

export interface EnforcerParts extends AdmitParts, CarryingParts, GrantingParts, Pick<ApproachParts, 'offerTo'> {
  readonly dataplane: DataPlane;
  /** Of the node: shared by the enforcers of all terminators. */
  readonly directory: SessionDirectory;
  readonly overlay?: Overlay;
  /** For a terminator that outlives this enforcer. */
  readonly keeper?: Keeper;
  /** Absent where no evidence is kept. */
  readonly evidence?: TransitEvidence;
  /** Seconds between keepalives in the tunnel to a peer that we dialled: holds a NAT's mapping open. 0: none. */
  readonly keepaliveOf: (spiffeId: string) => number;
  /** Whether this node itself wants such a session: a terminator opens none of its own. */
  readonly intends: (approach: Approach) => boolean;
  readonly onPeerLevel?: (standing: Standing) => void;
  /** A session was ended here without the terminator's asking: it must end its connection. */
  readonly onRevoked?: (session: SessionId, reason: Reason) => void;
}

export class LocalEnforcer implements Enforcer, Holder {
  readonly #parts: EnforcerParts;
  readonly #approaches: Approaches;
  readonly #own = new Set<SessionId>();
  readonly #streams: ToldTotals;
  /** Why the terminator is gone, once it is. */
  #gone: Reason | undefined;

  constructor(parts: EnforcerParts) {
    this.#parts = parts;
    this.#approaches = new Approaches(parts);
    this.#streams = new ToldTotals(parts.clock);
  }

  /** Whether it is a session of this terminator. */
  holds(session: SessionId): boolean {
    return this.#own.has(session);
  }

  /** Whom a session of this terminator is with; undefined when it holds no such session. */
  peerOf(session: SessionId): string | undefined {
    return this.#standing(session)?.admission.peer.spiffeId;
  }

  challenge(input: ChallengeInput): Promise<Evidence> {
    return settle(() => {
      this.#parts.directory.refuseWhenFull();
      return challenge(this.#parts, input);
    });
  }

  async admit(input: AdmitInput): Promise<Admission> {
    const { crypto, posture, clock } = this.#parts;
    const judged = await judge(this.#parts, input, this.#renewedPeer(input));
    const { body, peer, tier, grant, offered, negotiated, releases } = judged;
    if (releases) await this.#parts.holds?.releaseAttested(peer.spiffeId);
    const renewed = this.#renewed(input.renews, peer.spiffeId, body.offer.sessionType);
    const secret = crypto.randomBytes(SECRET_BYTES);
    const secrets = deriveSecrets(crypto, input.handshakeHash, body.secret, secret);
    const expiresAt = Math.min(judged.credentialsExpireAt, clock.now() + grant.lifetimeMs);
    const answer = answerTo(this.#parts, judged, input, secret, expiresAt);
    const admission = await this.#stand(
      {
        role: 'responder',
        credentials: judged.credentials,
        admission: {
          id: input.renews ?? hex(secrets.sessionId),
          peer: { spiffeId: peer.spiffeId, trustDomain: peer.trustDomain, ...(tier === undefined ? {} : { tier }) },
          offer: body.offer,
          grant,
          ...opened(offered),
          effectiveLevel: negotiated.effective,
          governedBy: negotiated.governedBy,
          peerLevel: body.postureLevel,
          peerEpoch: body.postureEpoch,
          toldEpoch: answer.postureEpoch,
          expiresAt,
          reattestSecret: secrets.reattest,
          answer,
        },
      },
      initiatorAsMember(judged, input.connection, tunnelTerms(this.#parts, secrets.presharedKey, expiresAt)),
      input.connection,
      renewed,
    );
    await this.#commit(admission, Math.min(posture.level, body.postureLevel), renewed);
    return admission;
  }

  async mayRenew(session: SessionId): Promise<void> {
    const standing = this.#standing(session);
    if (standing?.role !== 'initiator') throw new ShellstreamError('EXPIRED', 'no session here that we dialled');
    const { spiffeId } = standing.admission.peer;
    if (!(await this.#parts.attestor.answersFor(spiffeId))) throw new ShellstreamError('SAT_UNVERIFIABLE');
  }

  approach(input: ApproachInput): Promise<Evidence> {
    return settle(() => {
      if (!this.#parts.intends(input)) {
        throw new ShellstreamError('TYPE_NOT_AUTHORISED', `no session with ${input.expectedId} is wanted here`);
      }
      return this.#approaches.approach(input, this.#renewedPeer(input));
    });
  }

  async accept(input: AcceptInput): Promise<Admission> {
    const { crypto, posture, clock, accord } = this.#parts;
    const approached = this.#approaches.take(input.nonce);
    const { peer, offer, offered } = approached;
    const { grant: answer } = input;
    refuseWider(approached, answer);
    const negotiated = negotiate({ initiator: posture.level, responder: answer.postureLevel });
    if (!remoteHandshakeAllowed(negotiated.effective, accord)) throw new ShellstreamError('POSTURE_ISOLATED');
    if (!typeAllowed(negotiated.effective, offer.sessionType, accord)) {
      throw new ShellstreamError('POSTURE_TYPE_NOT_ALLOWED');
    }
    const renewed = this.#renewed(input.renews, peer.spiffeId, offer.sessionType);
    const secrets = deriveSecrets(crypto, input.handshakeHash, approached.secret, answer.secret);
    const lifetimeEnd = clock.now() + answer.lifetimeMs;
    const expiresAt = Math.min(approached.credentialsExpireAt, peer.expiresAt, lifetimeEnd);

    if (renewed === undefined) refuseStale(this.#parts.revocations, negotiated.effective);
    const grant = ownView(accord, approached, answer);
    const terms = tunnelTerms(this.#parts, secrets.presharedKey, expiresAt);

    const admission = await this.#stand(
      {
        role: 'initiator',
        credentials: { issuedAtMs: peer.notBefore },
        admission: {
          id: input.renews ?? hex(secrets.sessionId),
          peer: { spiffeId: peer.spiffeId, trustDomain: peer.trustDomain },
          offer,
          grant,
          ...opened(offered),
          effectiveLevel: negotiated.effective,
          governedBy: negotiated.governedBy,
          peerLevel: answer.postureLevel,
          peerEpoch: answer.postureEpoch,
          toldEpoch: approached.postureEpoch,
          expiresAt,
          reattestSecret: secrets.reattest,
        },
      },
      responderAsMember(this.#parts, approached, grant, input, terms),
      input.connection,
      renewed,
    );
    await this.#commit(admission, Math.min(posture.level, answer.postureLevel), renewed);
    return admission;
  }

  async setPeerLevel(session: SessionId, level: PostureLevel): Promise<void> {
    const { directory, overlay, keeper } = this.#parts;
    const standing = this.#standing(session);
    if (standing === undefined) return;
    directory.note(session, { peerLevel: level });
    this.#parts.onPeerLevel?.({ ...standing, peerLevel: level });
    if (standing.member !== undefined) await overlay?.setLevel(standing.member, level);
    const now = this.#standing(session);
    if (now !== undefined) await keeper?.note(now);
  }

  packet(session: SessionId, packet: Uint8Array): void {
    if (this.#own.has(session)) this.#parts.relays?.send(session, packet);
  }

  /** @throws ShellstreamError MALFORMED when it is less than before */
  carried(sessions: ReadonlyMap<SessionId, StreamTotals>): void {
    for (const [session, totals] of sessions) {
      if (this.#isHeard(session)) this.#streams.note(session, totals);
    }
  }

  async release(session: SessionId, reason: Reason, byPeer = false, lastWord?: LastWord): Promise<void> {
    if (lastWord !== undefined && this.#isHeard(session)) this.#streams.last(session, lastWord);
    if (!this.#own.delete(session)) return;
    this.#parts.relays?.close(session);
    const { directory, overlay, keeper, evidence } = this.#parts;
    const standing = directory.delete(session, reason, byPeer);
    if (standing === undefined) return;
    const ending = evidence?.ending(standing, reason, byPeer);
    const told = (streams: StreamsAtEnd): void => ending?.counted(streams);
    this.#streams.atEnd(session, lastWord, told, () => this.revoked(session, reason));
    try {
      if (standing.member !== undefined) await overlay?.leave(standing.member);
      ending?.gone();
    } finally {
      await keeper?.forget(session);
    }
  }

  /** A session that stood when a former enforcer died, and whose holder its terminator was shown to be. */
  inherit(standing: Standing): void {
    this.#own.add(standing.admission.id);
    this.#parts.directory.renew(this, standing);
  }

  /**
   * The terminator is gone: so is everything that it held, and what it asked for last does not come to stand.
   * Throws when something could not be taken away.
   */
  async releaseAll(reason: Reason): Promise<void> {
    this.#gone ??= reason;
    this.#streams.gone();
    await using steps = new Undo();
    for (const session of this.#own) steps.add(() => this.release(session, reason));
  }

  revoked(session: SessionId, reason: Reason): void {
    this.#parts.onRevoked?.(session, reason);
  }

  /** Of what is not its own, or just ended, nothing is to be said. */
  #isHeard(session: SessionId): boolean {
    return this.#own.has(session) || this.#streams.awaits(session);
  }

  #standing(session: SessionId): Standing | undefined {
    return this.#own.has(session) ? this.#parts.directory.get(session) : undefined;
  }

  /** Puts a session into the data plane and the directory; whatever fails takes back what came before it. */
  async #stand(
    candidate: Candidate,
    asked: MemberSpec | undefined,
    connection: Connection,
    renewed: Standing | undefined,
  ): Promise<Admission> {
    const { directory, keeper, evidence } = this.#parts;
    const { admission, role } = candidate;
    if (asked !== undefined && this.#parts.overlay === undefined)
      throw new ShellstreamError('TUNNEL_FAILED', 'no overlay on this node');
    await using undo = new Undo();
    const spec = await carried(this.#parts, admission.id, asked);
    if (renewed === undefined) undo.add(() => this.#parts.relays?.close(admission.id));
    if (renewed !== undefined) {
      // Between the old pre-shared key and the new one there is nothing that could be taken on.
      await keeper?.forget(admission.id);
      const standing = await this.#install(candidate, spec, connection, renewed);
      directory.renew(this, standing);
      return await this.#kept(standing);
    }
    const { spiffeId } = admission.peer;
    using place = directory.takePlace(spiffeId, this.#former(spiffeId, spec)?.admission.id);
    const announced = await evidence?.announce(admission, role);
    let standing: Standing;
    try {
      await this.#supersede(spiffeId, spec);
      standing = await this.#install(candidate, spec, connection);
    } catch (error) {
      announced?.failed(reasonOf(error));
      throw error;
    }
    this.#own.add(admission.id);
    place.put(this, standing);
    undo.keep();
    return await this.#kept(standing);
  }

  #former(spiffeId: string, spec: MemberSpec | undefined): Standing | undefined {
    return spec === undefined ? undefined : this.#parts.directory.tunnelOf(spiffeId);
  }

  async #supersede(spiffeId: string, spec: MemberSpec | undefined): Promise<void> {
    const { overlay, directory } = this.#parts;
    const former = this.#former(spiffeId, spec);
    if (spec === undefined || former === undefined) return;
    overlay?.check(spec, former.member);
    await directory.revoke(former.admission.id, 'SUPERSEDED');
  }

  async #kept(standing: Standing): Promise<Admission> {
    const { admission, member } = standing;
    // The relay of a tunnel that may be carried dies with this process.
    const isKept = member !== undefined && admission.carriesPackets !== true;
    const resumeToken = isKept ? await this.#parts.keeper?.keep(standing) : undefined;
    return resumeToken === undefined ? admission : { ...admission, resumeToken };
  }

  /**
   * A grant commits only under the posture it was decided in, and with a peer that was neither held nor revoked meanwhile.
   * From here on it is in the directory, where whatever comes finds it.
   */
  async #commit({ id, effectiveLevel, peer }: Admission, level: number, renewed: Standing | undefined): Promise<void> {
    const { holds, revocations } = this.#parts;
    const standing = this.#standing(id);
    const isRefused = standing !== undefined && isRevoked(revocations, standing);
    const isHeld = holds?.isHeld(peer.spiffeId) === true;
    if (level >= effectiveLevel && !isHeld && !isRefused) return;
    const reason = isRefused ? 'REVOKED' : isHeld ? 'PEER_HELD' : 'POSTURE_CHANGED';
    // One that is new had no streams, and its terminator knows of none to tell.
    await this.release(id, reason, false, renewed === undefined ? NO_STREAMS : undefined);
    throw new ShellstreamError(reason);
  }

  async #install(
    { admission, role, credentials }: Candidate,
    spec: MemberSpec | undefined,
    connection: Connection,
    renewed?: Standing,
  ): Promise<Standing> {
    const { overlay, clock, directory } = this.#parts;
    const { id, peerLevel, effectiveLevel } = admission;
    await using undo = new Undo();
    if (this.#gone !== undefined) throw new ShellstreamError(this.#gone, 'its terminator is gone');
    const control = renewed === undefined ? controlFlow(connection) : renewed.control;
    let member: Member | undefined;
    if (spec !== undefined && overlay !== undefined) {
      const joined = renewed?.member === undefined ? overlay.join(spec) : overlay.rejoin(renewed.member, spec);
      member = await joined;
      undo.add(() => (member === undefined ? undefined : overlay.leave(member)));
    }
    if (this.#gone !== undefined) throw new ShellstreamError(this.#gone, 'its terminator is gone');
    // It may have ended while it was being renewed; then nobody is left to release what was just made.
    if (renewed !== undefined && !this.#own.has(id)) throw new ShellstreamError('CLOSED', 'ended meanwhile');
    undo.keep();
    // What was decided about it while it was being renewed holds.
    const endsAtMs = renewed === undefined ? undefined : directory.get(id)?.endsAtMs;
    return {
      admission: { ...admission, ...ofTunnel(member, this.#parts.relays?.has(id) === true) },
      credentials,
      role,
      peerLevel,
      judgedLevel: effectiveLevel,
      openedAtMs: renewed?.openedAtMs ?? clock.now(),
      ...(endsAtMs === undefined ? {} : { endsAtMs }),
      ...(member === undefined ? {} : { member }),
      ...(control === undefined ? {} : { control }),
    };
  }

  /** Undefined also where it names a session that is not its own. */
  #renewedPeer({ renews }: { readonly renews?: SessionId }): string | undefined {
    return renews === undefined ? undefined : this.peerOf(renews);
  }

  #renewed(id: SessionId | undefined, spiffeId: string, type: string): Standing | undefined {
    if (id === undefined) return undefined;
    const standing = this.#standing(id);
    if (standing === undefined) throw new ShellstreamError('EXPIRED', 'the session to renew is gone');
    const { peer, offer } = standing.admission;
    if (peer.spiffeId !== spiffeId || offer.sessionType !== type) throw new ShellstreamError('IDENTITY_CHANGED');
    return standing;
  }
}

/** A session that is about to stand. */
type Candidate = Pick<Standing, 'admission' | 'role' | 'credentials'>;

/** Our own addresses of the connection under the session: DRAIN must get out at lockdown. None over a unix socket. */
function controlFlow(connection: Connection): ControlFlow | undefined {
  const localAddress = tryParseAddress(connection.localAddress);
  const remoteAddress = tryParseAddress(connection.remoteAddress);
  if (localAddress === undefined || remoteAddress === undefined) return undefined;
  const { localPort, remotePort } = connection;
  return { protocol: 6, localAddress, localPort, remoteAddress, remotePort };
}

function ofTunnel(
  member: Member | undefined,
  carriesPackets: boolean,
): Pick<Admission, 'tunnelGeneration' | 'carriesPackets'> {
  if (member === undefined) return {};
  return { tunnelGeneration: member.generation, ...(carriesPackets ? { carriesPackets } : {}) };
}

function opened(offered: readonly GrantedTarget[]): Pick<Admission, 'offered'> {
  return offered.length === 0 ? {} : { offered };
}

function hex(bytes: Uint8Array): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).toString('hex');
}

/** Runs now, answers as a promise, also for what is thrown. */
async function settle<T>(action: () => T | Promise<T>): Promise<T> {
  return action();
}
