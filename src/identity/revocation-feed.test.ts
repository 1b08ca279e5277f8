/** The feed of revocations over real mutual TLS between SVIDs: catching up, going on after a loss, and who cheats. */
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { memorySource, type TrustDomain } from '../../certs-dev/index.ts';
import { TemporaryDomains } from '../../certs-dev/testing.ts';
import { id, testIssuer } from '../../protocol/revocation/fixtures.ts';
import { parseStatement, type Revoked } from '../../protocol/revocation/index.ts';
import { eventually } from '../../test/support/eventually.ts';
import { nodeEd25519 } from '../base/ed25519.ts';
import { silentLogger } from '../base/logger.ts';
import { SimulatedClock } from '../base/simulated-clock.ts';
import { RevocationFeedClient, serveRevocationFeed } from './revocation-feed.ts';
import { RECORD_LIMITS } from './revocation-room.ts';
import { forgetfulRevocations, type OpenedRevocations } from './revocation-store.ts';
import { Revocations } from './revocations.ts';
import type { SpiffeTlsListener, SpiffeTlsParts } from './spiffe-tls.ts';
import { SvidVerifier } from './svid-verifier.ts';

/** Where no other test listens: a port that was given up for a while is still free. */
const HOST = '127.0.0.2';
const SERVER = id('spiffe://a.test/server');
const issuer = testIssuer('spiffe://a.test/revocation', 1);
const other = testIssuer('spiffe://a.test/revocation/night', 2);

let clock: SimulatedClock;
let cleanup: AsyncDisposableStack;
let domain: TrustDomain;
let ours: Revocations;
let theirs: Revocations;

beforeEach(async () => {
  cleanup = new AsyncDisposableStack();
  clock = new SimulatedClock(Math.floor(Date.now() / 1000) * 1000);
  domain = await cleanup.use(await TemporaryDomains.create(clock)).start('a.test');
  [ours, theirs] = [revocations(), revocations()];
});
afterEach(() => cleanup.disposeAsync());

describe('who comes late', () => {
  test('hears all that was said before, of every issuer, over more than a page, and the heartbeat that says so', async () => {
    await say(MANY);
    await theirs.offer(other.statement(1, person(0)));
    theirs.hear(issuer.heartbeat(MANY, clock.now()));
    theirs.hear(other.heartbeat(1, clock.now()));
    expect(ours.stale).toContain('silent');
    await follow((await serve()).address.port);
    await eventually('all of it', () => ours.documents.length === MANY + 1, FAST);
    await eventually('the heartbeats', () => ours.stale === undefined, FAST);
    expect(ours.find({ trustDomain: 'a.test', spiffeId: `spiffe://a.test/people/${MANY}` })).toMatchObject({
      number: MANY,
    });
  });

  test('after a loss asks for what is missing, and no more', async () => {
    await say(3);
    const first = await serve();
    const { port } = first.address;
    const client = await follow(port);
    await eventually('three', () => ours.documents.length === 3, FAST);
    await first[Symbol.asyncDispose]();
    await eventually('the loss', () => client.problem !== undefined, FAST);
    await say(5, 4);
    const asked: number[] = [];
    const from = theirs.from.bind(theirs);
    theirs.from = (of, number, most) => {
      if (of === issuer.issuer) asked.push(number);
      return from(of, number, most);
    };
    await serve(port);
    await eventually('five', () => later(() => ours.documents.length === 5), STEADY);
    expect(Math.min(...asked)).toBe(4);
  });

  test('what is said while it listens comes at once, through one that passes it on', async () => {
    const middle = revocations();
    await follow((await serve()).address.port, middle);
    await follow((await serve(0, middle, '/server')).address.port);
    await say(1);
    await eventually('the statement at the end of the chain', () => ours.documents.length === 1, FAST);
    expect(ours.documents).toEqual(theirs.documents);
  });
});

describe('attack: who serves the feed', () => {
  test('leaves a statement out: nothing behind the gap is taken, and the heartbeat tells that it is behind', async () => {
    await say(3);
    const from = theirs.from.bind(theirs);
    theirs.from = (...asked) => from(...asked).filter((signed) => parseStatement(signed).content.number !== 2);
    theirs.hear(issuer.heartbeat(3, clock.now()));
    const client = await follow((await serve()).address.port);
    await eventually('the gap', () => later(() => client.problem?.includes('GAP') === true), STEADY);
    expect(ours.documents).toHaveLength(1);
    expect(ours.stale).toContain('behind');
  });

  test('adds a statement of its own: refused by its signature, and the feed is given up until it is dialled again', async () => {
    const forged = testIssuer(issuer.issuer, 9).statement(1, person(1));
    theirs.from = (of, number) => (of === issuer.issuer && number === 1 ? [forged] : []);
    theirs.hear(issuer.heartbeat(0, clock.now()));
    const client = await follow((await serve()).address.port);
    await eventually('the refusal', () => client.problem?.includes('BAD_SIGNATURE') === true, FAST);
    expect(ours.documents).toEqual([]);
  });

  test('is another identity of the domain: not listened to', async () => {
    await say(1);
    const { address } = await serve(0, theirs, '/impostor');
    const client = await follow(address.port);
    await eventually('the refusal', () => client.problem?.includes('WRONG_IDENTITY') === true, FAST);
    expect(ours.documents).toEqual([]);
  });

  test('is asked by somebody who may not hear: turned away', async () => {
    await say(1);
    const { address } = await serve(0, theirs, '/server', false);
    const client = await follow(address.port);
    await eventually('the end', () => client.problem !== 'not connected yet', FAST);
    await later(() => true);
    expect(ours.documents).toEqual([]);
  });
});

describe('who hears while its disk or an effect hangs', () => {
  const never = new Promise<void>(() => undefined);

  test.each<[string, () => Revocations]>([
    ['a disk', () => revocations({ ...forgetfulRevocations(), store: { save: () => never } })],
    [
      'an effect',
      () => {
        const made = revocations();
        made.onTaken(() => never);
        return made;
      },
    ],
  ])(
    '%s: takes all that is said, more than it waits for at a time, dials again after a loss, and can be stopped',
    async (_, make) => {
      ours = make();
      await say(MANY);
      const first = await serve();
      const client = await follow(first.address.port);
      await eventually('all of it', () => later(() => ours.documents.length === MANY), STEADY);
      expect(ours.find({ trustDomain: 'a.test', spiffeId: `spiffe://a.test/people/${MANY}` })).toBeDefined();
      await first[Symbol.asyncDispose]();
      await say(MANY + 1, MANY + 1);
      await serve(first.address.port);
      await eventually('what came after the loss', () => later(() => ours.documents.length === MANY + 1), STEADY);
      let isStopped = false;
      const stopping = client[Symbol.asyncDispose]().then(() => {
        isStopped = true;
      });
      await eventually('the stop', () => later(() => isStopped), STEADY);
      await stopping;
    },
  );

  test('dials again at once: what hangs is not waited for', async () => {
    ours = revocations({ ...forgetfulRevocations(), store: { save: () => never } });
    await say(1);
    const first = await serve();
    await follow(first.address.port);
    await eventually('one', () => ours.documents.length === 1, FAST);
    await first[Symbol.asyncDispose]();
    await say(2, 2);
    await serve(first.address.port);
    const before = clock.monotonic();
    await eventually('two', () => later(() => ours.documents.length === 2), UNHURRIED);
    expect(clock.monotonic() - before).toBeLessThan(5_000);
    // What is pending is given up, so that the test can end.
    await clock.advance(60_000);
  });
});

describe('attack: an issuer that says more than it may', () => {
  test('keeps nobody from hearing the others on the same feed', async () => {
    const room = { ...RECORD_LIMITS, statementsOfIssuer: 2 };
    ours = revocations({ ...forgetfulRevocations(), limits: room });
    await say(9);
    await theirs.offer(other.statement(1, person(0)));
    const client = await follow((await serve()).address.port);
    await eventually('the other', () => later(() => ours.documents.length === 3), STEADY);
    expect(ours.from(other.issuer, 1, 9)).toHaveLength(1);
    theirs.hear(other.heartbeat(1, clock.now()));
    await eventually('its heartbeat', () => ours.heartbeatOf(other.issuer) !== undefined, FAST);
    expect([client.problem, ours.issuers[0]?.stale]).toEqual([undefined, 'behind']);
  });
});

/** More than the feed looks at in one turn. */
const MANY = 300;
/** Asked often: nothing here takes long. */
const FAST = { everyMs: 5 };
/** While time goes on, which must not overtake a handshake between real sockets: that may take 5 s of it. */
const STEADY = { everyMs: 10 };
const UNHURRIED = { everyMs: 100 };

function revocations(opened: OpenedRevocations = forgetfulRevocations()): Revocations {
  return new Revocations({
    keys: [issuer, other].map(({ issuer: name, publicKey }) => ({ issuer: name, publicKey })),
    localSite: 'a.test',
    staleMs: 10_000,
    opened,
    ed25519: nodeEd25519,
    clock,
    log: silentLogger,
  });
}

/** Statements of the issuer up to `last`, at who serves. */
async function say(last: number, first = 1): Promise<void> {
  for (let number = first; number <= last; number += 1) await theirs.offer(issuer.statement(number, person(number)));
}

function person(number: number): Revoked {
  return { kind: 'identity', identity: id(`spiffe://a.test/people/${number}`) };
}

async function serve(port = 0, of = theirs, path = '/server', isOpen = true): Promise<SpiffeTlsListener> {
  const tls = await endOf(path);
  const parts = { tls, revocations: of, address: { host: HOST, port }, accepts: () => isOpen, log: silentLogger };
  const listener = await serveRevocationFeed(parts);
  // One that a test took away itself is closed already.
  let isGone = false;
  const end = async (): Promise<void> => {
    if (!isGone) await listener[Symbol.asyncDispose]();
    isGone = true;
  };
  cleanup.defer(end);
  return { address: listener.address, [Symbol.asyncDispose]: end };
}

async function follow(port: number, of = ours): Promise<RevocationFeedClient> {
  const tls = await endOf('/listener');
  const address = { host: HOST, port };
  const log = silentLogger;
  return cleanup.use(
    new RevocationFeedClient({ tls, revocations: of, address, spiffeId: SERVER, log, random: () => 0.5 }),
  );
}

async function endOf(path: string): Promise<SpiffeTlsParts> {
  const identity = memorySource(
    domain,
    await domain.register({ path, socket: `${path.slice(1)}-${++ends}.sock` }),
    clock,
  );
  return { identity, svids: new SvidVerifier({ bundles: () => identity.bundles, clock }), clock };
}
let ends = 0;

/** Time goes on while something is waited for. */
async function later(holds: () => boolean): Promise<boolean> {
  await clock.advance(100);
  return holds();
}
