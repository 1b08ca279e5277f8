import { type ChildProcessByStdio, spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import type { Readable, Writable } from 'node:stream';
import { fileURLToPath } from 'node:url';
import { run } from '../support/processes.ts';

/** What go-spiffe says of a chain or a token. */
export interface Verdict {
  readonly ok: boolean;
  readonly id?: string;
  readonly error?: string;
}

/** A chain or token made in Go; bytes are base64. */
export interface GoCase {
  readonly name: string;
  readonly chain?: readonly string[] | null;
  readonly token?: string;
  readonly bundle: string;
  readonly verdict: Verdict;
}

const FOLDER = fileURLToPath(new URL('.', import.meta.url));
const CACHE = fileURLToPath(new URL('../../.cache/go-spiffe', import.meta.url));

/** Builds the Go program unless these very sources were built before. Returns its path. */
export async function buildGoSpiffe(): Promise<string> {
  const sources = readdirSync(FOLDER).filter((name) => /\.go$|^go\.(mod|sum)$/.test(name));
  const hash = createHash('sha256');
  for (const name of sources.sort()) hash.update(name).update(readFileSync(join(FOLDER, name)));
  const binary = join(CACHE, hash.digest('hex').slice(0, 16));
  if (!existsSync(binary))
    await run('go', ['build', '-p', '2', '-o', binary, '.'], { cwd: FOLDER, timeoutMs: BUILD_MS });
  return binary;
}

/** A cold build downloads gRPC and compiles it. */
export const BUILD_MS = 600_000;

/** The Go program, asked one thing at a time. */
export class GoSpiffe implements AsyncDisposable {
  readonly #child: ChildProcessByStdio<Writable, Readable, null>;
  readonly #lines: AsyncIterator<string>;

  constructor(binary: string) {
    this.#child = spawn(binary, { stdio: ['pipe', 'pipe', 'inherit'] });
    this.#lines = createInterface({ input: this.#child.stdout })[Symbol.asyncIterator]();
  }

  /** @typeParam T the shape of the answer, as main.go gives it. */
  async ask<T>(request: Readonly<Record<string, unknown>>): Promise<T> {
    this.#child.stdin.write(`${JSON.stringify(request)}\n`);
    return await this.next();
  }

  /** A further line of an answer that has several. */
  async next<T>(): Promise<T> {
    const { value, done } = await this.#lines.next();
    if (done === true) throw new Error('the Go program ended');
    const answer: T & { failed?: string } = JSON.parse(value);
    if (answer.failed !== undefined) throw new Error(answer.failed);
    return answer;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const ended = new Promise((resolve) => this.#child.once('exit', resolve));
    this.#child.kill();
    if (this.#child.exitCode === null && this.#child.signalCode === null) await ended;
  }
}
