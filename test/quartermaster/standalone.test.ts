/** `shellstream quartermaster` as its users have it: a process, mutual TLS, its socket, and SIGKILL. */
import { afterEach, beforeEach, expect, test } from 'vitest';
import { reasonOf } from '../../protocol/errors.ts';
import { EvidenceFolder, ORIGIN } from '../../src/evidence/fixtures.ts';
import type { Spool } from '../../src/evidence/spool.ts';
import { linkBySpiffe } from '../../src/quartermaster/client.ts';
import { mutationEntry, submitRequest, transitEntry } from '../../src/quartermaster/fixtures.ts';
import type { Forwarder } from '../../src/quartermaster/forwarder.ts';
import { fromConnectError } from '../../src/quartermaster/refusal.ts';
import { eventually } from '../support/eventually.ts';
import { run } from '../support/processes.ts';
import { forwardTo, type QuartermasterProcess, sequences, spiffeId, Town } from './depot.ts';

let town: Town;
let folder: EvidenceFolder;
let spool: Spool;
let quartermaster: QuartermasterProcess;
let cleanup: AsyncDisposableStack;

beforeEach(async () => {
  cleanup = new AsyncDisposableStack();
  folder = cleanup.use(new EvidenceFolder());
  spool = cleanup.use(folder.spool());
  town = cleanup.use(await Town.create());
  quartermaster = await town.start('one');
});
afterEach(() => cleanup.disposeAsync());

test('killed while a gateway forwards, it lost nothing that it had acknowledged, and gets the rest once', async () => {
  const { tls } = await town.end('/gateway');
  append(0, 12_000);
  const forwarder = cleanup.use(forwardTo(tls, spool, [quartermaster]));
  await eventually('some of it is acknowledged', () => forwarder.status.acknowledged > 1_000);
  await quartermaster.kill();
  expect(forwarder.status.acknowledged).toBeLessThan(12_000);
  await quartermaster.start();
  await caughtUp(forwarder);
  expect(forwarder.status.forgotten).toBe(0);
  const auditor = await town.end('/audit/one');
  expect(await sequences(auditor.tls, quartermaster)).toEqual(Array.from({ length: 12_000 }, (_, at) => at));
});

test('an auditor asks from another host, the console by the socket; both see the bytes that were recorded', async () => {
  const { tls } = await town.end('/gateway');
  append(0, 3);
  await caughtUp(cleanup.use(forwardTo(tls, spool, [quartermaster])));
  const auditor = await town.end('/audit/one');
  const { address, spiffeId: id } = quartermaster.remote;
  const remote = [
    '--remote',
    `${address.host}:${address.port}`,
    '--id',
    id,
    '--workload-api',
    auditor.entry.socketPath,
  ];
  const [far, near] = [await query('--level', '3', ...remote), await query('--level', '3')];
  expect(far).toEqual(near);
  expect(near).toMatchObject(
    [0, 2].map((sequence) => {
      return { sequence, record: Buffer.from(transitEntry(sequence).what.value.artifact).toString('base64') };
    }),
  );
});

test('attack: a stranger, the wrong caller, a stolen origin, and somebody in Quartermaster’s place', async () => {
  const request = submitRequest(0, [transitEntry(1)]);
  const stranger = await town.end('/nobody');
  expect(await refusal(stranger.tls, (client) => client.submit(request))).toBe('CONNECTION_LOST');
  const auditor = await town.end('/audit/one');
  expect(await refusal(auditor.tls, (client) => client.submit(request))).toBe('WRONG_IDENTITY');
  const gateway = await town.end('/gateway');
  expect(await refusal(gateway.tls, (client) => client.query({}))).toBe('CAPABILITY_NOT_GRANTED');
  const stolen = submitRequest(0, [transitEntry(1)], { origin: 'beta.example/evidence' });
  expect(await refusal(gateway.tls, (client) => client.submit(stolen))).toBe('WRONG_IDENTITY');
  const place = { ...quartermaster.remote, spiffeId: spiffeId('spiffe://q.test/other') };
  await expect(linkBySpiffe(gateway.tls, place, AbortSignal.timeout(30_000))).rejects.toThrow('WRONG_IDENTITY');
});

test('attack: a message over the limit is refused, and the next call is served', async () => {
  const { tls } = await town.end('/gateway');
  using link = await linkBySpiffe(tls, quartermaster.remote, AbortSignal.timeout(30_000));
  const large = { what: { case: 'leaf' as const, value: new Uint8Array(3 << 20) } };
  await expect(link.client.submit(submitRequest(0, [large]))).rejects.toThrow();
  using again = await linkBySpiffe(tls, quartermaster.remote, AbortSignal.timeout(30_000));
  // A client may be as patient as it likes.
  const patient = { timeoutMs: 600_000 };
  expect((await again.client.submit(submitRequest(0, [transitEntry(1)]), patient)).next).toBe(1n);
});

type Client = Awaited<ReturnType<typeof linkBySpiffe>>['client'];

async function refusal(tls: Parameters<typeof linkBySpiffe>[0], call: (client: Client) => Promise<unknown>) {
  using link = await linkBySpiffe(tls, quartermaster.remote, AbortSignal.timeout(30_000));
  try {
    await call(link.client);
  } catch (error) {
    return reasonOf(fromConnectError(error, 'it'));
  }
  throw new Error('it was not refused');
}

function append(first: number, count: number): void {
  for (let at = first; at < first + count; at += 1_000) {
    const numbers = Array.from({ length: Math.min(1_000, first + count - at) }, (_, i) => at + i);
    spool.append(
      numbers.map((number) => {
        const { artifact } = (number % 2 === 0 ? transitEntry(number) : mutationEntry(number)).what.value;
        return { to: 'log', record: artifact, kind: 1, level: 3 };
      }),
    );
  }
}

async function caughtUp(forwarder: Forwarder): Promise<void> {
  await eventually('all is acknowledged', () => forwarder.status.behind === 0 && forwarder.status.acknowledged > 0, {
    withinMs: 30_000,
  });
}

/** By the command line, as a person would. */
async function query(...options: string[]): Promise<unknown[]> {
  const program = new URL('../../src/roots/shellstream.ts', import.meta.url).pathname;
  const place = options.includes('--remote') ? [] : ['--socket', quartermaster.socket];
  const args = [program, 'evidence', 'query', '--json', '--origin', ORIGIN, ...place, ...options];
  const { stdout } = await run(process.execPath, args);
  const lines: unknown[] = stdout
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line));
  return lines;
}
