/**
 * What the sources of this node's posture say: since when, until when, and which level follows. Expiries run in monotonic
 * time: a host clock that is set by hours ends no statement, and lets none stand longer.
 */
import { ShellstreamError } from '../../protocol/errors.ts';
import {
  counts,
  type EffectiveLevel,
  effectiveLevel,
  type PostureLevel,
  type Statement,
  type Statements,
  setAside,
  state,
} from '../../protocol/posture/index.ts';
import type { Clock } from '../base/clock.ts';
import { type KeptPosture, later } from './kept.ts';

/** What a source outside this node says, under an epoch of its own. */
export interface OutsideStatement {
  readonly source: string;
  readonly level: PostureLevel;
  readonly epoch: bigint;
  readonly reason: string;
  /** Undefined: until the source says otherwise. */
  readonly forMs?: number | undefined;
}

export interface StatedSource {
  readonly source: string;
  readonly level: PostureLevel;
  readonly epoch: bigint;
  readonly sinceMs: number;
  readonly expiresAtMs: number | undefined;
  readonly reason: string;
  readonly governs: boolean;
  readonly counts: boolean;
}

export interface SourceStatementsParts {
  readonly clock: Clock;
  /** Below those of the sources that count none of their own. */
  readonly firstEpoch: bigint;
  /** What was said before this run. */
  readonly kept?: KeptPosture | undefined;
}

export class SourceStatements {
  readonly #clock: Clock;
  readonly #firstEpoch: bigint;
  readonly #since = new Map<string, number>();
  /** Wall time of monotonic zero, as it was at the start. */
  readonly #origin: number;
  #statements: Statements;

  constructor({ clock, firstEpoch, kept }: SourceStatementsParts) {
    const now = clock.now();
    this.#clock = clock;
    this.#firstEpoch = firstEpoch;
    this.#origin = now - clock.monotonic();
    this.#statements = new Map(kept?.statements);
    for (const source of this.#statements.keys()) this.#since.set(source, now);
  }

  /** Wall time without its jumps: expiries are in it. */
  get now(): number {
    return this.#origin + this.#clock.monotonic();
  }

  /** How far the host's clock was set since the start. */
  get skewMs(): number {
    return this.#clock.now() - this.now;
  }

  effective(): EffectiveLevel {
    return effectiveLevel(this.#statements, this.now);
  }

  of(source: string): Statement | undefined {
    return this.#statements.get(source)?.statement;
  }

  /** @param heldBy those that govern */
  all(heldBy: readonly string[]): readonly StatedSource[] {
    const now = this.now;
    const wall = this.inWallTime();
    return [...this.#statements.values()].map((held) => {
      const { source, level, epoch, reason } = held.statement;
      return {
        source,
        level,
        epoch,
        sinceMs: this.#since.get(source) ?? now,
        expiresAtMs: wall.get(source)?.statement.expiresAt,
        reason: reason ?? '',
        governs: heldBy.includes(source),
        counts: counts(held, now),
      };
    });
  }

  /** Of a source that counts no epochs of its own. */
  state(source: string, level: PostureLevel, reason: string, forMs?: number): void {
    const epoch = later(this.#firstEpoch, this.of(source)?.epoch ?? 0n) + 1n;
    if (!this.accept({ source, level, epoch, reason, forMs })) {
      throw new ShellstreamError('INTERNAL', `a stale statement of ${source}`);
    }
  }

  /** False: its epoch is not above the last one, and nothing changed. */
  accept({ forMs, ...said }: OutsideStatement): boolean {
    const expiresAt = forMs === undefined ? undefined : this.now + forMs;
    const stated = state(this.#statements, { ...said, ...(expiresAt === undefined ? {} : { expiresAt }) });
    if (stated.kind === 'stale') return false;
    this.#statements = stated.statements;
    this.#since.set(said.source, this.#clock.now());
    return true;
  }

  /** Throws as `PostureEngine.setAside` says. */
  setAside(source: string, meant?: bigint): void {
    const said = this.of(source);
    if (said !== undefined && meant !== undefined && meant !== said.epoch) {
      throw new ShellstreamError('POSTURE_CHANGED', `${source} says level ${said.level} now, epoch ${said.epoch}`);
    }
    const aside = setAside(this.#statements, source, said?.epoch ?? 0n);
    if (aside.kind !== 'set-aside') throw new ShellstreamError('MALFORMED', `no source ${source} says anything`);
    this.#statements = aside.statements;
  }

  /** The first that any of them gives; empty: none does. */
  reasonOf(sources: readonly string[]): string {
    return sources.map((source) => this.of(source)?.reason ?? '').find((text) => text !== '') ?? '';
  }

  /** As another run, or a reader, takes them: by the host's clock as it is now. */
  inWallTime(): Statements {
    const skew = this.skewMs;
    return new Map(
      [...this.#statements].map(([source, held]) => {
        const { expiresAt } = held.statement;
        if (expiresAt === undefined) return [source, held];
        return [source, { ...held, statement: { ...held.statement, expiresAt: Math.round(expiresAt + skew) } }];
      }),
    );
  }
}
