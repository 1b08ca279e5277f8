/**
 * How every figure is taken: ours and the peers in turn within one run (A B C, A B C, …), so that a machine that gets
 * slower meanwhile slows all of them; a warm-up of each before; medians, and ratios of ours over theirs.
 */

/** One side of a comparison. */
export interface Contender {
  readonly name: string;
  start(): Promise<Subject>;
}

/** A started contender. */
export interface Subject extends AsyncDisposable {
  /** What comes before its first sample; one sample that does not count, unless told. */
  warmUp?(): Promise<void>;
  /** One sample, in the figure's unit. */
  sample(): Promise<number>;
}

/** One number to find out. */
export interface Figure {
  readonly bench: string;
  readonly unit: string;
  readonly ours: Contender;
  readonly peers: readonly Contender[];
  /** Where the contract is about each of them: how many samples there are at least, of which the worst is quoted too. */
  readonly bounded?: { readonly runs: number };
}

/** Everything that one command measures. The last figure bears the command's name. */
export interface Bench extends AsyncDisposable {
  readonly figures: readonly Figure[];
}

/** The last line of `--json`, in this shape. */
export interface Report {
  readonly bench: string;
  readonly unit: string;
  readonly ours: number;
  readonly peers: Readonly<Record<string, number>>;
  readonly ratios: Readonly<Record<string, number>>;
  readonly runs: number;
  /** The highest of ours, where the contract is about each. */
  readonly worst?: number;
}

/** @param runs samples of each contender; @param onSample for whoever watches. */
export async function measure(
  figure: Figure,
  runs: number,
  onSample: (contender: string, run: number, value: number) => void = () => undefined,
): Promise<Report> {
  await using stack = new AsyncDisposableStack();
  const entries: { readonly name: string; readonly subject: Subject; readonly samples: number[] }[] = [];
  for (const contender of [figure.ours, ...figure.peers]) {
    entries.push({ name: contender.name, subject: stack.use(await contender.start()), samples: [] });
  }
  for (const { subject } of entries) await (subject.warmUp?.() ?? subject.sample());
  const count = Math.max(runs, figure.bounded?.runs ?? 0);
  for (let run = 1; run <= count; run += 1) {
    for (const { name, subject, samples } of entries) {
      const value = await subject.sample();
      samples.push(value);
      onSample(name, run, value);
    }
  }
  const [ours, ...peers] = entries.map(({ name, samples }) => {
    return { name, value: median(samples), worst: samples.reduce((most, value) => Math.max(most, value)) };
  });
  if (ours === undefined) throw new Error('nothing was measured');
  return {
    bench: figure.bench,
    unit: figure.unit,
    ours: rounded(ours.value),
    peers: Object.fromEntries(peers.map(({ name, value }) => [name, rounded(value)])),
    ratios: Object.fromEntries(peers.map(({ name, value }) => [name, rounded(ours.value / value)])),
    runs: count,
    ...(figure.bounded === undefined ? {} : { worst: rounded(ours.worst) }),
  };
}

/** The middle of the samples; of an even number the mean of the two. */
export function median(samples: readonly number[]): number {
  const sorted = [...samples].sort((a, b) => a - b);
  const upper = sorted[sorted.length >> 1];
  const lower = sorted[(sorted.length - 1) >> 1];
  if (upper === undefined || lower === undefined) throw new Error('a median of nothing');
  return (upper + lower) / 2;
}

/** Four digits that mean something. */
function rounded(value: number): number {
  return Number(value.toPrecision(4));
}
