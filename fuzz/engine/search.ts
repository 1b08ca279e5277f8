/**
 * The search: inputs that reach new code, or end in a new way, are kept and changed further. Coverage is read once for
 * many inputs, because reading it costs more than running one; a batch that reached something is then searched by halves.
 * The same seed, corpus and code give the same inputs.
 */
import type { Target } from '../target.ts';
import { type Material, mutateBytes } from './byte-mutations.ts';
import { type CoverageProbe, Covered } from './coverage.ts';
import { broke, type Execution, execute, signature, stepLimit } from './execute.ts';
import { Random } from './random.ts';
import type { Watchdog } from './watchdog.ts';

export interface SearchOptions {
  readonly target: Target;
  readonly probe: Pick<CoverageProbe, 'read'>;
  readonly watchdog: Pick<Watchdog, 'expect'>;
  readonly seed: number;
  readonly corpus: readonly Uint8Array[];
  /** Asked between batches. */
  readonly isOver: (executions: number) => boolean;
  readonly onFinding: (finding: Finding) => void;
}

export interface Finding {
  readonly input: Uint8Array;
  readonly error: unknown;
}

export interface Found {
  readonly executions: number;
  readonly corpus: readonly Uint8Array[];
  readonly covered: Covered;
  readonly words: number;
}

const BATCH = 128;
/** Above this many, words are made of the input and say nothing. */
const MOST_WORDS = 400;
/** More at once are one bug in many dresses. */
const MOST_FINDINGS = 12;

export async function search(options: SearchOptions): Promise<Found> {
  const run = new Search(options);
  await run.begin();
  while (!options.isOver(run.executions)) await run.batch();
  return { executions: run.executions, corpus: run.corpus, covered: run.covered, words: run.words.size };
}

class Search {
  readonly covered = new Covered();
  readonly words = new Set<string>();
  readonly corpus: Uint8Array[] = [];
  executions = 0;
  readonly #options: SearchOptions;
  readonly #random: Random;
  readonly #dictionary: readonly Uint8Array[];
  readonly #findings = new Set<string>();

  constructor(options: SearchOptions) {
    this.#options = options;
    this.#random = new Random(options.seed);
    this.#dictionary = options.target.dictionary.map((word) => (typeof word === 'string' ? Buffer.from(word) : word));
  }

  async begin(): Promise<void> {
    const { target, corpus, probe } = this.#options;
    probe.read();
    for (const input of [...target.seeds, ...corpus]) {
      if (input.length <= target.maxBytes) await this.#consider([input]);
    }
  }

  async batch(): Promise<void> {
    await this.#consider(Array.from({ length: BATCH }, () => this.#invent()));
  }

  /** Runs them and keeps those that reach something. */
  async #consider(inputs: readonly Uint8Array[]): Promise<void> {
    const { probe, target } = this.#options;
    for (const input of inputs) await this.#run(input, 'judge');
    const reading = probe.read();
    // A cost is that of one input only where one alone ran; a batch that cost more than one may is run again singly.
    const mayHide = reading.steps > Math.max(...inputs.map((input) => stepLimit(target, input)));
    if (inputs.length > 1 && mayHide) for (const input of inputs) await this.#checkSteps(input);
    else if (mayHide) this.#report(inputs[0] ?? new Uint8Array(), broke(`took ${reading.steps} steps`));
    if (this.covered.countNew(reading) === 0) return;
    await this.#locate(inputs);
    // What only ran once, such as a table made at first use, belongs to no input.
    this.covered.add(reading);
  }

  async #locate(inputs: readonly Uint8Array[]): Promise<void> {
    const { probe } = this.#options;
    for (const input of inputs) await this.#run(input, 'repeat');
    const reading = probe.read();
    if (this.covered.countNew(reading) === 0) return;
    const [only] = inputs;
    if (inputs.length === 1 && only !== undefined) {
      this.covered.add(reading);
      this.#keep(only);
      return;
    }
    const middle = Math.ceil(inputs.length / 2);
    await this.#locate(inputs.slice(0, middle));
    await this.#locate(inputs.slice(middle));
  }

  async #checkSteps(input: Uint8Array): Promise<void> {
    const { probe, target } = this.#options;
    await this.#run(input, 'repeat');
    const { steps } = probe.read();
    if (steps > stepLimit(target, input)) this.#report(input, broke(`took ${steps} steps`));
  }

  async #run(input: Uint8Array, why: 'judge' | 'repeat'): Promise<void> {
    this.#options.watchdog.expect(input);
    const execution = await execute(this.#options.target, input);
    if (why === 'repeat') return;
    this.executions += 1;
    if (execution.kind === 'broke') this.#report(input, execution);
    else if (this.words.size < MOST_WORDS && !this.words.has(execution.word)) {
      this.words.add(execution.word);
      this.#keep(input);
    }
  }

  #keep(input: Uint8Array): void {
    if (!this.corpus.some((known) => Buffer.compare(known, input) === 0)) this.corpus.push(Uint8Array.from(input));
  }

  #report(input: Uint8Array, execution: Execution): void {
    if (execution.kind !== 'broke') return;
    const known = signature(execution.error);
    if (this.#findings.has(known) || this.#findings.size >= MOST_FINDINGS) return;
    this.#findings.add(known);
    this.#options.onFinding({ input: Uint8Array.from(input), error: execution.error });
  }

  #invent(): Uint8Array {
    const { target } = this.#options;
    const random = this.#random;
    // Half of the time one of the newest: they stand where the search last got further.
    const recent = this.corpus.slice(-16);
    let input = random.pick(random.once(2) ? recent : this.corpus) ?? new Uint8Array();
    const donor = random.pick(this.corpus) ?? input;
    const material: Material = { random, dictionary: this.#dictionary, donor };
    for (let changes = 1 + random.below(random.once(4) ? 8 : 3); changes > 0; changes -= 1) {
      const shaped = random.once(4) ? undefined : target.format?.mutate(input, material);
      input = shaped ?? mutateBytes(input, material);
    }
    return input.length > target.maxBytes ? input.slice(0, target.maxBytes) : input;
  }
}
