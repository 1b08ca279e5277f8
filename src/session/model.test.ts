/**
 * Two gateways and their visitors under random events, against a small model of what must live. After each walk has
 * settled, the data planes hold the live sessions' objects and nothing else.
 */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { PostureLevel } from '../../protocol/posture/index.ts';
import { MANAGEMENT, NOTHING } from '../../test/support/memory-nodes.ts';
import { MemorySites, type Visitor } from '../../test/support/memory-sites.ts';

type Event =
  | { readonly kind: 'posture'; readonly at: 'a' | 'b'; readonly level: PostureLevel }
  | { readonly kind: 'visit'; readonly type: 'management' | 'operator' }
  | { readonly kind: 'leave' | 'drain' | 'close' | 'cut' | 'rotate' | 'network down' | 'network up' }
  | { readonly kind: 'time'; readonly ms: number };

const event: fc.Arbitrary<Event> = fc.oneof(
  fc.record({
    kind: fc.constant('posture' as const),
    at: fc.constantFrom('a' as const, 'b' as const),
    level: fc.constantFrom<PostureLevel>(1, 2, 3, 4, 5),
  }),
  fc.record({ kind: fc.constant('visit' as const), type: fc.constantFrom('management' as const, 'operator' as const) }),
  fc.record({
    kind: fc.constantFrom(
      'leave' as const,
      'drain' as const,
      'close' as const,
      'cut' as const,
      'rotate' as const,
      'network down' as const,
      'network up' as const,
    ),
  }),
  fc.record({ kind: fc.constant('time' as const), ms: fc.constantFrom(0, 5, 300, 700, 5_000, 12_000) }),
);

/** Which sessions live, by the rules of the requirements alone. */
class Model {
  readonly level = { a: 5, b: 5 };
  isUp = true;
  readonly visitors = new Map<Visitor, 'management' | 'operator'>();
  /** Whom the level said last ends, once it is reached. */
  readonly #leaving = new Map<Visitor, 'management' | 'operator'>();
  /** Whom a level would have ended that was taken back before it was reached: either is right. */
  readonly spared = new Map<Visitor, 'management' | 'operator'>();

  /** The mesh is kept down to 2, and comes back by itself, or where it was held when it is released. */
  get hasMesh(): boolean {
    return this.isUp && Math.min(this.level.a, this.level.b) >= 2;
  }

  /** @param reached the level that the site has reached of those said before */
  setLevel(at: 'a' | 'b', level: PostureLevel, reached: PostureLevel): void {
    if (at === 'b') {
      if (reached > this.level.b) for (const [visitor, type] of this.#leaving) this.spared.set(visitor, type);
      this.#leaving.clear();
      for (const [visitor, type] of [...this.visitors, ...this.spared]) {
        if (level > 2 || (level === 2 && type === 'management')) continue;
        this.visitors.delete(visitor);
        this.spared.delete(visitor);
        this.#leaving.set(visitor, type);
      }
    }
    this.level[at] = level;
  }

  /** A visitor stands at level 5 itself. */
  lets(type: 'management' | 'operator'): boolean {
    return this.isUp && (type === 'management' ? this.level.b >= 2 : this.level.b >= 3);
  }
}

describe('sessions under random events', () => {
  it('live as the model says, and the data planes hold what is theirs and nothing else', async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(event, { minLength: 1, maxLength: 14 }), async (events) => {
        await using sites = await MemorySites.connected();
        const model = new Model();
        for (const one of events) await happen(sites, model, one);
        await settle(sites, model);
        await compare(sites, model);
      }),
      { numRuns: 25, interruptAfterTimeLimit: 25_000 },
    );
  }, 60_000);

  it('attack: a level that changes while a session opens is told to the peer', async () => {
    await using sites = await MemorySites.connected();
    const model = new Model();
    const levels: readonly PostureLevel[] = [1, 4, 5];
    for (const level of levels) {
      await happen(sites, model, { kind: 'posture', at: 'a', level });
      if (level === 1) await sites.clock.advance(0);
    }
    await settle(sites, model);
    await compare(sites, model);
  });
});

async function happen(sites: MemorySites, model: Model, one: Event): Promise<void> {
  const { a, b } = sites;
  switch (one.kind) {
    case 'posture':
      model.setLevel(one.at, one.level, sites[one.at].gateway.posture.level);
      // Not awaited: the next event comes into the middle of it.
      void sites[one.at].gateway.posture.state('console', one.level, 'model');
      return;
    case 'visit':
      await visit(sites, model, one.type);
      return;
    case 'leave': {
      const [first] = model.visitors.keys();
      if (first === undefined) return;
      model.visitors.delete(first);
      first.session.end('CLOSED');
      return;
    }
    case 'drain':
      model.visitors.clear();
      for (const session of b.gateway.registry.all) session.drain('OPERATOR_DRAIN', 1_000);
      return;
    case 'close':
      model.visitors.clear();
      void b.gateway.registry.endAll('CLOSED');
      return;
    case 'cut':
      model.visitors.clear();
      sites.internet.cut();
      return;
    case 'rotate':
      a.entry.rotate();
      a.source.refresh();
      return;
    case 'network down':
      model.isUp = false;
      model.visitors.clear();
      sites.internet.isUp = false;
      sites.internet.cut();
      return;
    case 'network up':
      model.isUp = true;
      sites.internet.isUp = true;
      return;
    case 'time':
      await sites.clock.advance(one.ms);
      return;
  }
}

async function visit(sites: MemorySites, model: Model, type: 'management' | 'operator'): Promise<void> {
  const isExpected = model.lets(type);
  // Posture is on its way to the enforcer, which alone decides: only a settled one is compared.
  await sites.until('posture followed', () => sites.b.gateway.posture.level === model.level.b);
  await sites.clock.advance(0);
  const visitor = await sites.visitor(type, [MANAGEMENT], `/visitor-${model.visitors.size}`).catch(() => undefined);
  expect(visitor !== undefined, `${type} at level ${model.level.b}`).toBe(isExpected);
  if (visitor !== undefined) model.visitors.set(visitor, type);
}

/** Longer than any backoff, drain, last word or handshake takes. */
async function settle(sites: MemorySites, model: Model): Promise<void> {
  for (let i = 0; i < 4; i++) {
    // A lockdown of site-b that it heard of keeps site-a from dialling until somebody says otherwise.
    await sites.release();
    await sites.clock.advance(16_000);
  }
  const expected = model.hasMesh ? 1 : 0;
  await sites.until('the mesh as the model has it', () => sites.a.gateway.registry.size === expected, 1_000);
}

async function compare(sites: MemorySites, model: Model): Promise<void> {
  const { a, b } = sites;
  const isLive = ({ session }: Visitor): boolean => session.state !== 'ended';
  expect([...model.visitors.keys()].every(isLive), 'visitors').toBe(true);
  const live = [...model.visitors.keys(), ...model.spared.keys()].filter(isLive).length;
  const mesh = model.hasMesh ? 1 : 0;
  expect([a.gateway.registry.size, b.gateway.registry.size]).toEqual([mesh, mesh + live]);
  expect([a.gateway.posture.level, b.gateway.posture.level]).toEqual([model.level.a, model.level.b]);
  if (mesh === 1) {
    const [atA] = a.gateway.registry.all;
    const atB = b.gateway.registry.get(atA?.id ?? '');
    const effective = Math.min(model.level.a, model.level.b);
    expect([atA?.effectiveLevel, atB?.effectiveLevel, atB?.peerLevel]).toEqual([effective, effective, model.level.a]);
  }
  const [atA, atB] = [await a.footprint(), await b.footprint()];
  const held = { ...NOTHING, sessions: mesh, policies: mesh * 2, peers: mesh };
  // At level 2 of its own a dialler's routes lead to management, of which there is none behind the tunnel here; the way back stays.
  const routes = model.level.a === 2 ? 1 : 2;
  expect(atA).toEqual({ ...held, sources: mesh * 2, routes: mesh * routes });
  expect(atB).toEqual({ ...held, sources: mesh, routes: mesh });
  for (const { log } of [a, b]) {
    expect(log.filter(({ message }) => /not fully|step failed|did not follow/.test(message))).toEqual([]);
  }
}
