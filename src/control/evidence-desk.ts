/** Evidence as the console has it: how it stands, and the records that the asker's tier may see. */
import type { Tier } from '../../protocol/capability/model.ts';
import { ShellstreamError } from '../../protocol/errors.ts';
import type { ArtifactKind } from '../../protocol/evidence/index.ts';
import type { PostureLevel } from '../../protocol/posture/level.ts';

export interface EvidenceDesk {
  /** CAPABILITY_NOT_GRANTED where the tier sees none of what was asked for; EVIDENCE_FAILED while nothing can be read. */
  list(query: RecordQuery, tier: Tier | undefined): Promise<RecordPage>;
  /** Undefined: no record is there, or its time is over. Throws as `list` does. */
  show(index: number, tier: Tier | undefined): Promise<ProvenView | undefined>;
  /** EVIDENCE_FAILED while nothing can be recorded, OVERLOADED while another order is carried out. */
  tend(act: LogAct): Promise<TendedLog>;
}

/** What a site_owner orders for the log itself: its key changed, a copy of all that is kept, or that the clock is right. */
export const LOG_ACTS = ['begin-rotation', 'finish-rotation', 'back-up', 'trust-clock'] as const;
export type LogAct = (typeof LOG_ACTS)[number];

export interface TendedLog {
  readonly verifierKeys: readonly string[];
  /** Of the copy; empty where none was made. */
  readonly path: string;
  readonly size: number;
}

/** At the other end of the socket, where the kernel's word about the asker is his tier. */
export interface RemoteEvidenceDesk {
  list(query: RecordQuery): Promise<RecordPage>;
  show(index: number): Promise<ProvenView | undefined>;
  tend(act: LogAct): Promise<TendedLog>;
}

export interface RecordQuery {
  readonly kind?: ArtifactKind | undefined;
  /** Session transits while at this level; no other kind goes with it. */
  readonly level?: PostureLevel | undefined;
  /** The index after which the page begins; undefined: at the oldest. */
  readonly after?: number | undefined;
}

export interface RecordPage {
  readonly records: readonly RecordView[];
  /** For the next page's `after`; undefined: there is none. */
  readonly next: number | undefined;
}

export interface RecordView {
  /** In the log. */
  readonly index: number;
  readonly kind: ArtifactKind;
  /** An Artifact, as it is stored and committed to. */
  readonly record: Uint8Array;
}

export interface ProvenView extends RecordView {
  readonly salt: Uint8Array;
  /** RFC 6962 inclusion proof in the tree of `size` leaves. */
  readonly proof: readonly Uint8Array[];
  readonly size: number;
}

/** In the order of their numbers. */
export const RECORD_KINDS = [
  'sessionTransit',
  'networkMutation',
  'postureChange',
  'forensicSnapshot',
  'snapshotPart',
  'consoleUse',
  'enforcementReceipt',
  'holdChange',
  'revocation',
] as const satisfies readonly ArtifactKind[];

export const EVIDENCE_STATES = ['off', 'recording', 'full', 'failed'] as const;

export interface EvidenceView {
  readonly state: (typeof EVIDENCE_STATES)[number];
  /** Why it is as it is; empty while all is well. */
  readonly detail: string;
  readonly origin: string;
  /** By which outsiders know the log. */
  readonly verifierKeys: readonly string[];
  readonly entries: number;
  /** So many of them everybody can read. */
  readonly published: number;
  readonly leftOut: number;
  readonly openIntents: number;
  readonly usedBytes: number;
  readonly budgetBytes: number;
  /** The room on the disk that is kept for the console is there. */
  readonly isReserveHeld: boolean;
  /** Cosignatures of witnesses without which nothing is published. */
  readonly quorum: number;
  readonly witnesses: readonly WitnessView[];
  /** What is before this entry was pruned. */
  readonly firstEntry: number;
  /** Undefined: no evidence is kept. */
  readonly quartermaster: QuartermasterView | undefined;
  /** Of the last minute; every handshake waits for one. */
  readonly slowestCommitMs: number;
  /** Why less is forgotten than the clock says; empty: it is not. */
  readonly retentionHeld: string;
}

export const QUARTERMASTER_PLACES = ['embedded', 'remote'] as const;
export const FORWARDING_STATES = ['connecting', 'forwarding', 'waiting'] as const;

/** Where the evidence goes, and how far it is there. */
export interface QuartermasterView {
  readonly place: (typeof QUARTERMASTER_PLACES)[number];
  readonly state: (typeof FORWARDING_STATES)[number];
  /** All of the log below this index. */
  readonly acknowledged: number;
  /** Entries of the log and left-out records that are not acknowledged. */
  readonly behind: number;
  /** About, by the average of the spool. */
  readonly behindBytes: number;
  /** Nobody answers, or it is refused, since then; undefined: all is well. */
  readonly awaySinceMs: number | undefined;
  /** Why; empty while all is well. */
  readonly problem: string;
  /** How often it held less than it had acknowledged. */
  readonly forgotten: number;
}

export interface WitnessView {
  readonly name: string;
  /** Of the largest tree that it cosigned since the start; undefined: none. */
  readonly size: number | undefined;
  /** Why it did not cosign what it was asked for last; undefined: it did, or was not asked. */
  readonly problem: string | undefined;
}

export const NO_EVIDENCE: EvidenceDesk = {
  list: async () => ({ records: [], next: undefined }),
  show: async () => undefined,
  tend: async () => {
    throw new ShellstreamError('EVIDENCE_FAILED', 'no evidence is kept');
  },
};

export const EVIDENCE_OFF: EvidenceView = {
  state: 'off',
  detail: 'the configuration says so',
  origin: '',
  verifierKeys: [],
  entries: 0,
  published: 0,
  leftOut: 0,
  openIntents: 0,
  usedBytes: 0,
  budgetBytes: 0,
  isReserveHeld: false,
  quorum: 0,
  witnesses: [],
  firstEntry: 0,
  quartermaster: undefined,
  slowestCommitMs: 0,
  retentionHeld: '',
};
