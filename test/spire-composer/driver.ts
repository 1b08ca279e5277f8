/** A host of SPIRE plugins in Go, and how tests drive it. It knows hashicorp/go-plugin and SPIRE's schema, and nothing of us. */
import { type ChildProcessByStdio, spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, globSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { createInterface } from 'node:readline';
import type { Readable, Writable } from 'node:stream';
import { fileURLToPath } from 'node:url';
import { run } from '../support/processes.ts';

const ROOT = fileURLToPath(new URL('../../', import.meta.url));
const FOLDER = 'test/spire-composer';
const CACHE = join(ROOT, '.cache/spire-composer');
/** The program that a server's configuration names. */
export const PLUGIN = join(ROOT, 'bin/shellstream-credential-composer.js');

/** A cold build downloads gRPC and compiles it. */
export const BUILD_MS = 600_000;

/** Builds the Go program unless these very sources were built before. Returns its path. */
export async function buildHost(): Promise<string> {
  const sources = globSync([`${FOLDER}/*.go`, `${FOLDER}/go.*`, `${FOLDER}/buf.gen.yaml`, 'protocol/schema/spire/*'], {
    cwd: ROOT,
  });
  const hash = createHash('sha256');
  for (const path of sources.sort()) hash.update(path).update(readFileSync(join(ROOT, path)));
  const binary = join(CACHE, hash.digest('hex').slice(0, 16));
  if (existsSync(binary)) return binary;
  const options = { cwd: join(ROOT, FOLDER), timeoutMs: BUILD_MS };
  await run(join(ROOT, 'node_modules/.bin/buf'), ['generate'], options);
  await run('go', ['build', '-p', '2', '-o', binary, '.'], options);
  return binary;
}

/** A line of the host's own log: go-plugin's, or the plugin's under its program's name. */
export interface HostLine {
  readonly '@level': string;
  readonly '@message': string;
  readonly '@module'?: string;
  readonly [field: string]: unknown;
}

export interface Started {
  readonly pid: number;
  readonly socket: string;
  /** Full names, as SPIRE gets them. */
  readonly services: readonly string[];
}

/** What a host was told instead of an answer. */
export class HostFailure extends Error {
  /** A code of gRPC, or `Unknown`. */
  readonly code: string;

  constructor({ failed, code }: { failed: string; code: string }) {
    super(failed);
    this.code = code;
  }
}

/** The Go program, asked one thing at a time. */
export class Host implements AsyncDisposable {
  readonly pid: number;
  readonly #child: ChildProcessByStdio<Writable, Readable, null>;
  readonly #lines: AsyncIterator<string>;
  #plugin: number | undefined;

  /** @param temporary where its plugin makes its socket. */
  constructor(binary: string, temporary: string) {
    const PATH = `${dirname(process.execPath)}:${process.env.PATH}`;
    this.#child = spawn(binary, [], {
      stdio: ['pipe', 'pipe', 'inherit'],
      env: { ...process.env, PATH, TMPDIR: temporary },
    });
    this.pid = this.#child.pid ?? -1;
    this.#lines = createInterface({ input: this.#child.stdout })[Symbol.asyncIterator]();
  }

  /** Starts the plugin as SPIRE does. */
  async start(options: Readonly<Record<string, unknown>> = {}): Promise<Started> {
    const started = await this.ask<Started>('start', { command: PLUGIN, ...options });
    this.#plugin = started.pid;
    return started;
  }

  /**
   * Rejects with `HostFailure`.
   *
   * @typeParam T the shape of the answer, as main.go gives it.
   */
  async ask<T>(op: string, request: Readonly<Record<string, unknown>> = {}): Promise<T> {
    this.#child.stdin.write(`${JSON.stringify({ op, ...request })}\n`);
    const { value, done } = await this.#lines.next();
    if (done === true) throw new Error(`the Go program ended at ${op}`);
    const answer: T & { failed?: string; code: string } = JSON.parse(value);
    if (answer.failed !== undefined) throw new HostFailure({ failed: answer.failed, code: answer.code });
    return answer;
  }

  /** SIGKILL, and no word to the plugin. */
  async murder(): Promise<void> {
    this.#child.kill('SIGKILL');
    await this.#ended();
  }

  /** In order: its plugin is shut down first. One that did not end with its host, as the tests find out, ends here. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#child.stdin.end();
    await this.#ended();
    if (this.#plugin !== undefined && isPlugin(this.#plugin)) process.kill(this.#plugin, 'SIGKILL');
  }

  async #ended(): Promise<void> {
    if (this.#child.exitCode !== null || this.#child.signalCode !== null) return;
    await new Promise((resolve) => this.#child.once('exit', resolve));
  }
}

/** A pid may be another program's by now. */
function isPlugin(pid: number): boolean {
  const command = `/proc/${pid}/cmdline`;
  return existsSync(command) && readFileSync(command, 'utf8').includes(PLUGIN);
}
