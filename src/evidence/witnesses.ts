/**
 * The witnesses that cosign this log before it is published: each keeps the largest tree of ours that it saw, and signs no
 * other one. What they say of us counts as far as the configuration gives them a voice: by so many who contradict us that
 * the quorum cannot be had, the log is taken for one that was put back or forked, and nothing more goes into it.
 */
import { ShellstreamError } from '../../protocol/errors.ts';
import {
  type Checkpoint,
  type Ed25519,
  formatAddCheckpoint,
  formatNote,
  type NoteKey,
  type NoteSignature,
  parseCheckpoint,
  parseNote,
  proveConsistency,
  type ReadSubtree,
  type Sha256,
  verifyCosignatures,
} from '../../protocol/evidence/index.ts';
import type { Clock } from '../base/clock.ts';
import type { AskWitness } from './witness-http.ts';

export interface WitnessesParts {
  readonly sha256: Sha256;
  readonly ed25519: Ed25519;
  readonly clock: Pick<Clock, 'monotonic'>;
  /** Cosignatures without which no checkpoint is published. */
  readonly quorum: number;
  readonly all: readonly { readonly key: NoteKey; readonly ask: AskWitness }[];
}

export interface WitnessState {
  readonly name: string;
  /** Of the largest tree of ours that it cosigned in this run; undefined: none yet. */
  readonly size: number | undefined;
  /** Why it did not cosign the last that it was asked for; undefined: it did. */
  readonly problem: string | undefined;
}

interface Standing {
  readonly key: NoteKey;
  readonly ask: AskWitness;
  size: number | undefined;
  problem: string | undefined;
  /** What it holds of us is no beginning of what we have. */
  contradicts: boolean;
  failures: number;
  notBefore: number;
}

type Outcome =
  | { readonly kind: 'cosigned'; readonly line: NoteSignature }
  | { readonly kind: 'failed'; readonly why: string }
  | { readonly kind: 'contradicts'; readonly why: string };

export class Witnesses {
  readonly #parts: WitnessesParts;
  readonly #standings: readonly Standing[];

  constructor(parts: WitnessesParts) {
    this.#parts = parts;
    this.#standings = parts.all.map((one) => ({
      ...one,
      size: undefined,
      problem: undefined,
      contradicts: false,
      failures: 0,
      notBefore: Number.NEGATIVE_INFINITY,
    }));
  }

  get quorum(): number {
    return this.#parts.quorum;
  }

  get states(): readonly WitnessState[] {
    return this.#standings.map(({ key, size, problem }) => ({ name: key.name, size, problem }));
  }

  /** Whether a published note of ours could have more cosignatures than it has, if they were asked for now. */
  wantsMore(note: Uint8Array): boolean {
    const has = this.#on(note);
    return has.length < this.quorum || this.#standings.some((one) => !has.includes(one.key) && this.#mayAsk(one));
  }

  /**
   * The note with the cosignatures that could be had. @param read subtrees of the note's tree. @param published size of which
   * a witness that was not asked yet may know.
   * @throws ShellstreamError EVIDENCE_UNWITNESSED: fewer than the quorum; EVIDENCE_ROLLED_BACK: and asking again is of no use
   */
  async cosign(note: Uint8Array, read: ReadSubtree, published: number): Promise<Uint8Array> {
    const { text, signatures } = parseNote(note);
    const asked = { note, text, read, published, checkpoint: parseCheckpoint(text) };
    const lines = await Promise.all(this.#standings.map((one) => this.#cosignatureOf(one, asked)));
    const good = lines.filter((line) => line !== undefined);
    if (good.length < this.quorum) throw this.#tooFew(good.length);
    return formatNote({ text, signatures: [...signatures, ...good] });
  }

  async #cosignatureOf(one: Standing, asked: Asked): Promise<NoteSignature | undefined> {
    if (!this.#mayAsk(one)) return undefined;
    const outcome = await this.#ask(one, asked);
    one.contradicts = outcome.kind === 'contradicts';
    if (outcome.kind === 'cosigned') {
      one.size = asked.checkpoint.size;
      one.problem = undefined;
      one.failures = 0;
      return outcome.line;
    }
    one.problem = outcome.why;
    one.notBefore = this.#parts.clock.monotonic() + Math.min(FIRST_PAUSE_MS * 2 ** one.failures, LONGEST_PAUSE_MS);
    one.failures += 1;
    return undefined;
  }

  async #ask(one: Standing, asked: Asked): Promise<Outcome> {
    const { sha256 } = this.#parts;
    const { note, read, checkpoint, published } = asked;
    const { size } = checkpoint;
    let old = Math.min(one.size ?? published, size);
    try {
      // Once more when it told us its size: a witness that moves on meanwhile is asked by somebody else in our name.
      for (let attempt = 0; attempt < 2; attempt += 1) {
        const proof = await proveConsistency(sha256, read, old, size);
        const answer = await one.ask(formatAddCheckpoint(old, proof, note));
        switch (answer.kind) {
          case 'cosigned':
            return this.#judge(one, asked, answer.signatures);
          case 'refused':
            return { kind: 'failed', why: answer.why };
          case 'inconsistent':
            return { kind: 'contradicts', why: `its tree of ${old} entries is no beginning of ours` };
          case 'conflict':
            if ((answer.size ?? -1) > size) {
              return { kind: 'contradicts', why: `it saw ${answer.size} entries, of which ${size} are left` };
            }
            if (answer.size === old || (answer.size === undefined && old === size)) {
              return { kind: 'contradicts', why: `it saw another tree of ${old} entries` };
            }
            if (answer.size === undefined)
              return { kind: 'failed', why: 'a conflict of which it does not say the size' };
            old = answer.size;
        }
      }
      return { kind: 'failed', why: 'it names one size after the other' };
    } catch (error) {
      return { kind: 'failed', why: error instanceof Error ? error.message : String(error) };
    }
  }

  #judge({ key }: Standing, { text }: Asked, signatures: readonly NoteSignature[]): Outcome {
    const { good, wrong } = verifyCosignatures(this.#parts.ed25519, { text, signatures }, [key]);
    const line = signatures.find(({ name, keyId }) => name === key.name && keyId === key.id);
    if (good.length === 0 || wrong.length > 0 || line === undefined) {
      return { kind: 'failed', why: 'what it gave is no cosignature of its key' };
    }
    return { kind: 'cosigned', line };
  }

  #mayAsk({ notBefore }: Standing): boolean {
    return this.#parts.clock.monotonic() >= notBefore;
  }

  #on(note: Uint8Array): readonly NoteKey[] {
    const keys = this.#standings.map(({ key }) => key);
    return verifyCosignatures(this.#parts.ed25519, parseNote(note), keys).good.map(({ witness }) => witness);
  }

  #tooFew(have: number): ShellstreamError {
    const why = this.#standings.flatMap(({ key, problem }) =>
      problem === undefined ? [] : [`${key.name}: ${problem}`],
    );
    const against = this.#standings.filter(({ contradicts }) => contradicts).length;
    const reason = this.#standings.length - against < this.quorum ? 'EVIDENCE_ROLLED_BACK' : 'EVIDENCE_UNWITNESSED';
    return new ShellstreamError(reason, `${have} of ${this.quorum} cosignatures: ${why.join('; ')}`);
  }
}

interface Asked {
  readonly note: Uint8Array;
  readonly text: string;
  readonly checkpoint: Checkpoint;
  readonly read: ReadSubtree;
  readonly published: number;
}

const FIRST_PAUSE_MS = 1_000;
const LONGEST_PAUSE_MS = 300_000;
