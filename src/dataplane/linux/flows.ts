/**
 * The flow table in the kernel: eBPF programs of native/bpf, one set of maps an instance, pinned under
 * /sys/fs/bpf/shellstream/INSTANCE.
 *
 * Attachments outlive the process: after a crash the filter stands, and the lease lets every session lapse. Maps are
 * fresh in each run but for posture; what a former run attached keeps its own until `attach` or `reset` replaces it.
 */
import type { Prefix } from '../../../protocol/capability/model.ts';
import { ShellstreamError } from '../../../protocol/errors.ts';
import { isPostureLevel, type PostureLevel } from '../../../protocol/posture/level.ts';
import { isIntegerIn, MAX_TRANSLATIONS, prefixPair, refused } from '../flow-rules.ts';
import { type Listeners, listeners } from '../listeners.ts';
import type {
  ControlFlow,
  ExternalPosture,
  FlowAttachment,
  FlowCounters,
  FlowDenial,
  FlowRule,
  FlowSession,
  FlowTable,
  Forward,
  LevelSeen,
  PosturePin,
} from '../ports.ts';
import * as pack from './flows-packing.ts';
import { type FlowPlane, flowProgramsPath, kernelAddon } from './native.ts';
import { createPolicies, type Policies } from './policies.ts';

export interface LinuxFlowsOptions {
  /** Names the pins: 1 to 32 of a-z, 0-9 and dash. One process at a time owns an instance. */
  readonly instance: string;
  /** Path of the network namespace whose interfaces are meant; absent: that of the process. */
  readonly namespace?: string;
  readonly sizes?: Partial<FlowSizes>;
  /** False attaches by clsact even where the kernel has tcx. */
  readonly tcx?: boolean;
}

export interface FlowSizes {
  /** Session slots, from 0. */
  readonly sessions: number;
  /** Peer slots, from 0. */
  readonly peers: number;
  /** Entries of the policy map, for hosts and for shorter prefixes each. */
  readonly rules: number;
  /** Live flows of one session; more are refused. */
  readonly flowsPerSession: number;
  /** Live flows of all sessions. */
  readonly flows: number;
  /** Connections that may carry the last word at lockdown: one a session. */
  readonly controls: number;
}

export interface LinuxFlows extends FlowTable, AsyncDisposable {
  /** The maps and programs behind it: for `doctor`, tests and benchmarks. */
  readonly plane: FlowPlane;
}

const DEFAULT_SIZES: FlowSizes = {
  sessions: 1024,
  peers: 1024,
  rules: 65_536,
  flowsPerSession: 512,
  flows: 131_072,
  controls: 16_384,
};

/** Loads the programs; DATAPLANE_FAILED, with the kernel's words, when it cannot or another process owns the instance. */
export async function createLinuxFlows(options: LinuxFlowsOptions): Promise<LinuxFlows> {
  const sizes = { ...DEFAULT_SIZES, ...options.sizes };
  const plane = kernelCall('load the data plane', () =>
    kernelAddon().FlowPlane.open({
      instance: options.instance,
      object: flowProgramsPath(),
      quota: sizes.flowsPerSession,
      tcx: options.tcx ?? true,
      sizes: {
        session_state: sizes.sessions,
        flow_cursor: sizes.sessions,
        flow_stats: sizes.sessions,
        flow_places: sizes.sessions * sizes.flowsPerSession,
        peer_level: sizes.peers,
        flow_policy: sizes.rules,
        flow_prefixes: sizes.rules,
        flow_state: sizes.flows,
        control_flows: sizes.controls,
      },
      ...(options.namespace === undefined ? {} : { namespace: options.namespace }),
    }),
  );
  return new KernelFlows(plane, sizes);
}

class KernelFlows implements LinuxFlows {
  readonly plane: FlowPlane;
  readonly #sizes: FlowSizes;
  readonly #policies: Policies;
  /** By interface, packed. */
  readonly #translations = new Map<number, readonly Uint8Array[]>();
  readonly #noCounters: Uint8Array;
  readonly #postureListeners: Listeners<ExternalPosture>;
  readonly #denialListeners: Listeners<readonly FlowDenial[]>;
  readonly #levelListeners: Listeners<readonly LevelSeen[]>;
  readonly #eventListeners: Listeners<Uint8Array>;

  constructor(plane: FlowPlane, sizes: FlowSizes) {
    this.plane = plane;
    this.#sizes = sizes;
    this.#policies = createPolicies(plane);
    this.#noCounters = new Uint8Array(plane.get('flow_stats', pack.packNumber(0))?.length ?? 0);
    this.#postureListeners = listeners((tell) =>
      plane.watchPosture((raw, pin) => tell({ raw, pin: PINS[pin] ?? 'gone' })),
    );
    this.#eventListeners = listeners((tell) => plane.watchEvents(tell));
    this.#denialListeners = listeners((tell) => {
      this.#eventListeners.add((records) => tell(pack.unpackDenials(records)));
    });
    this.#levelListeners = listeners((tell) => {
      this.#eventListeners.add((records) => tell(pack.unpackLevelsSeen(records)));
    });
  }

  async attach({ ifindex, kind, allowAtLockdown = [], translations = [] }: FlowAttachment): Promise<void> {
    const entries = allowAtLockdown.map((flow) => pack.packStaticKey(ifindex, flow));
    if (kind === 'tunnel' && entries.length > 0) throw refused('static entries never pass through tunnels');
    if (kind === 'outer' && translations.length > 0) throw refused('prefixes are translated on tunnels only');
    const pairs = translations.map((translation) => pack.packTranslation(ifindex, prefixPair(translation)));
    kernelCall(`attach to interface ${ifindex}`, () => {
      this.#forgetInterface(ifindex);
      this.#putTranslations(ifindex, pairs);
      const { ethernet, mtu } = this.plane.describeInterface(ifindex);
      // Entries first: a program without its settings drops everything.
      const settings = entries.length > 0 ? 'monitored' : kind;
      this.plane.put('iface', pack.packNumber(ifindex), pack.packInterface(settings, ethernet, mtu));
      for (const entry of entries) this.plane.put('static_flows', entry, pack.packNumber(1));
      const programs = kind === 'tunnel' && ethernet ? 'tunnel_ether' : kind;
      this.plane.attach(ifindex, `${programs}_in`, `${programs}_out`);
    });
  }

  async detach(ifindex: number): Promise<void> {
    kernelCall(`detach from interface ${ifindex}`, () => {
      this.plane.detach(ifindex);
      this.#forgetInterface(ifindex);
    });
  }

  async replacesAtOnce(ifindex: number): Promise<boolean> {
    return kernelCall('look at attachments', () => this.plane.replacesAtOnce(ifindex));
  }

  async pinSources(ifindex: number, peerSlot: number, prefixes: readonly Prefix[]): Promise<void> {
    this.#checkPeer(peerSlot);
    const keys = prefixes.map((prefix) => pack.packSourceKey(ifindex, prefix));
    const values = prefixes.map(() => pack.packNumber(peerSlot));
    kernelCall('pin sources', () => {
      const { count, error } = this.plane.putBatch('source_slots', pack.concat(keys), pack.concat(values));
      if (error === undefined) return;
      this.plane.deleteBatch('source_slots', pack.concat(keys.slice(0, count)));
      throw new ShellstreamError('DATAPLANE_FULL', error);
    });
  }

  async unpinSources(ifindex: number, prefixes: readonly Prefix[]): Promise<void> {
    const keys = prefixes.map((prefix) => pack.packSourceKey(ifindex, prefix));
    kernelCall('unpin sources', () => this.plane.deleteBatch('source_slots', pack.concat(keys)));
  }

  async setForwards(forwards: readonly Forward[]): Promise<void> {
    for (const { from, to } of forwards) for (const slot of [from, to]) this.#checkPeer(slot);
    kernelCall('set the forwards', () => {
      const error = this.plane.holdExactly('forwards', pack.packForwards(forwards), pack.packNumber(1));
      if (error !== null) throw new ShellstreamError('DATAPLANE_FULL', error);
    });
  }

  async setPeerLevel(peerSlot: number, level: PostureLevel): Promise<void> {
    this.#checkPeer(peerSlot);
    kernelCall('set a peer’s level', () => this.plane.storeWord('peer_level', peerSlot, 0, level));
  }

  async install(session: FlowSession, rules: readonly FlowRule[]): Promise<void> {
    const { sessionSlot, peerSlot } = session;
    this.#checkSlot(sessionSlot);
    this.#checkPeer(peerSlot);
    kernelCall('install flows', () => {
      this.#stop(sessionSlot);
      this.#forgetFlows(sessionSlot);
      this.plane.put('session_state', pack.packNumber(sessionSlot), pack.packSession(session));
      try {
        this.#policies.install(session, rules);
      } catch (error) {
        this.plane.clearArray('session_state', sessionSlot, 1);
        throw error;
      }
    });
  }

  async activate(session: FlowSession): Promise<void> {
    const { sessionSlot, generation, expiresAtBootNs } = session;
    if (this.#policies.generationOf(sessionSlot) !== generation) throw refused('the session is not installed');
    kernelCall('activate a session', () => {
      this.plane.storeLong('session_state', sessionSlot, pack.SESSION.expires, expiresAtBootNs);
      this.plane.storeWord('session_state', sessionSlot, pack.SESSION.active, 1);
      this.#policies.activate(sessionSlot);
    });
  }

  async deactivate(sessionSlot: number): Promise<void> {
    this.#checkSlot(sessionSlot);
    kernelCall('deactivate a session', () => {
      this.#stop(sessionSlot);
      this.#policies.deactivate(sessionSlot);
    });
  }

  async remove(sessionSlot: number, _rules: readonly FlowRule[]): Promise<void> {
    this.#checkSlot(sessionSlot);
    kernelCall('remove flows', () => {
      this.#stop(sessionSlot);
      this.#policies.remove(sessionSlot);
      this.#forgetFlows(sessionSlot);
      this.plane.clearArray('session_state', sessionSlot, 1);
    });
  }

  async extend(sessionSlot: number, generation: number, expiresAtBootNs: bigint): Promise<void> {
    if (this.#policies.generationOf(sessionSlot) !== generation) throw refused('the session is not installed');
    kernelCall('extend a session', () =>
      this.plane.storeLong('session_state', sessionSlot, pack.SESSION.expires, expiresAtBootNs),
    );
  }

  async setControl(flows: readonly ControlFlow[]): Promise<void> {
    const keys = pack.packControlKeys(flows);
    kernelCall('set the control flows', () => {
      const error = this.plane.holdExactly('control_flows', keys, pack.packNumber(1));
      if (error !== null) throw new ShellstreamError('DATAPLANE_FULL', error);
    });
  }

  async renewLease(untilBootNs: bigint): Promise<void> {
    kernelCall('renew the lease', () => this.plane.storeLong('node_lease', 0, 0, untilBootNs));
  }

  async posture(): Promise<{ readonly external: number; readonly own: number }> {
    return kernelCall('read the posture', () => ({ external: this.#slot(0), own: this.#slot(1) }));
  }

  async setPosture(level: PostureLevel): Promise<void> {
    kernelCall('set the posture', () => {
      this.plane.put('posture_level', pack.packNumber(1), pack.packNumber(level));
      // Programs arm the control window again with the first packet above level 1; there may not be one.
      if (level > 1 && this.#slot(0) > 1 && isPostureLevel(this.#slot(0))) {
        this.plane.storeLong('lockdown_since', 0, 0, 0n);
      }
    });
  }

  onExternalPosture(listener: (external: ExternalPosture) => void): Disposable {
    return kernelCall('watch the posture', () => this.#postureListeners.add(listener));
  }

  onDenials(listener: (denials: readonly FlowDenial[]) => void): Disposable {
    return kernelCall('watch denials', () => this.#denialListeners.add(listener));
  }

  onLevelSeen(listener: (seen: readonly LevelSeen[]) => void): Disposable {
    return kernelCall('watch levels', () => this.#levelListeners.add(listener));
  }

  async counters(sessionSlot: number): Promise<FlowCounters> {
    this.#checkSlot(sessionSlot);
    return kernelCall('read counters', () =>
      pack.unpackCounters(this.plane.get('flow_stats', pack.packNumber(sessionSlot)) ?? new Uint8Array(0)),
    );
  }

  /** Posture keeps both slots: a restart must not loosen. */
  async reset(keep?: number): Promise<void> {
    kernelCall('reset the data plane', () => {
      this.plane.clear('session_state');
      for (const ifindex of this.plane.attached()) if (ifindex !== keep) this.plane.detach(ifindex);
      this.#policies.forget();
      this.#translations.clear();
      for (const map of CLEARED_BY_RESET) this.plane.clear(map);
    });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#postureListeners.clear();
    this.#eventListeners.clear();
    this.#denialListeners.clear();
    this.#levelListeners.clear();
    this.plane.close();
  }

  #slot(slot: number): number {
    return pack.unpackNumber(this.plane.get('posture_level', pack.packNumber(slot)) ?? pack.packNumber(0));
  }

  #stop(sessionSlot: number): void {
    this.plane.storeWord('session_state', sessionSlot, pack.SESSION.active, 0);
  }

  /** A new session in the slot starts without flows and with counters at zero. */
  #forgetFlows(sessionSlot: number): void {
    this.plane.put('flow_stats', pack.packNumber(sessionSlot), this.#noCounters);
    // A session that opened no flow never moved it. Should it have wrapped to zero, what stays is of a generation that
    // nothing lets pass, and gives its place to whoever wants it.
    if (pack.unpackNumber(this.plane.readArray('flow_cursor', sessionSlot, 1)) === 0) return;
    const { flowsPerSession } = this.#sizes;
    const first = sessionSlot * flowsPerSession;
    const keys = pack.unpackPlaces(this.plane.readArray('flow_places', first, flowsPerSession));
    // A place may name a flow that another session took over since.
    const own = keys.filter((key) => {
      const flow = this.plane.get('flow_state', key);
      return flow !== null && pack.sessionOfFlow(flow) === sessionSlot;
    });
    this.plane.deleteBatch('flow_state', pack.concat(own));
    this.plane.clearArray('flow_places', first, flowsPerSession);
    this.plane.storeWord('flow_cursor', sessionSlot, 0, 0);
  }

  /** Entries move towards the first before the last is ended: what another interface has is never missing. */
  #putTranslations(ifindex: number, pairs: readonly Uint8Array[]): void {
    const before = [...this.#translations.values()].flat().length;
    const others = [...this.#translations].filter(([other]) => other !== ifindex);
    const entries = [...others.flatMap(([, theirs]) => theirs), ...pairs];
    if (entries.length > MAX_TRANSLATIONS) throw refused(`more than ${MAX_TRANSLATIONS} translated prefixes`);
    if (before === 0 && entries.length === 0) return;
    this.#translations.delete(ifindex);
    if (pairs.length > 0) this.#translations.set(ifindex, pairs);
    const none = new Uint8Array(pack.SIZE.translation);
    const ends = Array.from({ length: Math.max(0, before - entries.length) }, () => none);
    for (const [at, entry] of [...entries, ...ends].entries()) {
      this.plane.put('translations', pack.packNumber(at), entry);
    }
  }

  #forgetInterface(ifindex: number): void {
    this.#putTranslations(ifindex, []);
    this.plane.deleteBatch('iface', pack.packNumber(ifindex));
    const keys = this.plane.keys('static_flows');
    const { staticKey } = pack.SIZE;
    for (let at = 0; at + staticKey <= keys.length; at += staticKey) {
      const key = keys.subarray(at, at + staticKey);
      if (pack.interfaceOfStaticKey(key) === ifindex) this.plane.deleteBatch('static_flows', key);
    }
  }

  #checkSlot(sessionSlot: number): void {
    if (!isIntegerIn(sessionSlot, 0, this.#sizes.sessions - 1)) throw refused(`session slot ${sessionSlot} is none`);
  }

  #checkPeer(peerSlot: number): void {
    if (!isIntegerIn(peerSlot, 0, this.#sizes.peers - 1)) throw refused(`peer slot ${peerSlot} is none`);
  }
}

/** As the addon numbers them. */
const PINS: readonly PosturePin[] = ['ours', 'foreign', 'gone'];

const CLEARED_BY_RESET = [
  'iface',
  'node_lease',
  'peer_level',
  'source_slots',
  'forwards',
  'translations',
  'flow_policy',
  'flow_prefixes',
  'flow_state',
  'flow_places',
  'flow_cursor',
  'control_flows',
  'static_flows',
  'static_state',
  'flow_stats',
  'denial_stats',
] as const;

/** The kernel's words become the cause; what is ours already passes. */
function kernelCall<T>(what: string, call: () => T): T {
  try {
    return call();
  } catch (cause) {
    if (cause instanceof ShellstreamError) throw cause;
    const words = cause instanceof Error ? cause.message : String(cause);
    throw new ShellstreamError('DATAPLANE_FAILED', `cannot ${what}: ${words}`, { cause });
  }
}
