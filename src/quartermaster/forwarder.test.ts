import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { ShellstreamError } from '../../protocol/errors.ts';
import { Lane, SUBMIT_LIMITS } from '../../protocol/quartermaster/index.ts';
import { type Logger, silentLogger } from '../base/logger.ts';
import { rest } from '../base/simulated-clock.ts';
import { EvidenceFolder, ORIGIN, sha256 } from '../evidence/fixtures.ts';
import { forgetLeftOut, forgetRecords } from '../evidence/retention.ts';
import type { Spool } from '../evidence/spool.ts';
import type { SpoolItem } from '../evidence/spool-items.ts';
import type { QuartermasterClient, QuartermasterLink } from './client.ts';
import { Depot, GATEWAY, mutationEntry, submission, transitEntry } from './fixtures.ts';
import { Forwarder } from './forwarder.ts';
import { memoryMarks } from './marks.ts';
import { spoolSource } from './spool-source.ts';
import type { Store } from './store.ts';

const DAY_MS = 86_400_000;
const LOG = { origin: ORIGIN, lane: Lane.LOG } as const;
const LEFT_OUT = { origin: ORIGIN, lane: Lane.LEFT_OUT } as const;
let folder: EvidenceFolder;
let spool: Spool;
let depot: Depot;
let store: Store;
let said: string[];
let forwarder: Forwarder;
let dials: number;
let connect: () => Promise<QuartermasterLink>;

beforeEach(() => {
  folder = new EvidenceFolder();
  spool = folder.spool();
  depot = new Depot();
  store = depot.store();
  said = [];
  dials = 0;
  connect = async () => linkTo(depot.service(store).as(GATEWAY));
});
afterEach(async () => {
  await forwarder[Symbol.asyncDispose]();
  await depot[Symbol.asyncDispose]();
  spool[Symbol.dispose]();
  folder[Symbol.dispose]();
});

describe('what is durable in the spool comes to Quartermaster', () => {
  test('in order, whatever its kind, and what comes later when the bell rings', async () => {
    append(3);
    leaveOut(2);
    start();
    await until(() => held(LOG) === 3 && held(LEFT_OUT) === 2);
    append(2);
    forwarder.wake();
    await until(() => held(LOG) === 5);
    expect(forwarder.status).toMatchObject({ acknowledged: 5, behind: 0, forgotten: 0, problem: undefined });
    expect(said).toEqual([]);
  });

  test('a backlog goes in batches, one at a time, none larger than a message', async () => {
    append(SUBMIT_LIMITS.entries * 2 + 10);
    const sizes: number[] = [];
    let inFlight = 0;
    const client = depot.service(store).as(GATEWAY);
    connect = async () =>
      linkTo({
        ...client,
        submit: async (request, options) => {
          inFlight += 1;
          expect(inFlight).toBe(1);
          sizes.push(request.entries?.length ?? 0);
          const answer = await client.submit(request, options);
          inFlight -= 1;
          return answer;
        },
      });
    start();
    await until(() => held(LOG) === spool.size);
    expect(sizes).toEqual([SUBMIT_LIMITS.entries, SUBMIT_LIMITS.entries, 10]);
  });

  test('records whose time was over go as the leaf that is left of them', async () => {
    append(4);
    leaveOut(2);
    spool.append([], { batched: 2 });
    expect([forgetRecords(spool, 2), forgetLeftOut(spool, sha256, 9)]).toEqual([2, 2]);
    start();
    await until(() => held(LOG) === 4 && held(LEFT_OUT) === 2);
    expect(store.reader.stored(store.reader.log(LOG)?.id ?? 0, 1)).toMatchObject({
      salt: null,
      content: expect.anything(),
    });
  });

  test('what the node has forgotten altogether is said to be gone', async () => {
    append(3);
    spool.forget((rows) => rows.forgetEntries(2));
    start();
    await until(() => held(LOG) === 3);
    expect(store.reader.stored(store.reader.log(LOG)?.id ?? 0, 1)).toMatchObject({ salt: null, content: null });
  });
});

describe('a Quartermaster that is not there', () => {
  test('for a day costs some attempts and one line of the log; then all of it is forwarded', async () => {
    const back = connect;
    connect = () => Promise.reject(new ShellstreamError('CONNECTION_LOST', 'no route'));
    append(40);
    const awaySinceMs = depot.clock.now();
    start();
    for (let hour = 0; hour < 24; hour += 1) {
      await depot.clock.advance(DAY_MS / 24);
      append(1);
      forwarder.wake();
    }
    expect(dials).toBeGreaterThan(24);
    expect(dials).toBeLessThan(24 * 12 * 2 + 20);
    expect(said).toEqual(['warn']);
    expect(forwarder.status).toMatchObject({ state: 'connecting', behind: 64, awaySinceMs });
    connect = back;
    await depot.clock.advance(300_000);
    await until(() => held(LOG) === 64);
    await until(() => forwarder.status.state === 'waiting');
    expect(forwarder.status).toMatchObject({ behind: 0, problem: undefined, awaySinceMs: undefined });
  });

  test('or that hangs: its call is given up', async () => {
    connect = async () => linkTo(withAnswers({ submit: (_, options) => aborted(options?.signal) }));
    append(1);
    start();
    await until(() => forwarder.status.state === 'forwarding');
    await depot.clock.advance(30_000);
    expect(forwarder.status).toMatchObject({ acknowledged: 0, problem: expect.stringContaining('no answer in time') });
  });
});

describe('a Quartermaster that cannot be trusted to remember', () => {
  test('attack: it acknowledged and lost everything: that is said, and all is sent again', async () => {
    append(5);
    start();
    await until(() => held(LOG) === 5);
    store[Symbol.dispose]();
    await depot[Symbol.asyncDispose]();
    const clock = depot.clock;
    depot = new Depot();
    store = depot.store();
    const empty = depot.service(store).as(GATEWAY);
    connect = async () => linkTo(empty);
    await clock.advance(60_000 * 3);
    await until(() => held(LOG) === 5, clock);
    expect(forwarder.status).toMatchObject({ forgotten: 1, acknowledged: 5, behind: 0 });
    expect(said.filter((line) => line === 'error')).toEqual(['error']);
  });

  test.each([
    ['more than this node ever wrote', 1],
    ['something else than this node wrote', 4],
  ])('attack: it holds %s: nothing is sent, and that is said', async (_, written) => {
    store.transact(() => store.put(submission(0, [transitEntry(-1), transitEntry(-2)]), 1));
    append(written);
    start();
    await until(() => forwarder.status.problem !== undefined);
    await depot.clock.advance(120_000);
    expect(forwarder.status.problem).toContain('EVIDENCE_FORK');
    expect(said[0]).toBe('error');
    expect(held(LOG)).toBe(2);
  });

  test.each([
    ['less than was sent', 0n],
    ['more than was sent', 9n],
    ['an absurd number', 2n ** 64n - 1n],
  ])('attack: it acknowledges %s: nothing counts, and it is asked again later', async (_, next) => {
    let submitted = 0;
    connect = async () =>
      linkTo(
        withAnswers({
          submit: async () => {
            submitted += 1;
            return { $typeName: 'shellstream.quartermaster.v1.SubmitResponse', next };
          },
        }),
      );
    append(3);
    start();
    await depot.clock.advance(300_000);
    expect(forwarder.status).toMatchObject({
      acknowledged: 0,
      behind: 3,
      problem: expect.stringContaining('MALFORMED'),
    });
    expect(submitted).toBeLessThan(20);
  });
});

function start(): void {
  const log: Logger = {
    ...silentLogger,
    warn: () => void said.push('warn'),
    error: () => void said.push('error'),
  };
  forwarder = Forwarder.start({
    origin: ORIGIN,
    source: spoolSource(() => spool),
    connect: () => {
      dials += 1;
      return connect();
    },
    marks: memoryMarks(),
    clock: depot.clock,
    log,
    random: () => 0.5,
  });
}

let numbered = 0;

function append(count: number): void {
  const items = Array.from({ length: count }, (_, i): SpoolItem => {
    numbered += 1;
    const { artifact } = (i % 2 === 0 ? transitEntry(numbered) : mutationEntry(numbered)).what.value;
    return { to: 'log', record: artifact, kind: 1, level: 3 };
  });
  spool.append(items);
}

function leaveOut(count: number): void {
  spool.append(
    Array.from({ length: count }, (_, i) => {
      return { to: 'left-out', record: transitEntry(i, 5).what.value.artifact, day: 1, level: 5 };
    }),
  );
}

function linkTo(client: QuartermasterClient): QuartermasterLink {
  return { client, [Symbol.dispose]: () => undefined };
}

function withAnswers(some: Partial<QuartermasterClient>): QuartermasterClient {
  return { ...depot.service(store).as(GATEWAY), ...some };
}

function held(log: typeof LOG | typeof LEFT_OUT): number {
  return store.reader.log(log)?.next ?? 0;
}

function aborted(signal: AbortSignal | undefined): Promise<never> {
  return new Promise((_, reject) => signal?.addEventListener('abort', () => reject(new Error('aborted'))));
}

async function until(holds: () => boolean, clock = depot.clock): Promise<void> {
  for (let turn = 0; turn < 200 && !holds(); turn += 1) {
    await clock.advance(20);
    await rest();
  }
  expect(holds()).toBe(true);
}
