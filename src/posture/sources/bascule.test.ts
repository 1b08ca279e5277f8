import { Code } from '@connectrpc/connect';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { memorySource, type TrustDomain } from '../../../certs-dev/index.ts';
import { TemporaryDomains } from '../../../certs-dev/testing.ts';
import { Outcome } from '../../../protocol/gen/shellstream/bascule/v1/bascule_pb.ts';
import { parseSpiffeId, type SpiffeId } from '../../../protocol/identity/spiffe-id.ts';
import { BasculeServer } from '../../../test/support/bascule-server.ts';
import { eventually } from '../../../test/support/eventually.ts';
import { silentLogger } from '../../base/logger.ts';
import { SimulatedClock } from '../../base/simulated-clock.ts';
import { SvidVerifier } from '../../identity/index.ts';
import type { SpiffeTlsParts } from '../../identity/spiffe-tls.ts';
import { PostureEngine } from '../engine.ts';
import { Bascule, type BasculeParts } from './bascule.ts';

/** Where no other test listens: a port that was given up for a while is still free. */
const HOST = '127.0.0.3';
let clock: SimulatedClock;
let cleanup: AsyncDisposableStack;
let domain: TrustDomain;
let engine: PostureEngine;
let server: BasculeServer;

beforeEach(async () => {
  cleanup = new AsyncDisposableStack();
  clock = new SimulatedClock(Math.floor(Date.now() / 1000) * 1000);
  domain = await cleanup.use(await TemporaryDomains.create(clock)).start('a.test');
  const store = { save: async () => undefined };
  engine = new PostureEngine({ clock, log: silentLogger, store, initial: 5, firstEpoch: 1n });
  server = cleanup.use(new BasculeServer(await endOf('/bascule')));
});
afterEach(() => cleanup.disposeAsync());

describe('the stream', () => {
  test('moves the level, and an expiry gives it back', async () => {
    await watching();
    server.say({ level: 3, epoch: 1n, lifetimeMs: 60_000n, reason: 'drill' });
    await level(3);
    expect(engine.sources).toMatchObject([{ source: 'bascule', level: 3, epoch: 1n, reason: 'drill' }]);
    await clock.advance(60_000);
    expect(engine.level).toBe(5);
  });

  test('says where it stands to whoever comes later', async () => {
    server.say({ level: 2, epoch: 7n, reason: 'before' });
    await watching();
    await level(2);
  });

  test.each([0, 6, 77, 4_294_967_295])('level %i makes no sense, and counts as lockdown', async (raw) => {
    await watching();
    server.say({ level: raw, epoch: 1n, reason: 'x' });
    await level(1);
  });

  test('attack: an older epoch played again is refused and counted', async () => {
    const { bascule } = await watching();
    server.say({ level: 2, epoch: 8n, reason: 'x' });
    await level(2);
    server.say({ level: 5, epoch: 7n, reason: 'x' });
    server.say({ level: 5, epoch: 8n, reason: 'x' });
    await eventually('both refused', async () => bascule.health.counts.stale === 2, FAST);
    expect([engine.level, bascule.health.problem]).toEqual([2, expect.stringContaining('stale')]);
    server.say({ level: 2, epoch: 9n, reason: 'x' });
    await eventually('its next word', async () => bascule.health.problem === undefined, FAST);
  });

  test('attack: a message of any size is cut off at 4 KiB; what was said stands', async () => {
    const { bascule } = await watching();
    server.say({ level: 2, epoch: 1n, reason: 'x' });
    await level(2);
    server.say({ level: 5, epoch: 2n, reason: 'x'.repeat(100_000) });
    await eventually('the stream given up', async () => bascule.health.stream === 'lost', FAST);
    expect(engine.level).toBe(2);
  });

  test('a statement without an epoch, or for no time, is counted; the stream goes on', async () => {
    const { bascule } = await watching();
    server.say({ level: 5, epoch: 0n, reason: 'x' });
    server.say({ level: 5, epoch: 9n, lifetimeMs: 0n, reason: 'x' });
    server.say({ level: 4, epoch: 1n, reason: 'x' });
    await level(4);
    expect(bascule.health.counts).toMatchObject({ malformed: 2, accepted: 1 });
  });

  test('attack: words cannot forge a line on a terminal', async () => {
    await watching();
    server.say({ level: 4, epoch: 1n, reason: 'a\nb\u001b[2J' });
    await level(4);
    expect(engine.sources[0]?.reason).toBe('a\u{fffd}b\u{fffd}[2J');
  });
});

describe('Bascule gone', () => {
  test('leaves what it said, until its expiry; it is dialled again, and heard', async () => {
    const { bascule, port } = await watching();
    server.say({ level: 2, epoch: 1n, lifetimeMs: 3_600_000n, reason: 'x' });
    await level(2);
    await server.die();
    await eventually('the loss', async () => bascule.health.stream === 'lost', FAST);
    expect([engine.level, bascule.health.problem]).toEqual([2, expect.any(String)]);
    server.say({ level: 3, epoch: 2n, reason: 'back' });
    await server.start(HOST, port);
    await eventually('the new word', () => later(() => engine.level === 3), STEADY);
    expect(bascule.health).toMatchObject({ stream: 'watching', problem: undefined });
  });

  test('is dialled with growing pauses, not in a loop', async () => {
    await server.start(HOST, 0).then(() => server.die());
    const { bascule } = await watching({ serves: false });
    const pauses: number[] = [];
    for (let turn = 0; turn < 8; turn += 1) {
      await eventually('a pause', async () => bascule.health.stream === 'lost' && pause() !== undefined, FAST);
      const ms = pause() ?? 0;
      pauses.push(ms);
      await clock.advance(ms);
    }
    expect(pauses).toEqual([75, 150, 300, 600, 1_200, 2_400, 3_750, 3_750]);
  });

  test('that comes back and says the same again changes nothing, nor what was set aside', async () => {
    const { bascule, port } = await watching();
    server.say({ level: 2, epoch: 1n, reason: 'x' });
    await level(2);
    await engine.setAside('bascule');
    await server.die();
    await server.start(HOST, port);
    await eventually('the same word', () => later(() => bascule.health.counts.known === 1), STEADY);
    expect(engine.level).toBe(5);
  });
});

describe('who is not Bascule', () => {
  test('attack: another identity of the domain at its address is not listened to', async () => {
    const impostor = cleanup.use(new BasculeServer(await endOf('/impostor')));
    const port = await impostor.start(HOST, 0);
    impostor.say({ level: 5, epoch: 99n, reason: 'x' });
    const bascule = await start({ address: { host: HOST, port } });
    await eventually('the refusal', async () => bascule.health.stream === 'lost', FAST);
    expect([bascule.health.problem, impostor.watchers, engine.sources]).toEqual([
      expect.stringContaining('WRONG_IDENTITY'),
      [],
      [],
    ]);
  });

  test('attack: another identity of the domain announces nothing', async () => {
    const bascule = await start({ push: { host: HOST, port: 0 } });
    const impostor = cleanup.use(new BasculeServer(await endOf('/impostor')));
    const announced = impostor.announce(HOST, bascule.pushPort ?? 0, { level: 5, epoch: 9n, reason: 'x' });
    await expect(announced).rejects.toThrow();
    expect([bascule.health.counts.strangers, engine.sources]).toEqual([1, []]);
  });
});

describe('a push', () => {
  test('moves the level, and is answered once it is followed', async () => {
    const bascule = await start({ push: { host: HOST, port: 0 } });
    const say = (level: number, epoch: bigint): Promise<Outcome> =>
      server.announce(HOST, bascule.pushPort ?? 0, { level, epoch, reason: 'x' });
    expect([await say(2, 5n), engine.level]).toEqual([Outcome.ACCEPTED, 2]);
    expect([await say(2, 5n), await say(5, 4n), engine.level]).toEqual([Outcome.KNOWN, Outcome.STALE, 2]);
  });

  test('and the stream are one source: their epochs are one row', async () => {
    const { bascule } = await watching({ push: { host: HOST, port: 0 } });
    server.say({ level: 2, epoch: 8n, reason: 'x' });
    await level(2);
    const outcome = await server.announce(HOST, bascule.pushPort ?? 0, { level: 5, epoch: 8n, reason: 'x' });
    expect([outcome, engine.level]).toEqual([Outcome.STALE, 2]);
  });

  test('that makes no sense is refused as such', async () => {
    const bascule = await start({ push: { host: HOST, port: 0 } });
    const nonsense = server.announce(HOST, bascule.pushPort ?? 0, { level: 5, epoch: 0n, reason: 'x' });
    await expect(nonsense).rejects.toMatchObject({ code: Code.InvalidArgument });
    const huge = server.announce(HOST, bascule.pushPort ?? 0, { level: 5, epoch: 1n, reason: 'x'.repeat(99_999) });
    await expect(huge).rejects.toMatchObject({ code: Code.ResourceExhausted });
    expect(engine.sources).toEqual([]);
  });
});

const FAST = { everyMs: 2 };
/** While time goes on, which must not overtake a handshake between real sockets: that may take 5 s of it. */
const STEADY = { everyMs: 20 };

async function endOf(path: string): Promise<SpiffeTlsParts> {
  const entry = await domain.register({ path, x509TtlMs: 24 * 3_600_000 });
  const identity = memorySource(domain, entry, clock);
  return { identity, svids: new SvidVerifier({ bundles: () => identity.bundles, clock }), clock };
}

async function start(parts: Pick<BasculeParts, 'address' | 'push'>): Promise<Bascule> {
  return cleanup.use(
    await Bascule.start({
      ...parts,
      tls: await endOf('/gateway'),
      spiffeId: id('spiffe://a.test/bascule'),
      log: silentLogger,
      random: () => 0.5,
      hear: (statement) => engine.hear(statement),
    }),
  );
}

async function watching(options: { readonly serves?: boolean; readonly push?: BasculeParts['push'] } = {}) {
  const port = await server.start(HOST, 0);
  if (options.serves === false) await server.die();
  const bascule = await start({ address: { host: HOST, port }, push: options.push });
  if (options.serves !== false) await eventually('a watcher', async () => server.watchers.length > 0, FAST);
  return { bascule, port };
}

async function level(wanted: number): Promise<void> {
  await eventually(`level ${wanted}`, async () => engine.level === wanted, FAST);
}

/** The pause before the next dial: what is left to wait that is shorter than a handshake may take. */
function pause(): number | undefined {
  return clock.pending.find((ms) => ms < 5_000);
}

/** Time goes on while something is waited for. */
async function later(holds: () => boolean): Promise<boolean> {
  await clock.advance(100);
  return holds();
}

function id(text: string): SpiffeId {
  const parsed = parseSpiffeId(text);
  if (parsed === undefined) throw new Error(`${text} is no SPIFFE ID`);
  return parsed;
}
