/**
 * A terminator as the enforcer has it: a process, or a part of this one, that holds connections, Noise keys and streams,
 * and is told what to do with them. Every argument and answer is a plain value, fit to cross a process boundary, and
 * nothing that comes back is believed where it matters: see `overseer.ts`.
 */
import type { SessionRequest } from '../../protocol/capability/model.ts';
import type { Offer, Role } from '../../protocol/handshake/index.ts';
import type { PostureLevel } from '../../protocol/posture/level.ts';
import type { Reason } from '../../protocol/reasons.ts';
import type { SessionId } from './ports.ts';

export interface Terminator {
  /** What admission and sessions go by from here on; takes effect before anything that is said after it. */
  setPosture(level: PostureLevel, epoch: bigint): void;
  /** Every peer is told the level, every session judges itself by it; resolves when those that ended hold nothing more. */
  judgeSessions(): Promise<void>;
  /** Our SVID changed: sessions that we dialled attest again. */
  identityRotated(): void;
  /** DRAIN to the peer of one session, and its end at the deadline. */
  drain(session: SessionId, reason: Reason, deadlineMs: number): void;
  /** Ends one session, also one that is about to be opened; resolves when it holds nothing more. */
  end(session: SessionId, reason: Reason): Promise<void>;
  /** Takes nobody in any more; lets streams finish until the deadline; resolves when no session is left. For good. */
  drainAll(reason: Reason, deadlineMs: number): Promise<void>;
  /** Opens a session with a peer; it stands when this resolves. Rejects with the reason why there is none. */
  dial(order: DialOrder, signal: AbortSignal): Promise<SessionId>;
  /** What streams the session carries; the oldest first, at most `MAX_STREAMS_TOLD`. */
  streams(session: SessionId): Promise<readonly StreamState[]>;
  load(): Promise<TerminatorLoad>;
  /** A packet of the tunnel that goes in its session, or is dropped. It is kept. Absent: it carries none. */
  packet?(session: SessionId, packet: Uint8Array): void;
  onEvent(listener: (event: TerminatorEvent) => void): Disposable;
}

/** What an initiator is after. */
export interface Approach {
  readonly offer: Offer;
  /** The one SPIFFE ID that the responder must have. */
  readonly expectedId: string;
  readonly request: SessionRequest;
}

export interface DialOrder {
  readonly approach: Approach;
  /** A literal IP address: terminators resolve no names. */
  readonly address: string;
  readonly port: number;
}

export interface StreamState {
  readonly id: number;
  /** Of the target. */
  readonly address: string;
  readonly port: number;
  readonly openedBy: 'local' | 'peer';
  /** Wall time, milliseconds. */
  readonly openedAtMs: number;
  readonly receivedBytes: bigint;
  readonly sentBytes: bigint;
}

export const MAX_STREAMS_TOLD = 256;

export interface TerminatorLoad {
  readonly pendingHandshakes: number;
  readonly streams: number;
}

/** A handshake that ended, from the first record to the grant or the reason why not. */
export interface HandshakeOutcome {
  readonly role: Role;
  readonly outcome: 'granted' | Reason;
  readonly seconds: number;
}

/** Words for console and metrics. */
export type TerminatorEvent =
  | ({ readonly kind: 'handshake' } & HandshakeOutcome)
  /** So many connections were refused before any cryptography since this was told last. */
  | { readonly kind: 'turned-away'; readonly reason: Reason; readonly count: number }
  | { readonly kind: 'draining'; readonly session: SessionId }
  | {
      readonly kind: 'drain-received';
      readonly session: SessionId;
      readonly reason: Reason;
      readonly level: PostureLevel | undefined;
      readonly epoch: bigint;
      readonly deadlineMs: number;
    };
