/** Child processes for tests: bounded output, waits by line instead of by time, nothing left behind. */
import { type ChildProcess, spawn } from 'node:child_process';
import { patient } from './patience.ts';

export interface Finished {
  /** `null` when a signal ended it. */
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
  readonly stdout: string;
  readonly stderr: string;
}

export interface ProcessOptions {
  readonly cwd?: string;
  /** Added to this process's own environment; `undefined` takes a variable away. */
  readonly env?: Readonly<Record<string, string | undefined>>;
  /** Written to its stdin, which is closed after it. */
  readonly input?: string | Uint8Array;
  /** Default 60 s for `run`; a started process has none. The process is killed, and the error says how far it came. */
  readonly timeoutMs?: number;
}

/** Runs to the end. Rejects when it cannot be started, does not end in time, or ends with another code than 0. */
export async function run(command: string, args: readonly string[], options: ProcessOptions = {}): Promise<Finished> {
  const finished = await attempt(command, args, options);
  if (finished.code !== 0) throw new Error(describe(command, args, finished));
  return finished;
}

/** As `run`, but any exit code is an answer. */
export async function attempt(
  command: string,
  args: readonly string[],
  options: ProcessOptions = {},
): Promise<Finished> {
  await using child = start(command, args, options);
  const deadline = AbortSignal.timeout(patient(options.timeoutMs ?? 60_000));
  return await Promise.race([child.finished, expiry(deadline, () => describe(command, args, child.sofar()))]);
}

export interface Running extends AsyncDisposable {
  readonly pid: number;
  /** Resolves when it has ended and its output is read; rejects only when it could not be started. */
  readonly finished: Promise<Finished>;
  /** Output up to now; of each stream the last mebibyte. */
  sofar(): Finished;
  /**
   * The first line, of stdout or stderr, that matches; lines that have already come count. Rejects when the process ends
   * without one, or after `timeoutMs` (default 60 s), with its output in the error.
   */
  line(pattern: RegExp, timeoutMs?: number): Promise<string>;
  /** Writes to its stdin, which stays open. */
  write(text: string): void;
  /** Signals it by pid; without effect once it has ended. */
  kill(signal?: NodeJS.Signals): void;
}

/** Starts a process that lives until it is disposed of: SIGTERM, and SIGKILL when it is still there two seconds later. */
export function start(command: string, args: readonly string[], options: ProcessOptions = {}): Running {
  const child = spawn(command, [...args], {
    cwd: options.cwd,
    env: { ...process.env, ...options.env },
    stdio: ['pipe', 'pipe', 'pipe'],
  });
  const stdout = new Tail(child.stdout);
  const stderr = new Tail(child.stderr);
  // A child that ends without reading its input is no failure of the test.
  child.stdin.on('error', () => undefined);
  if (options.input !== undefined) child.stdin.end(options.input);

  const sofar = (): Finished => ({
    code: child.exitCode,
    signal: child.signalCode,
    stdout: stdout.text,
    stderr: stderr.text,
  });
  const finished = new Promise<Finished>((resolve, reject) => {
    child.once('error', (cause) => reject(new Error(`cannot start ${command}: ${cause.message}`, { cause })));
    child.once('close', () => resolve(sofar()));
  });
  finished.catch(() => undefined);

  return {
    pid: child.pid ?? -1,
    finished,
    sofar,
    line: (pattern, timeoutMs = 60_000) => {
      const seen = Promise.race([stdout.line(pattern), stderr.line(pattern)]);
      const ended = finished.then((end) => {
        // Both streams have ended, so a match would have been found by now.
        const last = [...end.stdout.split('\n'), ...end.stderr.split('\n')].find((line) => pattern.test(line));
        if (last !== undefined) return last;
        throw new Error(`ended without ${pattern}: ${describe(command, args, end)}`);
      });
      const late = expiry(
        AbortSignal.timeout(patient(timeoutMs)),
        () => `no ${pattern}: ${describe(command, args, sofar())}`,
      );
      return Promise.race([seen, ended, late]);
    },
    write: (text) => void child.stdin.write(text),
    kill: (signal = 'SIGTERM') => void (isAlive(child) && child.kill(signal)),
    [Symbol.asyncDispose]: () => end(child),
  };
}

async function end(child: ChildProcess): Promise<void> {
  if (isAlive(child)) {
    const exited = new Promise<void>((resolve) => void child.once('exit', () => resolve()));
    child.kill('SIGTERM');
    const patience = AbortSignal.timeout(2_000);
    patience.addEventListener('abort', () => isAlive(child) && child.kill('SIGKILL'), { once: true });
    await exited;
  }
  // A grandchild may hold the pipes open for longer than the child lives.
  child.stdout?.destroy();
  child.stderr?.destroy();
}

const isAlive = (child: ChildProcess): boolean =>
  child.pid !== undefined && child.exitCode === null && child.signalCode === null;

function expiry(signal: AbortSignal, text: () => string): Promise<never> {
  return new Promise((_, reject) => {
    signal.addEventListener('abort', () => reject(new Error(`too late: ${text()}`)), { once: true });
  });
}

function describe(command: string, args: readonly string[], end: Finished): string {
  const how = end.signal ?? (end.code === null ? 'still running' : `code ${end.code}`);
  const output = `${end.stdout}\n${end.stderr}`.trim().slice(-4_000);
  return `${[command, ...args].join(' ')}: ${how}\n${output}`;
}

const TAIL_LENGTH = 1 << 20;

/** The end of a stream, and whoever waits for a line of it. */
class Tail {
  #text = '';
  #partial = '';
  readonly #waiting = new Set<{ pattern: RegExp; resolve: (line: string) => void }>();

  constructor(stream: NodeJS.ReadableStream) {
    stream.setEncoding('utf8');
    stream.on('data', (chunk: string) => this.#take(chunk));
  }

  get text(): string {
    return this.#text.slice(-TAIL_LENGTH);
  }

  line(pattern: RegExp): Promise<string> {
    const past = this.text
      .split('\n')
      .slice(0, -1)
      .find((line) => pattern.test(line));
    if (past !== undefined) return Promise.resolve(past);
    return new Promise((resolve) => this.#waiting.add({ pattern, resolve }));
  }

  #take(chunk: string): void {
    this.#text += chunk;
    // Not at each chunk: a gateway that logs a thousand sessions would have us copy a mebibyte a line.
    if (this.#text.length > 2 * TAIL_LENGTH) this.#text = this.text;
    const lines = (this.#partial + chunk).split('\n');
    this.#partial = (lines.pop() ?? '').slice(-TAIL_LENGTH);
    for (const line of lines) {
      for (const waiter of this.#waiting) {
        if (!waiter.pattern.test(line)) continue;
        this.#waiting.delete(waiter);
        waiter.resolve(line);
      }
    }
  }
}
