/** Three real nats-servers as one cluster on loopback, each a process that can be killed. */
import { existsSync, mkdirSync } from 'node:fs';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { jetstreamManager } from '@nats-io/jetstream';
import { connect } from '@nats-io/transport-node';
import { eventually } from '../support/eventually.ts';
import { type Running, run, start } from '../support/processes.ts';

const VERSION = 'v2.15.2';
const FOLDER = fileURLToPath(new URL('../../.cache/nats/', import.meta.url));
const PROGRAM = join(FOLDER, `nats-server-${VERSION}`);

/** A cold build downloads and compiles for half a minute. */
export const BUILD_MS = 300_000;

/** Builds the server, once; the Go checksum database vouches for what is built. */
export async function buildNats(): Promise<void> {
  if (existsSync(PROGRAM)) return;
  mkdirSync(FOLDER, { recursive: true });
  const env = { GOBIN: FOLDER, GOFLAGS: '-p=2' };
  await run('go', ['install', `github.com/nats-io/nats-server/v2@${VERSION}`], { env, timeoutMs: BUILD_MS });
  await run('mv', [join(FOLDER, 'nats-server'), PROGRAM]);
}

interface Node {
  readonly port: number;
  readonly config: string;
  running: Running | undefined;
}

export class NatsCluster implements AsyncDisposable {
  readonly #folder: string;
  readonly #nodes: readonly Node[];

  private constructor(folder: string, nodes: readonly Node[]) {
    this.#folder = folder;
    this.#nodes = nodes;
  }

  /** Resolves when streams can be made in it. */
  static async create(): Promise<NatsCluster> {
    const folder = await mkdtemp(join(tmpdir(), 'shellstream-nats-'));
    const ports = await freePorts(2 * SIZE);
    const nodes = await Promise.all(
      Array.from({ length: SIZE }, async (_, at) => {
        const config = join(folder, `${at}.conf`);
        await writeFile(config, configOf(folder, at, ports));
        return { port: ports[at] ?? 0, config, running: undefined };
      }),
    );
    const cluster = new NatsCluster(folder, nodes);
    for (const at of nodes.keys()) cluster.start(at);
    await cluster.ready();
    return cluster;
  }

  get servers(): string[] {
    return this.#nodes.map(({ port }) => `127.0.0.1:${port}`);
  }

  start(at: number): void {
    const node = this.#node(at);
    node.running = start(PROGRAM, ['-c', node.config]);
  }

  async kill(at: number): Promise<void> {
    const node = this.#node(at);
    node.running?.kill('SIGKILL');
    await node.running?.finished;
    node.running = undefined;
  }

  /** The cluster answers as one, and has all its nodes. */
  async ready(): Promise<void> {
    await eventually(
      'the cluster takes streams',
      async () => {
        const connection = await connect({ servers: this.servers, reconnect: false });
        try {
          const manager = await jetstreamManager(connection, { timeout: 1_000 });
          await manager.streams.add({ name: 'ready', subjects: ['ready'], num_replicas: SIZE });
          return await manager.streams.delete('ready');
        } finally {
          await connection.close();
        }
      },
      { withinMs: 40_000, everyMs: 250 },
    );
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const at of this.#nodes.keys()) await this.kill(at);
    await rm(this.#folder, { recursive: true, force: true });
  }

  #node(at: number): Node {
    const node = this.#nodes[at];
    if (node === undefined) throw new Error(`no node ${at}`);
    return node;
  }
}

const SIZE = 3;

function configOf(folder: string, at: number, ports: readonly number[]): string {
  const routes = ports.slice(SIZE).map((port) => `nats://127.0.0.1:${port}`);
  return `
    server_name: n${at}
    listen: 127.0.0.1:${ports[at]}
    jetstream { store_dir: "${folder}/n${at}", sync_interval: always }
    cluster { name: q, listen: 127.0.0.1:${ports[SIZE + at]}, routes: [${routes.join(', ')}] }
  `;
}

async function freePorts(count: number): Promise<number[]> {
  const servers = Array.from({ length: count }, () => createServer());
  const ports = await Promise.all(
    servers.map(
      (server) =>
        new Promise<number>((resolve) => {
          server.listen(0, '127.0.0.1', () => {
            const address = server.address();
            resolve(address !== null && typeof address === 'object' ? address.port : 0);
          });
        }),
    ),
  );
  await Promise.all(servers.map((server) => new Promise((resolve) => server.close(resolve))));
  return ports;
}
