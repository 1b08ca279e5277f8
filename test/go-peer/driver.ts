/**
 * A second implementation of shellstream/1, in Go, and how tests drive it. The program was written from
 * protocol/README.md, its schema and its vectors alone; keep it so: what it cannot know from there is missing there.
 */
import { type ChildProcessByStdio, spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import type { Readable, Writable } from 'node:stream';
import { fileURLToPath } from 'node:url';
import type { Namespace } from '../support/namespaces.ts';
import { run } from '../support/processes.ts';

const FOLDER = fileURLToPath(new URL('.', import.meta.url));
const ROOT = fileURLToPath(new URL('../../', import.meta.url));
const SCHEMA = join(ROOT, 'protocol/schema/shellstream/wire/v1/wire.proto');
const CACHE = join(ROOT, '.cache/go-peer');

/** A cold build downloads and compiles gRPC, WireGuard and the rest. */
export const BUILD_MS = 600_000;

/** Builds the Go program unless these very sources were built before. Returns its path. */
export async function buildGoPeer(): Promise<string> {
  const sources = readdirSync(FOLDER)
    .filter((name) => /\.go$|^go\.(mod|sum)$|^buf\.gen\.yaml$/.test(name))
    .map((name) => join(FOLDER, name));
  const hash = createHash('sha256');
  for (const path of [...sources.sort(), SCHEMA]) hash.update(path.slice(ROOT.length)).update(readFileSync(path));
  const binary = join(CACHE, hash.digest('hex').slice(0, 16));
  if (existsSync(binary)) return binary;
  const options = { cwd: FOLDER, timeoutMs: BUILD_MS };
  await run(join(ROOT, 'node_modules/.bin/buf'), ['generate'], options);
  await run('go', ['build', '-p', '2', '-o', binary, '.'], options);
  return binary;
}

/** A session, as operations.go describes it. */
export interface Description {
  readonly session: string;
  readonly peer: string;
  readonly capabilities: readonly string[];
  /** PROTOCOL:PREFIX:PORT */
  readonly targets: readonly string[];
  readonly effectiveLevel: number;
  readonly governedBy: string;
  /** How many attestations there were. */
  readonly generation: number;
  readonly presharedKeyHash: string;
}

/** A frame that came, or something else that happened to the session. */
export interface GoEvent {
  readonly event: string;
  readonly reason?: number;
  readonly level?: number;
  readonly generation?: number;
  readonly state?: string;
  /** Whether the token of this attestation was bound. */
  readonly fresh?: boolean;
}

export interface Echoed {
  /** All came back as it was sent. */
  readonly same: boolean;
  /** STREAM_WINDOW frames on this stream up to now. */
  readonly windows: number;
  readonly generation: number;
}

/** What the peer said no to, or was told. */
export class PeerFailure extends Error {
  /** A code of the specification's §5. */
  readonly reason: number;
  /** The record or frame that told it; empty when the Go peer judged so itself. */
  readonly told: string;

  constructor({ failed, reason, told }: { failed: string; reason: number; told: string }) {
    super(failed);
    this.reason = reason;
    this.told = told;
  }
}

/** The Go program in a network namespace, asked one thing at a time. */
export class GoPeer implements AsyncDisposable {
  readonly #child: ChildProcessByStdio<Writable, Readable, null>;
  readonly #lines: AsyncIterator<string>;

  constructor(binary: string, namespace?: Namespace) {
    const [command = '', ...args] = namespace === undefined ? [binary] : ['nsenter', `--net=${namespace.path}`, binary];
    this.#child = spawn(command, args, { stdio: ['pipe', 'pipe', 'inherit'] });
    this.#lines = createInterface({ input: this.#child.stdout })[Symbol.asyncIterator]();
  }

  /**
   * Rejects with `PeerFailure`.
   *
   * @typeParam T the shape of the answer, as operations.go gives it.
   */
  async ask<T>(op: string, request: Readonly<Record<string, unknown>> = {}): Promise<T> {
    this.#child.stdin.write(`${JSON.stringify({ op, ...request })}\n`);
    const { value, done } = await this.#lines.next();
    if (done === true) throw new Error(`the Go program ended at ${op}`);
    const answer: T & { failed?: string; reason: number; told: string } = JSON.parse(value);
    if (answer.failed !== undefined) throw new PeerFailure({ ...answer, failed: `${op}: ${answer.failed}` });
    return answer;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const ended = new Promise((resolve) => this.#child.once('exit', resolve));
    this.#child.kill();
    if (this.#child.exitCode === null && this.#child.signalCode === null) await ended;
  }
}
