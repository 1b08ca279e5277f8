import { existsSync, readdirSync } from 'node:fs';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { eventually } from '../support/eventually.ts';
import { buildHost, Host } from './driver.ts';

/** A folder for mappings and another for plugins' sockets, and the hosts that a test starts: all of it goes with this. */
export class World implements AsyncDisposable {
  readonly #binary: string;
  readonly #folder: string;
  readonly #hosts: Host[] = [];

  private constructor(binary: string, folder: string) {
    this.#binary = binary;
    this.#folder = folder;
  }

  static async create(): Promise<World> {
    return new World(await buildHost(), await mkdtemp(join(tmpdir(), 'shs-composer-')));
  }

  /** Where plugins make the folders of their sockets. */
  get temporary(): string {
    return this.#folder;
  }

  host(): Host {
    const host = new Host(this.#binary, this.#folder);
    this.#hosts.push(host);
    return host;
  }

  /** A mapping on disk. Returns what a server's configuration says in `plugin_data`. */
  async mapping(text: string, name = 'tiers.yaml'): Promise<string> {
    const path = join(this.#folder, name);
    await writeFile(path, text, { mode: 0o644 });
    return `mapping_file = "${path}"\n`;
  }

  /** Folders of sockets, of plugins alive and dead. */
  socketFolders(): string[] {
    return readdirSync(this.#folder).filter((name) => name.startsWith('shellstream-composer-'));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all(this.#hosts.map((host) => host[Symbol.asyncDispose]()));
    await rm(this.#folder, { recursive: true, force: true });
  }
}

/** Resolves when no process has this pid any more, or only one that nobody has waited for yet. */
export async function isGone(pid: number): Promise<void> {
  await eventually(`${pid} is gone`, () => !existsSync(`/proc/${pid}/exe`));
}

export const TRUST_DOMAIN = 'a.test';

export const POLICY = '2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae';

export const MAPPING = `apiVersion: shellstream.composer/v1
identities:
  - { identity: 'spiffe://a.test/people/**', tier: journeyman, scopes: ['routes:read', 'routes:propose'] }
  - { identity: spiffe://a.test/people/new/tom, tier: apprentice, scopes: ['routes:read', 'net'] }
  - { identity: spiffe://a.test/ann, tier: master }
  - { identity: spiffe://a.test/owner, tier: site_owner }
  - { identity: 'spiffe://a.test/ns/*/sa/web', networkPolicy: ${POLICY} }
`;
