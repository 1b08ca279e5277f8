/** Where a node's evidence is, and how it stands. */
import type { NoteKey } from '../../protocol/evidence/index.ts';
import type { Uptime } from '../base/passed-time.ts';
import type { SpoolRoom } from './spool-items.ts';
import type { WitnessState } from './witnesses.ts';

/** Where evidence is kept, and how much of it. */
export interface EvidencePlace {
  /** Made for its user alone: `spool/` and `log/` are in it. */
  readonly directory: string;
  /** Name of the log; its checkpoints bear it. */
  readonly origin: string;
  /** Files of the signing keys, first the current one. One that is missing is made with a spool that is new. */
  readonly keys: readonly string[];
  readonly budgetBytes: number;
  readonly retentionDays: number;
  /** After which entries and tiles go too; absent: never. */
  readonly logDays?: number;
  /** Of the machine; absent: of this process, and a restart is not seen through. */
  readonly uptime?: Uptime;
  /** Who cosigns what is published; absent: nobody is asked. */
  readonly witnesses?: WitnessPlaces;
}

export interface WitnessPlaces {
  /** Cosignatures without which nothing is published. */
  readonly quorum: number;
  /** For one answer. */
  readonly timeoutMs: number;
  readonly ask: readonly { readonly url: string; readonly key: NoteKey }[];
}

export interface EvidenceState {
  readonly origin: string;
  /** As outsiders are told them; empty while none could be read. */
  readonly verifierKeys: readonly string[];
  /** Why nothing is recorded; undefined: it is. */
  readonly problem: string | undefined;
  /** Why others do not see the newest entries yet; undefined: they do, or will in a moment. */
  readonly publishProblem: string | undefined;
  readonly entries: number;
  /** Index of the oldest that was not pruned. */
  readonly firstEntry: number;
  readonly published: number;
  readonly leftOut: number;
  readonly openIntents: number;
  readonly room: SpoolRoom;
  readonly quorum: number;
  readonly witnesses: readonly WitnessState[];
  /** Of the last minute. */
  readonly slowestCommitMs: number;
  /** Why less is forgotten than the clock says; empty: it is not. */
  readonly retentionHeld: string;
}
