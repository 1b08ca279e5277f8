import { type ChildProcessByStdio, spawn } from 'node:child_process';
import { mkdirSync } from 'node:fs';
import { createInterface } from 'node:readline';
import type { Readable, Writable } from 'node:stream';
import { fileURLToPath } from 'node:url';
import { run } from '../support/processes.ts';

const FOLDER = fileURLToPath(new URL('.', import.meta.url));
const CACHE = fileURLToPath(new URL('../../.cache/go-tlog/', import.meta.url));

/** A cold build downloads golang.org/x/mod. */
export const BUILD_MS = 300_000;

/** Builds the Go program; Go's own cache makes the second time cheap. Returns its path. */
export async function buildGoTlog(): Promise<string> {
  mkdirSync(CACHE, { recursive: true });
  const program = `${CACHE}go-tlog`;
  await run('go', ['build', '-p', '2', '-trimpath', '-o', program, '.'], { cwd: FOLDER, timeoutMs: BUILD_MS });
  return program;
}

/** What it answers: what was asked for, or why it refused. Bytes are base64. */
export interface GoAnswer {
  readonly refused?: string;
  readonly ok?: boolean;
  readonly root?: string;
  readonly oldRoot?: string;
  readonly size?: number;
  readonly origin?: string;
  readonly inclusion?: readonly string[];
  readonly consistency?: readonly string[];
  readonly note?: string;
  readonly key?: string;
  readonly secret?: string;
  readonly text?: string;
  readonly signedBy?: readonly string[];
  readonly cosignatures?: number;
  readonly url?: string;
  readonly asked?: number;
}

/** An outsider with golang.org/x/mod/sumdb, asked one thing at a time. */
export class GoTlog implements AsyncDisposable {
  readonly #child: ChildProcessByStdio<Writable, Readable, null>;
  readonly #lines: AsyncIterator<string>;

  /** @param within a command that runs the program: in another network, as another user. */
  constructor(program: string, within: readonly string[] = []) {
    const [command = program, ...args] = [...within, program];
    this.#child = spawn(command, args, { stdio: ['pipe', 'pipe', 'inherit'] });
    this.#lines = createInterface({ input: this.#child.stdout })[Symbol.asyncIterator]();
  }

  async ask(op: string, request: Readonly<Record<string, unknown>>): Promise<GoAnswer> {
    this.#child.stdin.write(`${JSON.stringify({ op, ...request })}\n`);
    const { value, done } = await this.#lines.next();
    if (done === true) throw new Error('the Go program ended');
    return JSON.parse(value);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const ended = new Promise((resolve) => this.#child.once('exit', resolve));
    this.#child.kill();
    if (this.#child.exitCode === null && this.#child.signalCode === null) await ended;
  }
}
