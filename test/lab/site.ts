import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { stringify } from 'yaml';
import type { EntryOptions } from '../../certs-dev/entry.ts';
import type { Entry, TrustDomain } from '../../certs-dev/index.ts';
import type { SessionType } from '../../protocol/capability/model.ts';
import type { PostureLevel } from '../../protocol/posture/level.ts';
import { sleep, systemClock } from '../../src/base/clock.ts';
import { type ControlClient, connectControl } from '../../src/control/client.ts';
import type { SessionView } from '../../src/control/ports.ts';
import { dumpNumbers } from '../support/bpf-maps.ts';
import type { Namespace } from '../support/namespaces.ts';
import { attempt, type Finished, type Running, start } from '../support/processes.ts';
import { EventLog } from './events.ts';

export interface SiteOptions {
  readonly instance: string;
  readonly namespace: Namespace;
  readonly directory: string;
  readonly domain: TrustDomain;
  /** The gateway's own entry. */
  readonly gateway: Entry;
  readonly tunnelAddress: string;
  readonly accord: string;
  readonly peers: readonly object[];
  readonly leaseSeconds: number;
}

/** The command line's file: the sources unless told. */
const SHELLSTREAM =
  process.env.SHELLSTREAM_PROGRAM ?? fileURLToPath(new URL('../../src/roots/shellstream.ts', import.meta.url));

const SHUTDOWN_MS = 6_000;
/** A gateway starts in two seconds, and on a machine with ten times as much to do in twenty. */
const READY_MS = 90_000;
const TCP_CLIENT = fileURLToPath(new URL('children/tcp-client.ts', import.meta.url));

/** One site of the lab: its gateway process, its console, its people. */
export class Site implements AsyncDisposable {
  readonly options: SiteOptions;
  readonly configPath: string;
  readonly socket: string;
  #gateway: Running | undefined;

  constructor(options: SiteOptions) {
    this.options = options;
    this.configPath = join(options.directory, 'config.yaml');
    this.socket = join(options.directory, 'run', 'control.sock');
  }

  /** The command line's file, for who starts it in another way. */
  get program(): string {
    return SHELLSTREAM;
  }

  get namespace(): Namespace {
    return this.options.namespace;
  }

  /** The tunnel's interface; WireGuard's control socket has its name too. */
  get interfaceName(): string {
    return `shs${this.options.instance}-0`;
  }

  get pins(): string {
    return `/sys/fs/bpf/shellstream/${this.options.instance}`;
  }

  /** The gateway's process. */
  get gateway(): Running {
    if (this.#gateway === undefined) throw new Error(`the gateway of ${this.options.domain.name} was not started`);
    return this.#gateway;
  }

  /** What the gateway that runs, or ran last, said. */
  get log(): string {
    return this.#gateway?.sofar().stderr ?? '';
  }

  /** Starts the gateway; resolves when it is ready. `changes` go over the configuration. */
  async start(changes: object = {}, { before = [] }: { readonly before?: readonly string[] } = {}): Promise<void> {
    await this.configure(changes);
    this.#gateway = this.startGateway(before);
    await this.#gateway.line(/"msg":"ready"/, READY_MS);
  }

  /** A gateway process on the configuration as it stands, whatever becomes of it. @param before a command that runs it */
  startGateway(before: readonly string[] = []): Running {
    const [command, ...args] = [...before, process.execPath, SHELLSTREAM, 'gateway', '--config', this.configPath];
    return this.inside(command ?? process.execPath, args);
  }

  /** Writes configuration and accord. */
  async configure(changes: object = {}): Promise<void> {
    const { directory, gateway, domain, instance, accord, tunnelAddress, peers, leaseSeconds } = this.options;
    await mkdir(directory, { recursive: true });
    const accordPath = join(directory, 'accord.yaml');
    await writeFile(accordPath, accord);
    const config = {
      apiVersion: 'shellstream/v1',
      instance,
      site: { trustDomain: domain.name },
      workloadApi: { socket: gateway.socketPath },
      accord: { file: accordPath },
      wireguard: { addresses: [tunnelAddress] },
      posture: { leaseSeconds },
      mesh: { peers },
      terminators: { count: 1 },
      control: { socket: this.socket },
      stateDirectory: join(directory, 'state'),
      runtimeDirectory: join(directory, 'run'),
      ...changes,
    };
    await writeFile(this.configPath, stringify(config));
  }

  /** SIGKILL: nothing of the gateway gets to run any more. */
  async kill(): Promise<void> {
    process.kill(this.gateway.pid, 'SIGKILL');
    await this.gateway.finished;
  }

  /** SIGTERM, and its end. */
  async stop(): Promise<Finished | undefined> {
    this.#gateway?.kill('SIGTERM');
    return await this.#gateway?.finished;
  }

  /**
   * A process in this site's network, but in the mounts of the host: BPF pins stay where everybody finds them
   * (`ip netns exec` would give it a /sys of its own). It ends when this process does, however that happens.
   */
  inside(command: string, args: readonly string[]): Running {
    return start('setpriv', ['--pdeathsig', 'TERM', 'nsenter', ...this.#entered(command, ...args)]);
  }

  /** As `inside`, to the end. */
  async run(command: string, ...args: readonly string[]): Promise<Finished> {
    return await attempt('nsenter', this.#entered(command, ...args));
  }

  /** What a TCP service greets with; undefined when it cannot be reached within a second. */
  async greeting(address: string, port: number): Promise<string | undefined> {
    const { code, stdout } = await attempt('nsenter', this.#entered('nc', '-w1', '-N', address, String(port)), {
      input: '',
    });
    return code === 0 && stdout !== '' ? stdout.trim() : undefined;
  }

  /** A client of a forward here, that tells how its connection ends. */
  startClient(port: number): Running {
    return this.inside(process.execPath, [TCP_CLIENT, String(port)]);
  }

  /** `shellstream events` of the gateway that runs now. */
  events(): EventLog {
    return new EventLog(this.inside(process.execPath, [SHELLSTREAM, 'events', '--socket', this.socket, '--json']));
  }

  /** Sessions of a type that are live here, as the console has them. */
  async sessions(type?: SessionType): Promise<readonly SessionView[]> {
    using console = await this.console();
    return await console.sessions(type === undefined ? { state: 'active' } : { type, state: 'active' });
  }

  /** A statement on the console of this site. */
  async setPosture(level: PostureLevel): Promise<void> {
    using console = await this.console();
    await console.setPosture({ level, reason: 'drill', forMs: undefined });
  }

  /** What the maps in the kernel say: another program's slot, then ours. */
  async postureInKernel(): Promise<readonly number[]> {
    return [...(await dumpNumbers(`${this.pins}/posture_level`)).values()];
  }

  /** Of the peers that have a slot in the kernel. */
  async peerLevelsInKernel(): Promise<readonly number[]> {
    return [...(await dumpNumbers(`${this.pins}/peer_level`)).values()].filter((level) => level !== 0);
  }

  /** Of an interface here. */
  async ifindex(name: string): Promise<number> {
    const links: { ifindex: number }[] = JSON.parse((await this.run('ip', '-j', 'link', 'show', 'dev', name)).stdout);
    return links[0]?.ifindex ?? 0;
  }

  /** The console, without a process of its own. */
  console(): Promise<ControlClient> {
    return connectControl({ path: this.socket, clock: systemClock });
  }

  /** A verb of the command line on this site's console; any exit code is an answer. */
  shellstream(...args: readonly string[]): Promise<Finished> {
    const [verb = '', ...rest] = args;
    return this.#run([verb, ...rest, '--socket', this.socket]);
  }

  /** A verb of the command line that asks no gateway. */
  verb(...args: readonly string[]): Promise<Finished> {
    return this.#run(args);
  }

  /** As `shellstream` with --json, parsed; the caller knows what it asks for. Rejects when it fails. */
  async json<Answer>(...args: readonly string[]): Promise<Answer> {
    const { code, stdout, stderr } = await this.shellstream(...args, '--json');
    if (code !== 0) throw new Error(`shellstream ${args.join(' ')}: code ${code}\n${stdout}${stderr}`);
    return JSON.parse(stdout);
  }

  /** Somebody of this site: an identity of its own, with a Workload API socket. */
  person(options: EntryOptions): Promise<Entry> {
    return this.options.domain.register(options);
  }

  /** `shellstream connect` as that person. */
  connect(person: Entry, ...args: readonly string[]): Promise<Finished> {
    return this.#run(['connect', '--workload-api', person.socketPath, ...args]);
  }

  startConnect(person: Entry, ...args: readonly string[]): Running {
    return this.inside(process.execPath, [SHELLSTREAM, 'connect', '--workload-api', person.socketPath, ...args]);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    // One that a test stopped would not hear of its end.
    this.#gateway?.kill('SIGCONT');
    this.#gateway?.kill('SIGTERM');
    // Longer than a started process is given else: its own shutdown has five seconds.
    const ended = new AbortController();
    const patience = sleep(systemClock, SHUTDOWN_MS, ended.signal);
    await Promise.race([this.#gateway?.finished, patience]);
    ended.abort();
    await this.#gateway?.[Symbol.asyncDispose]();
  }

  #run(args: readonly string[]): Promise<Finished> {
    return attempt('nsenter', this.#entered(process.execPath, SHELLSTREAM, ...args), { timeoutMs: 30_000 });
  }

  #entered(...command: readonly string[]): readonly string[] {
    return [`--net=${this.namespace.path}`, ...command];
  }
}
