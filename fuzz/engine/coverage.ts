/**
 * Which of our code ran, by V8's block coverage through the inspector. Kept as one flag for each character of a source
 * file: what V8 merges or splits from one reading to the next makes no difference to it.
 */
import { readFileSync } from 'node:fs';
import { type Profiler, Session } from 'node:inspector';
import { fileURLToPath } from 'node:url';

/** What ran since the reading before. */
export interface Reading {
  /** Executed blocks, in our files and those of dependencies. */
  readonly steps: number;
  /** By file of ours, relative to the repository. */
  readonly ran: ReadonlyMap<string, Uint8Array>;
}

const OURS = /^(?:protocol|src)\/(?!gen\/)/;

export class CoverageProbe implements Disposable {
  readonly #session = new Session();
  readonly #root: string;

  /** Must come before the code is loaded: V8 counts blocks only of what it compiles afterwards. */
  constructor(root: string) {
    this.#root = root;
    this.#session.connect();
    this.#session.post('Profiler.enable');
    this.#session.post('Profiler.startPreciseCoverage', { callCount: true, detailed: true });
  }

  read(): Reading {
    let steps = 0;
    const ran = new Map<string, Uint8Array>();
    for (const { url, functions } of this.#take()) {
      if (!url.startsWith('file://') || url.includes('/fuzz/')) continue;
      for (const { ranges } of functions) for (const { count } of ranges) steps += count;
      const path = fileURLToPath(url).slice(this.#root.length);
      if (OURS.test(path)) ran.set(path, paint(functions, lengthOf(url)));
    }
    return { steps, ran };
  }

  /** Of each file of ours that was loaded just now, the characters that stand in functions. */
  extents(): ReadonlyMap<string, number> {
    const extents = new Map<string, number>();
    for (const { url, functions } of this.#take()) {
      if (!url.startsWith('file://')) continue;
      const path = fileURLToPath(url).slice(this.#root.length);
      if (!OURS.test(path)) continue;
      const everything = functions.map(({ ranges }) => ({ ranges: ranges.map((range) => ({ ...range, count: 1 })) }));
      extents.set(path, total(paint(everything, lengthOf(url))));
    }
    return extents;
  }

  [Symbol.dispose](): void {
    this.#session.disconnect();
  }

  #take(): readonly Profiler.ScriptCoverage[] {
    let scripts: readonly Profiler.ScriptCoverage[] = [];
    // The session is of this very thread, so the answer is there when `post` returns.
    this.#session.post('Profiler.takePreciseCoverage', (error, taken) => {
      if (error !== null) throw error;
      scripts = taken.result;
    });
    return scripts;
  }
}

/** The union of readings. */
export class Covered {
  readonly #files = new Map<string, Uint8Array>();

  /** How much of the reading is new. */
  add({ ran }: Reading): number {
    let fresh = 0;
    for (const [file, flags] of ran) {
      const known = this.#files.get(file);
      if (known === undefined) {
        this.#files.set(file, Uint8Array.from(flags));
        fresh += total(flags);
        continue;
      }
      for (let at = 0; at < flags.length; at += 1) {
        if (flags[at] === 1 && known[at] === 0) {
          known[at] = 1;
          fresh += 1;
        }
      }
    }
    return fresh;
  }

  /** Characters of `ran` that are not in here yet. */
  countNew({ ran }: Reading): number {
    let fresh = 0;
    for (const [file, flags] of ran) {
      const known = this.#files.get(file);
      for (let at = 0; at < flags.length; at += 1) if (flags[at] === 1 && known?.[at] !== 1) fresh += 1;
    }
    return fresh;
  }

  /** Characters of these files that ran. */
  countIn(files: Iterable<string>): number {
    let count = 0;
    for (const file of files) count += total(this.#files.get(file) ?? new Uint8Array());
    return count;
  }

  clone(): Covered {
    const copy = new Covered();
    for (const [file, flags] of this.#files) copy.#files.set(file, Uint8Array.from(flags));
    return copy;
  }
}

function total(flags: Uint8Array): number {
  return flags.reduce((sum, flag) => sum + flag, 0);
}

const lengths = new Map<string, number>();

function lengthOf(url: string): number {
  const known = lengths.get(url);
  if (known !== undefined) return known;
  const { length } = readFileSync(fileURLToPath(url), 'utf8');
  lengths.set(url, length);
  return length;
}

/** Outer ranges come before inner ones. The first function is the module itself, which ran when it was loaded. */
function paint(functions: readonly Pick<Profiler.FunctionCoverage, 'ranges'>[], length: number): Uint8Array {
  const flags = new Uint8Array(length);
  for (const { ranges } of functions) {
    const [whole] = ranges;
    if (whole === undefined || whole.endOffset - whole.startOffset >= length) continue;
    for (const { startOffset, endOffset, count } of ranges) flags.fill(count > 0 ? 1 : 0, startOffset, endOffset);
  }
  return flags;
}
