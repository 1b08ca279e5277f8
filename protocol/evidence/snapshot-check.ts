/**
 * Forensic snapshots against the records that were shown with them. One vouches for its parts and counts what is in them; of
 * one change of posture there is one. A late one was made by the run after a crash, out of this very log: it has every
 * session that the log shows to have been open there, and none that had ended.
 *
 * Of one that was not late nothing like that is judged: it says what stood at an instant before it was recorded.
 */
import {
  type ForensicSnapshotPart,
  Phase,
  type PostureForensicSnapshot,
  type SessionTransitArtifact,
} from '../gen/shellstream/evidence/v1/evidence_pb.ts';
import { toHex } from './bytes.ts';

/** What is wrong with a snapshot, by its index. */
export interface SnapshotFinding {
  readonly index: number;
  readonly why: string;
}

interface Life {
  began: number;
  ended: number;
}

export class SnapshotCheck {
  readonly #lives = new Map<string, Life>();
  readonly #snapshots = new Map<number, PostureForensicSnapshot>();
  readonly #parts = new Map<number, ForensicSnapshotPart>();

  /** Whether there is one that is judged by all transits. */
  get hasLate(): boolean {
    return this.#snapshots.values().some(({ late }) => late);
  }

  transit(index: number, { phase, sessionId }: SessionTransitArtifact): void {
    const id = toHex(sessionId);
    const life = this.#lives.get(id) ?? { began: Number.POSITIVE_INFINITY, ended: Number.POSITIVE_INFINITY };
    this.#lives.set(id, life);
    if (phase === Phase.INTENT) life.began = Math.min(life.began, index);
    else life.ended = Math.min(life.ended, index);
  }

  part(index: number, part: ForensicSnapshotPart): void {
    this.#parts.set(index, part);
  }

  snapshot(index: number, snapshot: PostureForensicSnapshot): void {
    this.#snapshots.set(index, snapshot);
  }

  /** When all was shown that will be. */
  *findings(): Generator<SnapshotFinding> {
    const changes = new Map<bigint, number>();
    for (const [index, snapshot] of [...this.#snapshots].sort(([one], [other]) => one - other)) {
      const { changeEpoch, late } = snapshot;
      const former = changeEpoch === 0n ? undefined : changes.get(changeEpoch);
      if (former !== undefined) yield { index, why: `of its change there is a snapshot already, at entry ${former}` };
      else changes.set(changeEpoch, index);
      const parts = this.#partsOf(index, snapshot);
      // One that is missing, or another one, is found where hashes are compared.
      if (parts === undefined) continue;
      yield* miscounted(index, snapshot, parts);
      if (late) yield* this.#lateness(index, parts);
    }
  }

  *#lateness(index: number, parts: readonly ForensicSnapshotPart[]): Generator<SnapshotFinding> {
    const told = new Set(parts.flatMap(({ sessions }) => sessions.map(({ sessionId }) => toHex(sessionId))));
    for (const id of told) {
      const life = this.#lives.get(id);
      if (life !== undefined && life.ended < index) yield { index, why: `late, and tells of ${id}, which had ended` };
    }
    for (const [id, { began, ended }] of this.#lives) {
      // Of one whose end is not shown nobody can tell whether it was left out by sampling.
      const wasOpen = began < index && ended > index && ended !== Number.POSITIVE_INFINITY;
      if (wasOpen && !told.has(id)) yield { index, why: `late, and leaves out ${id}, which had begun and not ended` };
    }
  }

  #partsOf(index: number, { parts }: PostureForensicSnapshot): readonly ForensicSnapshotPart[] | undefined {
    const found = parts.flatMap((_, number) => this.#parts.get(index - parts.length + number) ?? []);
    return found.length === parts.length ? found : undefined;
  }
}

function* miscounted(
  index: number,
  snapshot: PostureForensicSnapshot,
  parts: readonly ForensicSnapshotPart[],
): Generator<SnapshotFinding> {
  for (const what of ['peers', 'tunnels', 'routes', 'sessions'] as const) {
    const count = parts.reduce((sum, part) => sum + part[what].length, 0);
    if (count !== snapshot[what])
      yield { index, why: `it counts ${snapshot[what]} ${what}, and its parts have ${count}` };
  }
}
