/** Quartermaster processes with identities of a development trust domain, and a gateway's forwarder to them. */
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { stringify } from 'yaml';
import { type Entry, memorySource, type TrustDomain } from '../../certs-dev/index.ts';
import { TemporaryDomains } from '../../certs-dev/testing.ts';
import { parseSpiffeId, type SpiffeId } from '../../protocol/identity/spiffe-id.ts';
import { systemClock } from '../../src/base/clock.ts';
import { silentLogger } from '../../src/base/logger.ts';
import { ORIGIN } from '../../src/evidence/fixtures.ts';
import type { Spool } from '../../src/evidence/spool.ts';
import type { SpiffeTlsParts } from '../../src/identity/spiffe-tls.ts';
import { SvidVerifier } from '../../src/identity/svid-verifier.ts';
import { linkBySpiffe } from '../../src/quartermaster/client.ts';
import { Forwarder } from '../../src/quartermaster/forwarder.ts';
import { memoryMarks } from '../../src/quartermaster/marks.ts';
import { spoolSource } from '../../src/quartermaster/spool-source.ts';
import { type Running, start } from '../support/processes.ts';

const SHELLSTREAM = fileURLToPath(new URL('../../src/roots/shellstream.ts', import.meta.url));

/** A trust domain with a gateway, an auditor, an operator and a stranger; Quartermaster’s own identity. */
export class Town implements AsyncDisposable {
  readonly domains: TemporaryDomains;
  readonly domain: TrustDomain;
  readonly quartermaster: Entry;
  readonly #running: QuartermasterProcess[] = [];

  private constructor(domains: TemporaryDomains, domain: TrustDomain, quartermaster: Entry) {
    this.domains = domains;
    this.domain = domain;
    this.quartermaster = quartermaster;
  }

  static async create(): Promise<Town> {
    const domains = await TemporaryDomains.create(systemClock);
    const domain = await domains.start('q.test');
    return new Town(domains, domain, await domain.register({ path: '/quartermaster' }));
  }

  /** Identity and trust of a workload, as it would have them from its agent. */
  async end(path: string): Promise<{ readonly id: SpiffeId; readonly entry: Entry; readonly tls: SpiffeTlsParts }> {
    const entry = await this.domain.register({ path });
    const identity = memorySource(this.domain, entry, systemClock);
    const svids = new SvidVerifier({ bundles: () => identity.bundles, clock: systemClock });
    return { id: spiffeId(entry.spiffeId), entry, tls: { identity, svids, clock: systemClock } };
  }

  /** A process of its own. @param changes go over the configuration. */
  async start(name: string, changes: object = {}): Promise<QuartermasterProcess> {
    const process = new QuartermasterProcess(this, name, changes);
    this.#running.push(process);
    await process.start();
    return process;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const process of this.#running) await process.kill();
    await this.domains[Symbol.asyncDispose]();
  }
}

export class QuartermasterProcess {
  readonly #town: Town;
  readonly #name: string;
  readonly #changes: object;
  #process: Running | undefined;
  port = 0;

  constructor(town: Town, name: string, changes: object) {
    this.#town = town;
    this.#name = name;
    this.#changes = changes;
  }

  get socket(): string {
    return join(this.#folder, 'run', 'quartermaster.sock');
  }

  get log(): string {
    return this.#process?.sofar().stderr ?? '';
  }

  get remote() {
    return { address: { host: '127.0.0.1', port: this.port }, spiffeId: spiffeId(this.#town.quartermaster.spiffeId) };
  }

  async start(): Promise<void> {
    await mkdir(this.#folder, { recursive: true });
    const config = {
      apiVersion: 'shellstream/v1',
      // The same port again, so that who was connected finds it.
      listen: { address: '127.0.0.1', port: this.port },
      workloadApi: { socket: this.#town.quartermaster.socketPath },
      stateDirectory: join(this.#folder, 'state'),
      runtimeDirectory: join(this.#folder, 'run'),
      submitters: [{ spiffeId: 'spiffe://q.test/gateway', origin: ORIGIN }],
      readers: [{ pattern: 'spiffe://q.test/audit/*', tier: 'site_owner' }],
      console: { siteOwners: [process.getuid?.() ?? 0] },
      ...this.#changes,
    };
    const path = join(this.#folder, 'config.yaml');
    await writeFile(path, stringify(config));
    this.#process = start(process.execPath, [SHELLSTREAM, 'quartermaster', '--config', path]);
    const line = await this.#process.line(/"msg":"ready"/, 60_000);
    this.port = Number(/"port":(\d+)/.exec(line)?.[1]);
  }

  /** SIGKILL, as a power cut would for the process. */
  async kill(): Promise<void> {
    const running = this.#process;
    this.#process = undefined;
    if (running === undefined) return;
    running.kill('SIGKILL');
    await running.finished.catch(() => undefined);
  }

  get #folder(): string {
    return join(this.#town.domains.directory, this.#name);
  }
}

/** A gateway's forwarder that turns from one Quartermaster to the next when it is not answered. */
export function forwardTo(tls: SpiffeTlsParts, spool: Spool, remotes: readonly QuartermasterProcess[]): Forwarder {
  let turn = 0;
  return Forwarder.start({
    origin: ORIGIN,
    source: spoolSource(() => spool),
    connect: (signal) => {
      const remote = remotes[turn % remotes.length];
      turn += 1;
      if (remote === undefined) throw new Error('no Quartermaster');
      return linkBySpiffe(tls, remote.remote, signal);
    },
    marks: memoryMarks(),
    clock: systemClock,
    log: silentLogger,
    random: () => 0,
  });
}

/** Of all records that a Quartermaster shows, in the order of the log. */
export async function sequences(tls: SpiffeTlsParts, { remote }: QuartermasterProcess): Promise<number[]> {
  using link = await linkBySpiffe(tls, remote, AbortSignal.timeout(30_000));
  const all: number[] = [];
  let cursor = '';
  do {
    const page = await link.client.query({ filter: { origin: ORIGIN }, limit: 500, cursor });
    all.push(...page.found.map(({ sequence }) => Number(sequence)));
    cursor = page.next;
  } while (cursor !== '');
  return all.sort((one, other) => one - other);
}

export function spiffeId(text: string): SpiffeId {
  const id = parseSpiffeId(text);
  if (id === undefined) throw new Error(`${text} is no SPIFFE ID`);
  return id;
}
