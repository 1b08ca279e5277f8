/**
 * Two whole gateways in one process, site-a dialling site-b, over links and data planes in memory and one simulated
 * clock: what a test of minutes needs to take milliseconds.
 */

import type { EntryOptions } from '../../certs-dev/index.ts';
import type { Capability, SessionType, Target, Tier } from '../../protocol/capability/index.ts';
import type { PostureLevel } from '../../protocol/posture/index.ts';
import { parseConfig } from '../../src/base/config.ts';
import { nodeCrypto as crypto } from '../../src/base/crypto-node.ts';
import { Descriptors } from '../../src/base/descriptors.ts';
import type { LogFields, Logger } from '../../src/base/logger.ts';
import { SimulatedClock } from '../../src/base/simulated-clock.ts';
import { createMemoryDataPlane, type MemoryDataPlane, MemoryWire } from '../../src/dataplane/memory/index.ts';
import { StreamsOnlyEnforcer } from '../../src/enforcer/streams-only.ts';
import type { Approach } from '../../src/enforcer/terminator-port.ts';
import type { EvidencePlace } from '../../src/evidence/evidence-place.ts';
import { SpiffeAttestor } from '../../src/identity/attestor.ts';
import { SpireSatVerifier, SvidVerifier } from '../../src/identity/index.ts';
import { MemoryInternet } from '../../src/link/index.ts';
import { attestOver } from '../../src/mesh/dial.ts';
import type { OpenedPosture } from '../../src/posture/store.ts';
import { Session } from '../../src/session/session.ts';
import { eventually } from './eventually.ts';
import { type MemoryGateway as Gateway, type MemoryGatewayWorld, startMemoryGateway } from './memory-gateway.ts';
import { ACCORD, footprint, type MemoryDomains, memoryDomains, NOTHING } from './memory-nodes.ts';

export interface MemorySitesOptions {
  /** How long tokens live, milliseconds: the soonest end of a session. */
  readonly jwtTtlMs?: number;
  /** Over the configuration of either site. */
  readonly limits?: object;
  readonly random?: () => number;
  /** Over how site-a's configuration has site-b. */
  readonly peer?: object;
  /** Whether tunnels outlive who made them, as the kernel's do. */
  readonly tunnelsSurvive?: boolean;
  /** Where each site keeps its evidence; without it, none does. */
  readonly evidenceOf?: (name: 'a' | 'b') => EvidencePlace;
}

interface MemorySiteParts extends Pick<MemorySite, 'name' | 'world' | 'dataplane' | 'source' | 'tokens' | 'entry'> {
  readonly start: (logger: Logger) => Promise<Gateway>;
}

export class MemorySite {
  readonly name: 'a' | 'b';
  readonly dataplane: MemoryDataPlane;
  /** What its gateway is made of. */
  readonly world: Omit<MemoryGatewayWorld, 'log'>;
  readonly source: Awaited<ReturnType<MemoryDomains['identity']>>['source'];
  readonly tokens: Awaited<ReturnType<MemoryDomains['identity']>>['tokens'];
  readonly entry: Awaited<ReturnType<MemoryDomains['identity']>>['entry'];
  /** What was logged, newest last. */
  readonly log: { readonly message: string; readonly fields: LogFields }[] = [];
  readonly #start: (logger: Logger) => Promise<Gateway>;
  #gateway: Gateway | undefined;

  constructor(parts: MemorySiteParts) {
    this.name = parts.name;
    this.dataplane = parts.dataplane;
    this.world = parts.world;
    this.source = parts.source;
    this.tokens = parts.tokens;
    this.entry = parts.entry;
    this.#start = parts.start;
  }

  get gateway(): Gateway {
    if (this.#gateway === undefined) throw new Error(`site ${this.name} was not started`);
    return this.#gateway;
  }

  get isRunning(): boolean {
    return this.#gateway !== undefined;
  }

  async start(): Promise<void> {
    this.#gateway = await this.#start(this.#logger());
  }

  async stop(): Promise<void> {
    await this.#gateway?.[Symbol.asyncDispose]();
    this.#gateway = undefined;
  }

  /** The one live session. */
  get session(): Session {
    const [session, ...others] = this.gateway.registry.all;
    if (session === undefined || others.length > 0) throw new Error(`${this.gateway.registry.size} sessions`);
    return session;
  }

  /** How much of sessions stands in the data plane. */
  footprint() {
    return footprint(this.dataplane, this.#gateway?.overlay);
  }

  /** Reasons with which sessions ended, in order. */
  get ends(): readonly unknown[] {
    return this.log.filter(({ message }) => message === 'session ended').map(({ fields }) => fields.reason);
  }

  #logger(): Logger {
    const note = (message: string, fields: LogFields = {}): void => void this.log.push({ message, fields });
    const logger: Logger = { debug: note, info: note, warn: note, error: note, child: () => logger };
    return logger;
  }
}

type TokenTtl = Pick<EntryOptions, 'jwtTtlMs'>;

export interface Visitor {
  readonly session: Session;
  /** What the session told, in order. */
  readonly heard: readonly string[];
  readonly posture: { level: PostureLevel; epoch: bigint };
  readonly source: MemorySite['source'];
  readonly tokens: MemorySite['tokens'];
}

export class MemorySites implements AsyncDisposable {
  readonly clock: SimulatedClock;
  readonly internet: MemoryInternet;
  /** A black hole takes every record and says nothing; `records` counts what was sent. */
  readonly network: { isBlackHole: boolean; records: number };
  readonly a: MemorySite;
  readonly b: MemorySite;
  readonly #domains: MemoryDomains;
  readonly #ttl: TokenTtl;

  private constructor(
    parts: Pick<MemorySites, 'clock' | 'internet' | 'network' | 'a' | 'b'> & { domains: MemoryDomains; ttl: TokenTtl },
  ) {
    this.clock = parts.clock;
    this.internet = parts.internet;
    this.network = parts.network;
    this.a = parts.a;
    this.b = parts.b;
    this.#domains = parts.domains;
    this.#ttl = parts.ttl;
  }

  /** Both are made, none is started. */
  static async create(options: MemorySitesOptions = {}): Promise<MemorySites> {
    const clock = new SimulatedClock();
    const network = { isBlackHole: false, records: 0 };
    const delayMs = (): number => {
      network.records += 1;
      return network.isBlackHole ? Number.POSITIVE_INFINITY : 0;
    };
    const internet = new MemoryInternet({ clock, delayMs });
    const wire = new MemoryWire();
    const ttl: TokenTtl = options.jwtTtlMs === undefined ? {} : { jwtTtlMs: options.jwtTtlMs };
    const domains = await memoryDomains(clock);
    const site = async (name: 'a' | 'b', host: string, peers: readonly object[]): Promise<MemorySite> => {
      const { source, tokens, entry } = await domains.identity(name, '/gateway', ttl);
      const dataplane = createMemoryDataPlane({ clock, wire, host, tunnelsSurvive: options.tunnelsSurvive ?? false });
      const config = parseConfig(
        JSON.stringify({
          apiVersion: 'shellstream/v1',
          instance: name,
          site: { trustDomain: `${name}.test` },
          listen: { address: host, port: 7843 },
          wireguard: { addresses: [name === 'a' ? '10.99.0.1/24' : '10.99.0.2/24'] },
          posture: { isolate: 'none' },
          mesh: { peers },
          limits: options.limits ?? {},
        }),
      );
      const world = {
        config,
        accord: ACCORD,
        identity: source,
        dataplane,
        crypto,
        clock,
        carrier: internet.host(host),
        posture: forgetfulPosture(),
        random: options.random ?? (() => 0.5),
        ...(options.evidenceOf === undefined ? {} : { evidence: options.evidenceOf(name) }),
      };
      const start = (log: Logger): Promise<Gateway> => startMemoryGateway({ ...world, log });
      return new MemorySite({ name, world, dataplane, source, tokens, entry, start });
    };
    const peer = {
      name: 'b',
      spiffeId: 'spiffe://b.test/gateway',
      address: '192.0.2.2:7843',
      request: {
        capabilities: ['OBSERVE', 'CONNECT'],
        targets: [
          { prefix: '10.2.0.10/32', port: 8080 },
          { prefix: '10.2.0.10/32', port: 9443 },
        ],
      },
      ...options.peer,
    };
    const [a, b] = [await site('a', '192.0.2.1', [peer]), await site('b', '192.0.2.2', [])];
    return new MemorySites({ clock, internet, network, a, b, domains, ttl });
  }

  /** Both started, and their mesh session open at both ends. */
  static async connected(options: MemorySitesOptions = {}): Promise<MemorySites> {
    const sites = await MemorySites.create(options);
    await sites.b.start();
    await sites.a.start();
    await sites.meet();
    return sites;
  }

  /** Somebody of site-a's domain with a session of streams at site-b, as `shellstream connect` opens one. */
  async visitor(
    type: SessionType,
    targets: readonly Target[],
    path = '/person',
    capabilities: readonly Capability[] = ['OBSERVE', 'CONNECT'],
    tier: Tier = 'master',
  ): Promise<Visitor> {
    const { clock } = this;
    const { source, tokens } = await this.#domains.identity('a', path, { ...this.#ttl, tier });
    const attestor = new SpiffeAttestor({
      source,
      svids: new SvidVerifier({ bundles: () => source.bundles, clock }),
      sats: new SpireSatVerifier({ source }),
      clock,
    });
    const posture: { level: PostureLevel; epoch: bigint } = { level: 5, epoch: 1n };
    const enforcer = new StreamsOnlyEnforcer({ crypto, clock, attestor, posture });
    const handshake = { crypto, staticKey: crypto.x25519Generate() };
    const approach: Approach = {
      offer: { versions: [1], sessionType: type, mode: 'overlay' },
      expectedId: this.b.source.current().spiffeId,
      request: { capabilities, targets, advertise: [] },
    };
    const signal = new AbortController().signal;
    const link = await this.internet
      .host('192.0.2.9')
      .dial({ host: '192.0.2.2', port: 7843 }, { timeoutMs: 1, signal });
    const attested = await attestOver(link, { clock, enforcer, handshake, timeoutMs: 10_000 }, approach);
    const heard: string[] = [];
    const session = new Session(
      {
        clock,
        enforcer,
        posture,
        handshake,
        pingMs: 20_000,
        maxStreams: 64,
        windowBytes: 262_144,
        descriptors: new Descriptors(64),
      },
      link,
      attested,
      {
        drainReceived: (_, { reason, level }) => heard.push(`drain ${reason} ${level}`),
        levelChanged: (changed) => heard.push(`level ${changed.effectiveLevel}`),
        attestedAgain: () => heard.push('attested again'),
        ended: (_, reason) => heard.push(`end ${reason}`),
      },
      approach,
    );
    return { session, heard, posture, source, tokens };
  }

  /** Until each has a session with the other. Time passes, as backoff needs it. */
  async meet(): Promise<void> {
    await this.until(
      'a session at both ends',
      () => this.a.gateway.registry.size === 1 && this.b.gateway.registry.size === 1,
    );
  }

  /** By the console of site-a: whatever lockdown of site-b it holds. */
  async release(): Promise<void> {
    await this.a.gateway.holds.release('b');
  }

  /** Lets time pass in small steps until it is true. */
  async until(what: string, check: () => boolean | Promise<boolean>, stepMs = 50): Promise<void> {
    await eventually(
      what,
      async () => {
        if (await check()) return true;
        await this.clock.advance(stepMs);
        return await check();
      },
      { everyMs: 0 },
    );
  }

  /** Until nothing of any session stands at either end. */
  async untilNothingStands(): Promise<void> {
    await this.until('nothing in either data plane', async () => {
      const [a, b] = [await this.a.footprint(), await this.b.footprint()];
      return JSON.stringify([a, b]) === JSON.stringify([NOTHING, NOTHING]);
    });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const site of [this.a, this.b]) {
      const stopped = site.stop();
      let isStopped = false;
      stopped.finally(() => (isStopped = true)).catch(() => undefined);
      await this.until(`${site.name} stopped`, () => isStopped);
      await stopped;
    }
    await this.#domains[Symbol.asyncDispose]();
  }
}

/** Nothing was kept, and nothing is. */
function forgetfulPosture(): OpenedPosture {
  return { store: { save: async () => {} }, kept: undefined, isSameBoot: false };
}
