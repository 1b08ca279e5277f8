/**
 * A registry of counters, gauges and histograms, and their Prometheus text form (version 0.0.4).
 *
 * A label's values may come from a peer: they are escaped, and a metric holds at most `mostSeries` label sets. What comes
 * after that is counted under the label value `other`, so that nobody grows our memory by inventing names.
 */
import { ShellstreamError } from '../../protocol/errors.ts';

export interface MetricSpec<Label extends string> {
  /** `shellstream_…`; counters end in `_total`. */
  readonly name: string;
  readonly help: string;
  readonly labels?: readonly Label[];
  /** 100 unless told. */
  readonly mostSeries?: number;
}

export type Labels<Label extends string> = Readonly<Record<Label, string>>;

export interface Counter<Label extends string> {
  /** `amount` is not negative. */
  add(amount: number, labels: Labels<Label>): void;
}

export interface Gauge<Label extends string> {
  set(value: number, labels: Labels<Label>): void;
  /** Sets these and forgets all others. */
  replace(values: Iterable<readonly [value: number, labels: Labels<Label>]>): void;
}

export interface Histogram<Label extends string> {
  observe(value: number, labels: Labels<Label>): void;
}

export class Registry {
  readonly #families = new Map<string, Family>();
  readonly #collectors: (() => Promise<void>)[] = [];

  counter<Label extends string = never>(spec: MetricSpec<Label>): Counter<Label> {
    if (!spec.name.endsWith('_total')) throw misused(spec.name, 'a counter ends in _total');
    const series = this.#family(spec, 'counter', () => ({ value: 0 }), plainLine);
    return {
      add(amount, labels) {
        if (!(amount >= 0)) throw misused(spec.name, 'a counter does not go back');
        series.at(labels).value += amount;
      },
    };
  }

  gauge<Label extends string = never>(spec: MetricSpec<Label>): Gauge<Label> {
    const series = this.#family(spec, 'gauge', () => ({ value: 0 }), plainLine);
    return {
      set(value, labels) {
        series.at(labels).value = value;
      },
      replace(values) {
        series.clear();
        for (const [value, labels] of values) series.at(labels).value = value;
      },
    };
  }

  /** `bounds` ascend; a last bucket without bound comes by itself. */
  histogram<Label extends string = never>(spec: MetricSpec<Label>, bounds: readonly number[]): Histogram<Label> {
    if (bounds.some((bound, n) => n > 0 && !(bound > (bounds[n - 1] ?? 0)))) throw misused(spec.name, 'bounds ascend');
    const empty = () => ({ counts: new Float64Array(bounds.length + 1), sum: 0 });
    const series = this.#family(spec, 'histogram', empty, (name, labels, { counts, sum }) => {
      let cumulative = 0;
      const lines = [...counts].map((count, n) => {
        cumulative += count;
        const bound: readonly [string, string] = ['le', number(bounds[n] ?? Number.POSITIVE_INFINITY)];
        return `${name}_bucket${labelled([...labels, bound])} ${cumulative}`;
      });
      return [
        ...lines,
        `${name}_sum${labelled(labels)} ${number(sum)}`,
        `${name}_count${labelled(labels)} ${cumulative}`,
      ];
    });
    return {
      observe(value, labels) {
        const at = series.at(labels);
        const bucket = bounds.findIndex((bound) => value <= bound);
        const index = bucket === -1 ? bounds.length : bucket;
        at.counts[index] = (at.counts[index] ?? 0) + 1;
        at.sum += value;
      },
    };
  }

  /** Called before each scrape, to set what is read rather than counted. */
  onScrape(collect: () => Promise<void>): void {
    this.#collectors.push(collect);
  }

  /** Rejects when a collector does: half a scrape would look like a quiet gateway. */
  async expose(): Promise<string> {
    for (const collect of this.#collectors) await collect();
    return [...this.#families.values()]
      .flatMap((family) => family())
      .map((line) => `${line}\n`)
      .join('');
  }

  #family<Label extends string, Value>(
    spec: MetricSpec<Label>,
    type: 'counter' | 'gauge' | 'histogram',
    empty: () => Value,
    lines: (name: string, labels: readonly LabelPair[], value: Value) => readonly string[],
  ): SeriesOf<Label, Value> {
    const { name, help, labels = [] } = spec;
    if (!/^shellstream_[a-z0-9_]+$/.test(name)) throw misused(name, 'no name of ours');
    if (labels.some((label) => !/^[a-z][a-z0-9_]*$/.test(label) || label === 'le'))
      throw misused(name, 'a label’s name');
    if (this.#families.has(name)) throw misused(name, 'registered twice');
    const series = new SeriesOf<Label, Value>(labels, spec.mostSeries ?? 100, empty);
    // Without labels the series is there from the start, so that a rate over it exists before the first event.
    if (labels.length === 0) series.of([]);
    this.#families.set(name, () => [
      `# HELP ${name} ${help.replaceAll('\\', '\\\\').replaceAll('\n', '\\n')}`,
      `# TYPE ${name} ${type}`,
      ...series.entries().flatMap(([values, value]) => lines(name, pairs(labels, values), value)),
    ]);
    return series;
  }
}

/** The lines of one metric. */
type Family = () => readonly string[];
type LabelPair = readonly [label: string, value: string];

class SeriesOf<Label extends string, Value> {
  readonly #labels: readonly Label[];
  readonly #most: number;
  readonly #empty: () => Value;
  readonly #series = new Map<string, readonly [values: readonly string[], value: Value]>();

  constructor(labels: readonly Label[], most: number, empty: () => Value) {
    this.#labels = labels;
    this.#most = most;
    this.#empty = empty;
  }

  at(labels: Labels<Label>): Value {
    return this.of(this.#labels.map((label) => labels[label].slice(0, LONGEST_VALUE)));
  }

  of(values: readonly string[]): Value {
    const known = this.#series.get(JSON.stringify(values));
    if (known !== undefined) return known[1];
    const isFull = this.#series.size >= this.#most;
    const kept = isFull ? values.map(() => OTHER) : values;
    const value = this.#series.get(JSON.stringify(kept))?.[1] ?? this.#empty();
    this.#series.set(JSON.stringify(kept), [kept, value]);
    return value;
  }

  clear(): void {
    this.#series.clear();
  }

  entries(): (readonly [values: readonly string[], value: Value])[] {
    return [...this.#series.values()];
  }
}

function plainLine(
  name: string,
  labels: readonly LabelPair[],
  { value }: { readonly value: number },
): readonly string[] {
  return [`${name}${labelled(labels)} ${number(value)}`];
}

function pairs(labels: readonly string[], values: readonly string[]): readonly LabelPair[] {
  return labels.map((label, n) => [label, values[n] ?? '']);
}

function labelled(labels: readonly LabelPair[]): string {
  return labels.length === 0 ? '' : `{${labels.map(([label, value]) => `${label}="${escaped(value)}"`).join(',')}}`;
}

function escaped(value: string): string {
  return value.toWellFormed().replaceAll('\\', '\\\\').replaceAll('"', '\\"').replaceAll('\n', '\\n');
}

function number(value: number): string {
  if (value === Number.POSITIVE_INFINITY) return '+Inf';
  if (value === Number.NEGATIVE_INFINITY) return '-Inf';
  return String(value);
}

function misused(name: string, why: string): ShellstreamError {
  return new ShellstreamError('INTERNAL', `metric ${name}: ${why}`);
}

const OTHER = 'other';
const LONGEST_VALUE = 256;
