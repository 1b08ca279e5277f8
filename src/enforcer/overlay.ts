/**
 * The overlay of one node: a WireGuard device whose every peer belongs to a live mesh session, and the flows that
 * govern it. Nothing joins without flows, and leaving takes everything with it.
 */
import type { Prefix } from '../../protocol/capability/model.ts';
import { ShellstreamError } from '../../protocol/errors.ts';
import { type WireguardOffer, wireguardProof } from '../../protocol/handshake/index.ts';
import { formatPrefix, hostPrefix } from '../../protocol/net/prefix.ts';
import type { CryptoProvider, X25519KeyPair } from '../../protocol/noise/crypto.ts';
import { mostRestrictive, type PostureLevel } from '../../protocol/posture/level.ts';
import { allOf } from '../base/all-of.ts';
import type {
  AdoptedTunnel,
  DataPlane,
  FlowAttachment,
  FlowRule,
  FlowSession,
  Route,
  Translation,
  TunnelDevice,
} from '../dataplane/ports.ts';
import { Claims } from './claims.ts';
import { type AllowedForward, forwardsOf } from './forwards.ts';
import { isPeerOf, type Member, type MemberSpec, tunnelPeer } from './member.ts';
import { MemberLevels } from './member-levels.ts';
import { allRoutes, flowRules, routesTo, sameReach } from './reach.ts';
import { Slots } from './slots.ts';
import { Undo } from './undo.ts';

export type { Member, MemberSpec } from './member.ts';

export interface OverlaySpec {
  readonly interfaceName: string;
  readonly listenPort: number;
  readonly mtu: number;
  /** Our addresses inside the tunnel. */
  readonly addresses: readonly Prefix[];
  /** Session and peer slots of the flow maps. Slot 0 stays unused, so that an all-zero entry names nobody. */
  readonly slots: number;
  /** Prefixes of ours that are others in the tunnel. */
  readonly translations?: readonly Translation[];
  /** Whose packets may go on to whom through us; nobody's unless told. */
  readonly forwards?: readonly AllowedForward[];
  /** What of a member's prefixes is routed at the level that holds when it is asked; all unless told. */
  readonly routed?: (spec: MemberSpec) => readonly Prefix[];
  /** The most seconds between keepalives at a level; as each member's own configuration says unless told. */
  readonly keepaliveAt?: (level: PostureLevel) => number;
}

export class Overlay implements AsyncDisposable {
  readonly device: TunnelDevice;
  readonly addresses: readonly Prefix[];
  readonly #dataplane: DataPlane;
  readonly #key: X25519KeyPair;
  readonly #sessionSlots: Slots;
  readonly #peerSlots: Slots;
  /** By number. */
  readonly #members = new Map<number, Member>();
  readonly #claims: Claims;
  readonly #levels: MemberLevels;
  /** Numbers of members that leave in the next turn, and its end. */
  readonly #leaving = new Set<number>();
  #departure: Promise<void> | undefined;
  readonly #allowedForwards: readonly AllowedForward[];
  readonly #routed: (spec: MemberSpec) => readonly Prefix[];
  #lastNumber = 0;
  #isClosed = false;
  #queue: Promise<unknown> = Promise.resolve();

  private constructor(dataplane: DataPlane, device: TunnelDevice, key: X25519KeyPair, spec: OverlaySpec) {
    this.#dataplane = dataplane;
    this.device = device;
    this.#key = key;
    this.addresses = spec.addresses;
    this.#allowedForwards = spec.forwards ?? [];
    this.#routed = spec.routed ?? (({ prefixes }) => prefixes);
    this.#levels = new MemberLevels(spec.keepaliveAt ?? (() => Number.POSITIVE_INFINITY));
    const prefixes = spec.addresses.map(({ address }) => hostPrefix(address));
    this.#claims = new Claims({ publicKey: key.publicKey, prefixes, translations: spec.translations ?? [] });
    this.#sessionSlots = new Slots({ first: 1, size: spec.slots });
    this.#peerSlots = new Slots({ first: 1, size: spec.slots });
  }

  /** The filter is on the device before the device is up: there is no moment in which it passes everything. */
  static async open(dataplane: DataPlane, crypto: CryptoProvider, spec: OverlaySpec): Promise<Overlay> {
    const key = crypto.x25519Generate();
    await using undo = new Undo();
    const device = await dataplane.tunnels.create({
      name: spec.interfaceName,
      privateKey: key.exportPrivate(),
      listenPort: spec.listenPort,
      mtu: spec.mtu,
    });
    undo.add(() => device[Symbol.asyncDispose]());
    await dataplane.flows.attach(attachment(device, spec));
    undo.add(() => dataplane.flows.detach(device.ifindex));
    for (const address of spec.addresses) await dataplane.network.addAddress(device.ifindex, address);
    await dataplane.network.setUp(device.ifindex);
    undo.keep();
    return new Overlay(dataplane, device, key, spec);
  }

  /**
   * Goes on with the device of a former run, whose WireGuard sessions stay as they are: it is never down, and there is no
   * moment in which it lacks a filter. Of `kept` those become members whose peer is in the kernel exactly as they say;
   * every other peer is removed. When it throws, the device is gone.
   */
  static async adopt(
    dataplane: DataPlane,
    crypto: CryptoProvider,
    spec: OverlaySpec,
    { device, privateKey }: AdoptedTunnel,
    kept: readonly Member[],
  ): Promise<Overlay> {
    const { flows, network } = dataplane;
    await using undo = new Undo();
    // The device goes before its filter.
    undo.add(() => flows.detach(device.ifindex));
    undo.add(() => device[Symbol.asyncDispose]());
    const overlay = new Overlay(dataplane, device, crypto.x25519FromPrivate(privateKey), spec);
    const peers = await device.peers();
    for (const member of kept) if (peers.some((peer) => isPeerOf(member.spec, peer))) await overlay.#takeBack(member);
    await overlay.#followForwards();
    const strangers = peers.filter(({ publicKey }) => !overlay.#claims.isTaken(publicKey));
    await device.removePeers(strangers.map(({ publicKey }) => publicKey));
    await flows.attach(attachment(device, spec));
    for (const address of spec.addresses) await network.addAddress(device.ifindex, address);
    await network.setUp(device.ifindex);
    await overlay.#followRoutes();
    undo.keep();
    return overlay;
  }

  get publicKey(): Uint8Array {
    return this.#key.publicKey;
  }

  get members(): readonly Member[] {
    return [...this.#members.values()];
  }

  /** Our key with the proof that we hold it, for the peer of this ephemeral key in this handshake. */
  offer(crypto: CryptoProvider, ephemeralKey: Uint8Array, transcript: Uint8Array): WireguardOffer {
    const shared = this.#key.dh(ephemeralKey);
    if (shared === undefined) throw new ShellstreamError('WIREGUARD_PROOF', 'an ephemeral key of low order');
    return {
      publicKey: this.publicKey,
      proof: wireguardProof(crypto, shared, transcript),
      port: this.device.listenPort,
      addresses: this.addresses.map(({ address }) => address),
    };
  }

  /** Throws what `join` would refuse, before anything is touched. @param former whose place the new member takes */
  check(spec: MemberSpec, former?: Member): void {
    this.#claims.check(spec, former?.number);
  }

  /** Its flows, with the slots and the generation that it had; not one that would be refused as a new member. */
  async #takeBack({ session, spec, generation }: Member): Promise<void> {
    const { flows } = this.#dataplane;
    try {
      this.check(spec);
      this.#sessionSlots.claim(session.sessionSlot, session.generation);
      this.#peerSlots.claim(session.peerSlot, session.generation);
    } catch (error) {
      if (error instanceof ShellstreamError) return;
      throw error;
    }
    await flows.setPeerLevel(session.peerSlot, spec.level);
    await flows.pinSources(this.device.ifindex, session.peerSlot, spec.prefixes);
    await flows.install(session, this.#rules(spec));
    await flows.activate(session);
    this.#lastNumber += 1;
    this.#enter({ number: this.#lastNumber, session, spec, generation });
    this.#levels.note(this.#lastNumber, spec.level);
  }

  /** Flows are installed, then activated, then the tunnel; whatever fails takes back what came before it. */
  join(spec: MemberSpec): Promise<Member> {
    return this.#exclusively(async () => {
      this.check(spec);
      const { flows } = this.#dataplane;
      await using undo = new Undo();
      const { slot: sessionSlot, generation } = this.#sessionSlots.take();
      undo.add(() => this.#sessionSlots.giveBack(sessionSlot));
      const { slot: peerSlot } = this.#peerSlots.take();
      undo.add(() => this.#peerSlots.giveBack(peerSlot));
      const session: FlowSession = { sessionSlot, generation, peerSlot, expiresAtBootNs: spec.expiresAtBootNs };

      // A step that fails may have taken effect in part: its undoing is noted before it is taken.
      await flows.setPeerLevel(peerSlot, spec.level);
      undo.add(() => flows.unpinSources(this.device.ifindex, spec.prefixes));
      await flows.pinSources(this.device.ifindex, peerSlot, spec.prefixes);
      undo.add(() => flows.remove(sessionSlot, this.#rules(spec)));
      await flows.install(session, this.#rules(spec));
      undo.add(() => flows.deactivate(sessionSlot));
      await flows.activate(session);
      undo.add(() => this.device.removePeer(spec.publicKey));
      await this.device.addPeer(tunnelPeer(spec, this.#levels.keepalive(spec, spec.level)));
      undo.add(() => this.#dataplane.network.removeRoutes(this.#allRoutes(spec)));
      await this.#dataplane.network.addRoutes(this.#routes(spec));
      this.#lastNumber += 1;
      const member: Member = { number: this.#lastNumber, session, spec, generation: 1 };
      undo.add(() => this.#followForwards());
      await this.#followForwards(member);
      undo.keep();
      this.#enter(member);
      this.#levels.note(member.number, spec.level);
      return member;
    });
  }

  /**
   * A member attested again. The WireGuard peer is removed and added, never modified: a new pre-shared key acts at
   * the next WireGuard handshake only, and key pairs of the old one would live on. On failure the membership ends.
   * A stricter level that the peer said meanwhile stays, until `setLevel` says otherwise.
   */
  rejoin(former: Member, spec: MemberSpec): Promise<Member> {
    return this.#exclusively(async () => {
      if (this.#members.get(former.number) !== former) throw gone();
      const { sessionSlot, peerSlot } = former.session;
      const { flows, network } = this.#dataplane;
      // What a refused spec names may be another member's: only what the check lets it have is its own to take away.
      const written = [former];
      try {
        this.check(spec, former);
        written.push({ ...former, spec });
        const sameFlows = sameReach(former.spec, spec);
        const generation = sameFlows ? former.session.generation : this.#sessionSlots.nextGeneration(sessionSlot);
        const session: FlowSession = { sessionSlot, generation, peerSlot, expiresAtBootNs: spec.expiresAtBootNs };
        await this.device.removePeer(former.spec.publicKey);
        const told = mostRestrictive(this.#levels.of(former), spec.level);
        await this.#writeLevel(former, told);
        if (sameFlows) {
          await flows.extend(sessionSlot, generation, spec.expiresAtBootNs);
        } else {
          await flows.remove(sessionSlot, this.#rules(former.spec));
          await network.removeRoutes(this.#allRoutes(former.spec));
          await flows.unpinSources(this.device.ifindex, former.spec.prefixes);
          await flows.pinSources(this.device.ifindex, peerSlot, spec.prefixes);
          await flows.install(session, this.#rules(spec));
          await flows.activate(session);
          await network.addRoutes(this.#routes(spec));
        }
        await this.device.addPeer(tunnelPeer(spec, this.#levels.keepalive(spec, told)));
        const member: Member = { number: former.number, session, spec, generation: former.generation + 1 };
        this.#strike(former);
        this.#enter(member);
        return member;
      } catch (error) {
        // Also what a half-done renewal may have written beside what the former spec names. What cannot be taken away now
        // is tried again, and told, when the membership is left.
        for (const member of written) await this.#remove([member]).catch(() => undefined);
        throw error;
      }
    });
  }

  /** Brings the routes to what is routed now, after a change of that. */
  followRoutes(): Promise<void> {
    return this.#exclusively(() => this.#followRoutes());
  }

  async #followRoutes(): Promise<void> {
    const { network } = this.#dataplane;
    const routes = this.members.flatMap(({ spec }) => this.#routes(spec));
    const wanted = new Set(routes.map(({ destination }) => formatPrefix(destination)));
    const stale = (await network.routes()).filter(
      ({ ifindex, destination }) => ifindex === this.device.ifindex && !wanted.has(formatPrefix(destination)),
    );
    await network.removeRoutes(stale);
    // On a device that is down nothing can be routed; `reopen` comes back to it.
    if (!this.#isClosed) await network.addRoutes(routes);
  }

  /** Its flows at once, with one write; then how often its tunnel is kept alive. */
  async setLevel(member: Member, level: PostureLevel): Promise<void> {
    const current = this.#members.get(member.number) ?? member;
    const before = this.#levels.keepalive(current.spec, this.#levels.of(current));
    await this.#writeLevel(member, level);
    if (this.#levels.keepalive(current.spec, level) === before) return;
    await this.#exclusively(() => this.#followLevels([member.number]));
  }

  async #writeLevel(member: Member, level: PostureLevel): Promise<void> {
    if (!this.#members.has(member.number)) return;
    this.#levels.note(member.number, level);
    await this.#dataplane.flows.setPeerLevel(member.session.peerSlot, level);
  }

  /** Brings the keepalives of members to what the levels of both ends ask for, with one call for all that are alike. */
  async #followLevels(numbers: Iterable<number>): Promise<void> {
    const members = [...numbers].flatMap((number) => this.#members.get(number) ?? []);
    for (const [seconds, keys] of this.#levels.keepalives(members)) await this.device.setKeepalive(keys, seconds);
  }

  /**
   * Idempotent. Packets stop with the first write. Whoever asks while others wait for their turn leaves together with
   * them: at lockdown a thousand members are one batch. What of a batch fails is told to all in it.
   */
  leave(member: Member): Promise<void> {
    this.#leaving.add(member.number);
    this.#departure ??= this.#exclusively(() => {
      const numbers = [...this.#leaving];
      this.#leaving.clear();
      this.#departure = undefined;
      return this.#leaveTogether(numbers);
    });
    return this.#departure;
  }

  async #leaveTogether(numbers: readonly number[]): Promise<void> {
    // What stands now may be a renewal of what the caller knows.
    const current = numbers.flatMap((number) => this.#members.get(number) ?? []);
    for (const member of current) {
      this.#strike(member);
      this.#levels.forget(member.number);
    }
    await this.#remove(current);
    for (const { session } of current) {
      this.#sessionSlots.giveBack(session.sessionSlot);
      this.#peerSlots.giveBack(session.peerSlot);
    }
  }

  /** Lockdown: the device carries nothing, whatever the bookkeeping says. */
  async close(): Promise<void> {
    this.#isClosed = true;
    this.#levels.own = 1;
    await this.device.removeAllPeers();
    await this.#dataplane.network.setDown(this.device.ifindex);
  }

  /** Any level but lockdown: the device carries what the flows let through, and is kept alive as the level asks. */
  async reopen(level: PostureLevel): Promise<void> {
    const { network } = this.#dataplane;
    this.#levels.own = level;
    // A device that goes down loses its IPv6 addresses.
    for (const address of this.#isClosed ? this.addresses : []) await network.addAddress(this.device.ifindex, address);
    await network.setUp(this.device.ifindex);
    if (!this.#isClosed) return await this.#exclusively(() => this.#followLevels(this.#members.keys()));
    this.#isClosed = false;
    // Whoever was joining while it closed and opened lost its peer, and nobody would end a session that the level allows.
    await this.#exclusively(async () => {
      for (const member of this.members) {
        const { spec } = member;
        // What only the kernel knew is gone; the session gets its tunnel back when it attests again.
        if (spec.presharedKey === undefined) continue;
        await this.device.removePeer(spec.publicKey);
        const keepalive = this.#levels.keepalive(spec, this.#levels.of(member));
        await this.device.addPeer(tunnelPeer(spec, keepalive));
      }
      await this.#followRoutes();
    });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all(this.members.map((member) => this.leave(member)));
    // Who was leaving already is no member any more, and not gone yet.
    await this.#queue;
    await this.#dataplane.flows.detach(this.device.ifindex);
    await this.device[Symbol.asyncDispose]();
  }

  /** Packets stop with the first step. Each is taken whatever became of the others; then it throws what failed. */
  async #remove(members: readonly Member[]): Promise<void> {
    if (members.length === 0) return;
    const { flows, network } = this.#dataplane;
    await using steps = new Undo();
    const specs = members.map(({ spec }) => spec);
    const routes = specs.flatMap((spec) => this.#allRoutes(spec));
    const sources = specs.flatMap(({ prefixes }) => prefixes);
    const keys = specs.map(({ publicKey }) => publicKey);
    // A slot that is given back may be somebody else's next.
    steps.add(() => this.#followForwards());
    steps.add(() => flows.unpinSources(this.device.ifindex, sources));
    for (const { session, spec } of members) {
      steps.add(() => flows.remove(session.sessionSlot, this.#rules(spec)));
    }
    // Side by side: while thousands end, an answer of the kernel waits for its turn of the event loop.
    steps.add(() =>
      allOf('tunnel peers or routes stay', [this.device.removePeers(keys), network.removeRoutes(routes)]),
    );
    for (const { session } of members) steps.add(() => flows.deactivate(session.sessionSlot));
  }

  /** Brings the forwards to what the members, and one that joins, may have. */
  async #followForwards(...joining: readonly Member[]): Promise<void> {
    if (this.#allowedForwards.length === 0) return;
    await this.#dataplane.flows.setForwards(forwardsOf(this.#allowedForwards, [...this.members, ...joining]));
  }

  #enter(member: Member): void {
    this.#members.set(member.number, member);
    this.#claims.enter(member);
  }

  #strike(member: Member): void {
    this.#members.delete(member.number);
    this.#claims.strike(member);
  }

  #rules(spec: MemberSpec): FlowRule[] {
    return flowRules(this.device.ifindex, spec);
  }

  /** What it is to have now. */
  #routes(spec: MemberSpec): Route[] {
    return routesTo(this.device.ifindex, this.#routed(spec));
  }

  #allRoutes(spec: MemberSpec): Route[] {
    return allRoutes(this.device.ifindex, spec);
  }

  /** Overlap checks and installs of two sessions never interleave. */
  #exclusively<T>(action: () => Promise<T>): Promise<T> {
    const result = this.#queue.then(action);
    this.#queue = result.catch(() => undefined);
    return result;
  }
}

function attachment({ ifindex }: TunnelDevice, { translations = [] }: OverlaySpec): FlowAttachment {
  return { ifindex, kind: 'tunnel', translations };
}

function gone(): ShellstreamError {
  return new ShellstreamError('TUNNEL_FAILED', 'the membership ended meanwhile');
}
