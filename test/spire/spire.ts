import { readdirSync, readFileSync } from 'node:fs';
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { sleep, systemClock } from '../../src/base/clock.ts';
import { attempt, type Running, run, start } from '../support/processes.ts';
import { agentConfig, type Composer, serverConfig } from './configs.ts';

/** What a registration entry says beyond its identity. */
export interface EntryOptions {
  /** Path of the SPIFFE ID, with its leading slash. */
  readonly path: string;
  /** Names of trust domains whose bundles the workload gets too. */
  readonly federatesWith?: readonly string[];
  readonly x509TtlSeconds?: number;
}

/** One trust domain of a real SPIRE: a server and an agent, both in a folder of their own. */
export class Spire implements AsyncDisposable {
  readonly trustDomain: string;
  /** The agent's Workload API. Entries are for this process's user, so every entry is served here. */
  readonly socketPath: string;
  readonly #folder: string;
  readonly #serverSocket: string;
  #server: Running | undefined;
  #agent: Running | undefined;

  private constructor(trustDomain: string, folder: string) {
    this.trustDomain = trustDomain;
    this.#folder = folder;
    this.socketPath = join(folder, 'agent.sock');
    this.#serverSocket = join(folder, 'server.sock');
  }

  /**
   * Resolves when the agent is attested and serves. @param composerIn gives the composer that the server starts, and may
   * put what it needs into the folder.
   */
  static async start(trustDomain: string, composerIn?: (folder: string) => Promise<Composer>): Promise<Spire> {
    const folder = await mkdtemp(join(tmpdir(), 'shs-spire-'));
    const spire = new Spire(trustDomain, folder);
    try {
      await mkdir(join(folder, 'agent'));
      const port = await freePort();
      const composer = await composerIn?.(folder);
      await writeFile(join(folder, 'server.conf'), serverConfig({ trustDomain, folder, port }, composer));
      await writeFile(join(folder, 'agent.conf'), agentConfig({ trustDomain, folder, port }));
      await spire.startServer();
      await writeFile(join(folder, 'bundle.pem'), await spire.#tell('bundle', 'show', '-format', 'pem'));
      const answer = await spire.#tell('token', 'generate', '-spiffeID', spire.#nodeId);
      const [, token] = /Token: (\S+)/.exec(answer) ?? [];
      if (token === undefined) throw new Error(`no join token in: ${answer}`);
      await spire.#runAgent(['-joinToken', token]);
      return spire;
    } catch (error) {
      await spire[Symbol.asyncDispose]();
      throw error;
    }
  }

  async startServer(): Promise<void> {
    this.#server = start(SERVER, ['run', '-config', join(this.#folder, 'server.conf')]);
    await healthy(this.#server, SERVER, this.#serverSocket);
  }

  /** The server goes away; the agent stays and serves what it has. */
  async stopServer(): Promise<void> {
    await this.#server?.[Symbol.asyncDispose]();
    this.#server = undefined;
  }

  /** SIGKILL: nothing that it started is told. */
  async killServer(): Promise<void> {
    this.#server?.kill('SIGKILL');
    await this.#server?.finished;
    this.#server = undefined;
  }

  /** Makes the server configure its plugins again whose data is in a file that has changed. */
  reconfigureServer(): void {
    this.#server?.kill('SIGUSR1');
  }

  /** Processes that the server has started and that live. */
  serverChildren(): number[] {
    const parent = this.#server?.pid;
    return parent === undefined ? [] : childrenOf(parent);
  }

  /** The agent keeps its node identity on disk, so a restart needs no new token. */
  async startAgent(): Promise<void> {
    await this.#runAgent([]);
  }

  /** SIGKILL: no stream is ended in order. */
  async killAgent(): Promise<void> {
    this.#agent?.kill('SIGKILL');
    await this.#agent?.finished;
    this.#agent = undefined;
  }

  /** SIGTERM, as a service manager stops it. */
  async stopAgent(): Promise<void> {
    await this.#agent?.[Symbol.asyncDispose]();
    this.#agent = undefined;
  }

  /** Returns the entry's id; the agent sees it a sync interval later. */
  async createEntry(options: EntryOptions): Promise<string> {
    const federation = (options.federatesWith ?? []).flatMap((name) => ['-federatesWith', `spiffe://${name}`]);
    const ttl = options.x509TtlSeconds === undefined ? [] : ['-x509SVIDTTL', String(options.x509TtlSeconds)];
    const answer = await this.#tell(
      ...['entry', 'create', '-parentID', this.#nodeId, '-spiffeID', `spiffe://${this.trustDomain}${options.path}`],
      ...['-selector', `unix:uid:${process.getuid?.() ?? 0}`, ...federation, ...ttl],
    );
    const [, id] = /Entry ID\s*: (\S+)/.exec(answer) ?? [];
    if (id === undefined) throw new Error(`no entry id in: ${answer}`);
    return id;
  }

  async deleteEntry(id: string): Promise<void> {
    await this.#tell('entry', 'delete', '-entryID', id);
  }

  /** Gives this domain the present bundle of the other one. */
  async federateWith(other: Spire): Promise<void> {
    const bundle = await other.#tell('bundle', 'show', '-format', 'spiffe');
    const args = ['bundle', 'set', '-socketPath', this.#serverSocket, '-format', 'spiffe'];
    await run(SERVER, [...args, '-id', `spiffe://${other.trustDomain}`], { input: bundle });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stopAgent();
    await this.stopServer();
    await rm(this.#folder, { recursive: true, force: true });
  }

  get #nodeId(): string {
    return `spiffe://${this.trustDomain}/node`;
  }

  async #runAgent(args: readonly string[]): Promise<void> {
    this.#agent = start(AGENT, ['run', '-config', join(this.#folder, 'agent.conf'), ...args]);
    await healthy(this.#agent, AGENT, this.socketPath);
  }

  async #tell(object: string, verb: string, ...args: readonly string[]): Promise<string> {
    return (await run(SERVER, [object, verb, '-socketPath', this.#serverSocket, ...args])).stdout;
  }
}

/** Resolves when the program answers its own health check; rejects with its output when it ends or takes too long. */
async function healthy(child: Running, program: string, socketPath: string): Promise<void> {
  const patience = AbortSignal.timeout(START_MS);
  while (!patience.aborted && child.sofar().code === null) {
    const { code } = await attempt(program, ['healthcheck', '-socketPath', socketPath]);
    if (code === 0) return;
    await sleep(systemClock, POLL_MS);
  }
  const { stdout, stderr } = child.sofar();
  throw new Error(`${program} did not become healthy:\n${stdout}\n${stderr}`);
}

/** A program in Go starts others from any of its threads, and each thread has its own list. */
function childrenOf(pid: number): number[] {
  return readdirSync(`/proc/${pid}/task`).flatMap((thread) =>
    readFileSync(`/proc/${pid}/task/${thread}/children`, 'utf8').split(' ').filter(Boolean).map(Number),
  );
}

async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const address = server.address();
  await new Promise((resolve) => server.close(resolve));
  if (address === null || typeof address === 'string') throw new Error('no port');
  return address.port;
}

/** On PATH where no folder is named. */
const BIN = process.env.SPIRE_BIN ?? '';
const [SERVER, AGENT] = [join(BIN, 'spire-server'), join(BIN, 'spire-agent')];
const START_MS = 60_000;
const POLL_MS = 100;
