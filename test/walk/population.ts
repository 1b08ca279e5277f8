/** Everybody who holds a session in the walk: what they were granted, and what should have become of them. */
import type { Entry } from '../../certs-dev/index.ts';
import { TIERS, type Tier } from '../../protocol/capability/model.ts';
import type { PostureLevel } from '../../protocol/posture/level.ts';
import { GATEWAY_B } from '../lab/lab.ts';
import { watchMints } from '../lab/mints.ts';
import type { Site } from '../lab/site.ts';
import { Crowd } from './crowd.ts';
import { farewell, farewellOf, KINDS, type Kind, left, welcome } from './people.ts';
import { placesOf } from './street.ts';
import { LEVELS, TARGET_NAMES } from './table.ts';

export interface Newcomers {
  /** What differs from the table, as `NAME: expected, seen`. */
  readonly surprises: readonly string[];
  /** Audiences of the tokens that were minted for them, without those parts that differ from token to token. */
  readonly audiences: readonly string[];
}

interface Resident {
  readonly kind: Kind;
  readonly granted: readonly string[];
  readonly since: PostureLevel;
}

const GATEWAY = { address: '10.77.0.2', port: 7843 };

export class Population implements AsyncDisposable {
  /** By name: those whose sessions should live. */
  readonly #residents = new Map<string, Resident>();
  readonly #crowd: Crowd;
  readonly #people: ReadonlyMap<Tier, Entry>;
  readonly #mints: readonly (readonly string[])[];
  /** Sessions that were granted at each level so far. */
  readonly opened: Record<PostureLevel, number> = { 1: 0, 2: 0, 3: 0, 4: 0, 5: 0 };

  private constructor(site: Site, people: ReadonlyMap<Tier, Entry>) {
    this.#people = people;
    this.#mints = [...people.values()].map(watchMints);
    this.#crowd = new Crowd(site, GATEWAY, GATEWAY_B);
  }

  static async settle(site: Site): Promise<Population> {
    const entries = TIERS.map(async (tier) => [tier, await site.person({ path: `/people/${tier}`, tier })] as const);
    return new Population(site, new Map(await Promise.all(entries)));
  }

  get size(): number {
    return this.#residents.size;
  }

  socketOf(tier: Tier): string {
    const entry = this.#people.get(tier);
    if (entry === undefined) throw new Error(`there is no ${tier}`);
    return entry.socketPath;
  }

  /** Of each kind so many try to open a session at this level. */
  async admit(level: PostureLevel, label: string, count: (kind: Kind) => number): Promise<Newcomers> {
    const former = this.#mints.map(({ length }) => length);
    const newcomers = KINDS.flatMap((kind) =>
      Array.from({ length: count(kind) }, (_, index) => ({ kind, name: `${kind.name} ${label} ${index}` })),
    );
    const answers = await this.#crowd.open(
      newcomers.map(({ kind: { type, tier, mode, asks }, name }) => ({
        name,
        workloadApi: this.socketOf(tier),
        type,
        mode,
        capabilities: asks,
        targets: asks.includes('CONNECT') ? TARGET_NAMES.flatMap(placesOf) : [],
      })),
    );
    const surprises = newcomers.flatMap(({ kind, name }) => {
      const [expected, answer = 'nothing'] = [welcome(kind, level), answers.get(name)];
      if (answer !== expected) return [`${name}: ${expected}, ${answer}`];
      if (!answer.startsWith('POSTURE')) {
        this.#residents.set(name, { kind, granted: answer.split(' '), since: level });
        this.opened[level] += 1;
      }
      return [];
    });
    const minted = this.#mints.flatMap((audiences, index) => audiences.slice(former[index]));
    return { surprises, audiences: [...new Set(minted.map((audience) => audience.replace(/#.+/, '#…')))] };
  }

  /** Who does not see a fall to this level as the table says, as `NAME: expected, seen`. None: they are gone who should. */
  async strangeFarewells(level: PostureLevel): Promise<readonly string[]> {
    const fates = await this.#crowd.fates();
    const after = new Map<string, Resident>();
    const strange = [...this.#residents].flatMap(([name, resident]) => {
      const { kind, granted, since } = resident;
      const expected = farewell(kind, granted, level);
      const fate = fates.get(name);
      const seen = fate === undefined ? 'nothing' : farewellOf(fate);
      if (expected === 'stays') after.set(name, { ...resident, granted: left(kind, granted, level) });
      // Who came in by a token that may have been in a cache attests again.
      const attestations =
        expected === 'stays' && LEVELS[level].sat === 'fresh' && LEVELS[since].sat === 'cached' ? 2 : 1;
      if (seen !== expected) return [`${name}: ${expected}, ${seen}`];
      if ((fate?.attestations ?? 0) < attestations)
        return [`${name}: attested ${attestations} times, ${fate?.attestations}`];
      return [];
    });
    if (strange.length > 0) return strange;
    this.#residents.clear();
    for (const [name, resident] of after) this.#residents.set(name, resident);
    return [];
  }

  /** The targets that a session of a kind reaches by streams of its own, one after the other. */
  async reaches(kindName: string): Promise<readonly string[]> {
    const [name] = [...this.#residents].find(([, { kind }]) => kind.name === kindName) ?? [];
    if (name === undefined) throw new Error(`there is no ${kindName}`);
    const reached: string[] = [];
    for (const target of TARGET_NAMES) {
      for (const place of placesOf(target)) {
        const greeting = await this.#crowd.begin(name, place);
        if (!greeting.startsWith('hello')) continue;
        await this.#crowd.finish(name);
        reached.push(`${target} ${place.address.includes(':') ? 'v6' : 'v4'}`);
      }
    }
    return reached;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#crowd[Symbol.asyncDispose]();
  }
}
