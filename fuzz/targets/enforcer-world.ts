/** The node that the enforcer's targets attack: one terminator that was taken over, one honest, and peers of both. */

import { ShellstreamError } from '../../protocol/errors.ts';
import { silentLogger } from '../../src/base/logger.ts';
import { SimulatedClock } from '../../src/base/simulated-clock.ts';
import { MemoryWire } from '../../src/dataplane/memory/index.ts';
import { type DirectoryLimits, SessionDirectory } from '../../src/enforcer/directory.ts';
import { Overseer } from '../../src/enforcer/overseer.ts';
import type { Admission, Claim, SessionId } from '../../src/enforcer/ports.ts';
import {
  type Attempt,
  type AttemptOptions,
  attempt,
  establish,
  type MemoryDomains,
  type MemoryNode,
  memoryDomains,
  memoryNode,
  PRINTER,
  TARGET,
} from '../../test/support/memory-nodes.ts';
import { type Door, openDoor } from '../../test/support/taken-over.ts';
import { holds, Violation } from '../target.ts';

type Identities = Record<'a' | 'b' | 'c', Awaited<ReturnType<MemoryDomains['identity']>>>;

/** Certificates and keys are made once; every input gets nodes of its own. */
export class EnforcerWorlds implements AsyncDisposable {
  readonly #domains: MemoryDomains;
  readonly #identities: Identities;
  readonly #wall: number;

  private constructor(domains: MemoryDomains, identities: Identities, wall: number) {
    this.#domains = domains;
    this.#identities = identities;
    this.#wall = wall;
  }

  static async open(): Promise<EnforcerWorlds> {
    const clock = new SimulatedClock();
    const domains = await memoryDomains(clock);
    const identities = {
      a: await domains.identity('a'),
      b: await domains.identity('b'),
      c: await domains.identity('c'),
    };
    return new EnforcerWorlds(domains, identities, clock.now());
  }

  async create(): Promise<EnforcerWorld> {
    const [clock, wire] = [new SimulatedClock(this.#wall), new MemoryWire()];
    const node = (name: 'a' | 'b' | 'c', host: string): Promise<MemoryNode> =>
      memoryNode({ clock, wire, name, identity: this.#identities[name], host });
    const [a, b, c] = [await node('a', '192.0.2.1'), await node('b', '192.0.2.2'), await node('c', '192.0.2.3')];
    const world = new EnforcerWorld(a, { ...b, directory: new SessionDirectory(LIMITS) });
    world.theirs = (await establish(c, world.honest.node)).hosted;
    return world;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#domains[Symbol.asyncDispose]();
  }
}

/** What a former run left is nobody's here; a claim that gets so far names a session and has a whole token. */
function claimed(claims: readonly Claim[]): readonly SessionId[] {
  holds(
    claims.length <= 512 && claims.every(({ session, token }) => /^[0-9a-f]{32}$/.test(session) && token.length === 32),
    'a claim that is none',
  );
  return [];
}

const LIMITS: DirectoryLimits = { sessions: 6, sessionsPerIdentity: 4 };
const MOST_NONCES = 16;
const SIGNED_PORTS: ReadonlySet<number> = new Set([TARGET.port, PRINTER.port]);

export class EnforcerWorld implements Disposable {
  readonly a: MemoryNode;
  readonly b: MemoryNode;
  readonly honest: Door;
  readonly hostile: Door;
  readonly #overseer: Overseer;
  /** What the enforcer said stands, of the hostile terminator's. */
  readonly #given = new Set<SessionId>();
  /** Bodies of evidence that peers signed and that opened no session yet. */
  readonly #signed = new Set<string>();
  readonly #accepted = new Set<string>();
  #fault: unknown;
  #theirs: Admission | undefined;

  constructor(a: MemoryNode, b: MemoryNode) {
    [this.a, this.b] = [a, b];
    const { clock, posture, accord, directory } = b;
    this.#overseer = new Overseer({ clock, log: silentLogger, posture, accord, directory });
    const onPeerLevel = this.#overseer.peerLevelChanged.bind(this.#overseer);
    const intends = ({ expectedId }: { readonly expectedId: string }): boolean => expectedId === a.spiffeId;
    this.honest = openDoor(b);
    this.hostile = openDoor(b, { onPeerLevel, intends, resume: claimed });
    const { enforcer } = this.hostile;
    for (const name of ['challenge', 'mayRenew', 'approach', 'setPeerLevel', 'release'] as const)
      this.#watch(enforcer, name);
    this.#watch(enforcer, 'admit', ({ id }, { evidence }) => {
      const body = hex(evidence.body);
      holds(this.#signed.delete(body), 'a session for what no peer signed, or signed for once only');
      this.#given.add(id);
    });
    this.#watch(enforcer, 'accept', ({ id }, { nonce }) => {
      holds(!this.#accepted.has(hex(nonce)), 'a grant was accepted twice');
      this.#accepted.add(hex(nonce));
      this.#given.add(id);
    });
  }

  /** The session of the honest terminator. */
  get theirs(): Admission {
    holds(this.#theirs !== undefined, 'no session at the honest terminator');
    return this.#theirs;
  }

  set theirs(admission: Admission) {
    this.#theirs = admission;
  }

  /** The first session of the hostile terminator that was given. */
  get own(): SessionId | undefined {
    return this.#given.values().next().value;
  }

  /** Honest evidence of a peer for the hostile terminator, and what it would make of the grant. */
  async attempt(options: AttemptOptions): Promise<Attempt | undefined> {
    const tried = await attempt(this.a, this.hostile.node, options).catch((error: unknown) => {
      if (error instanceof ShellstreamError) return undefined;
      throw error;
    });
    if (tried !== undefined) this.#signed.add(hex(tried.admit.evidence.body));
    return tried;
  }

  async fall(level: 1 | 2 | 3 | 4 | 5): Promise<void> {
    this.b.change(level);
    await this.#overseer.postureChanged();
  }

  /** What must hold whatever was said. */
  check(): void {
    if (this.#fault !== undefined) throw this.#fault;
    const { directory, overlay, dataplane, posture } = this.b;
    holds(directory.size <= LIMITS.sessions, 'more sessions than the node may hold');
    for (const { admission } of directory.all) {
      const isKnown = this.#given.has(admission.id) || admission.id === this.theirs.id;
      holds(isKnown, 'a session that no admission made');
    }
    const members = directory.all.filter(({ member }) => member !== undefined).length;
    holds(overlay.members.length === members, `${overlay.members.length} tunnels for ${members} sessions`);
    holds(dataplane.flows.sessions.length === members, 'flows of no session');
    for (const { spec } of overlay.members.filter((member) => member.spec.spiffeId === this.a.spiffeId)) {
      holds(hex(spec.publicKey) === hex(this.a.overlay.publicKey), 'a tunnel to a key that its peer did not sign for');
      holds(
        spec.visited.every(({ port }) => SIGNED_PORTS.has(port)),
        'a way to what no peer granted or offered',
      );
    }
    holds(this.hostile.node.nonces.pending <= MOST_NONCES, 'nonces without end');
    if (posture.level < 5) return;
    const theirs = directory.get(this.theirs.id);
    const isUntouched =
      theirs?.peerLevel === 5 && theirs.endsAtMs === undefined && this.honest.node.revoked.length === 0;
    holds(isUntouched, 'the session of another terminator was touched');
  }

  [Symbol.dispose](): void {
    this.#overseer[Symbol.dispose]();
    this.hostile.inside.close();
    this.honest.inside.close();
  }

  /** Whatever it throws but a refusal is a finding, and so is what `done` does not allow of an answer. */
  #watch<Name extends Question>(
    enforcer: Door['enforcer'],
    name: Name,
    done: (answer: Answer<Name>, input: Input<Name>) => void = () => undefined,
  ): void {
    const action = enforcer[name].bind(enforcer) as (...given: unknown[]) => Promise<Answer<Name>>;
    const watched = async (...given: unknown[]): Promise<Answer<Name>> => {
      try {
        const answer = await action(...given);
        done(answer, given[0] as Input<Name>);
        return answer;
      } catch (error) {
        if (!(error instanceof ShellstreamError)) this.#fault ??= error;
        else if (error.reason === 'INTERNAL') {
          this.#fault ??= new Violation(`a fault of ours in ${name}`, { cause: error });
        }
        throw error;
      }
    };
    Object.assign(enforcer, { [name]: watched });
  }
}

type Question = 'challenge' | 'admit' | 'mayRenew' | 'approach' | 'accept' | 'setPeerLevel' | 'release';
type Answer<Name extends Question> = Awaited<ReturnType<Door['enforcer'][Name]>>;
type Input<Name extends Question> = Parameters<Door['enforcer'][Name]>[0];

function hex(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString('hex');
}

/** What waits for nothing but promises comes to rest. */
export function settled(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}
