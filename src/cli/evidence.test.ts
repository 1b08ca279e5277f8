import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { ORIGIN } from '../evidence/fixtures.ts';
import { consoleCaller } from '../quartermaster/access.ts';
import { Depot, GATEWAY, mutationEntry, submitRequest, transitEntry } from '../quartermaster/fixtures.ts';
import { FakeWorld } from './fixtures.ts';

let world: FakeWorld;
let depot: Depot;

beforeEach(async () => {
  world = new FakeWorld();
  depot = new Depot();
  const service = depot.service(depot.store());
  const transits = [5, 3, 3].map((level, at) => transitEntry(at, level));
  await service.as(GATEWAY).submit(submitRequest(0, [...transits, mutationEntry(9)]));
  const client = service.by(consoleCaller(0, 'site_owner'));
  world.quartermaster = async () => ({ client, [Symbol.asyncDispose]: async () => undefined });
});
afterEach(() => depot[Symbol.asyncDispose]());

describe('evidence query', () => {
  test('all transits while at level 3, one JSON object a line, with the bytes that were hashed', async () => {
    const { code, out } = await world.run('evidence', 'query', '--level', '3', '--json');
    const lines = out
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line));
    expect([code, lines.map(({ sequence }) => sequence)]).toEqual([0, [1, 2]]);
    expect(lines[0]).toMatchObject({
      origin: ORIGIN,
      kind: 'sessionTransit',
      session: `${'0'.repeat(31)}1`,
      record: Buffer.from(transitEntry(1, 3).what.value.artifact).toString('base64'),
      artifact: { sessionTransit: { postureLevelAtTransit: 3 } },
    });
  });

  test('as a table, in the order and number asked for', async () => {
    const { out } = await world.run('evidence', 'query', '--newest', '--limit', '2');
    const [header = '', ...rows] = out.trim().split('\n');
    expect(header).toMatch(/^TIME +LEVEL +KIND/);
    expect(rows.map((row) => /networkMutation|sessionTransit/.exec(row)?.[0])).toEqual([
      'networkMutation',
      'sessionTransit',
    ]);
  });

  test('goes to this host’s Quartermaster, or to another one’s by its identity', async () => {
    await world.run('evidence', 'query', '--instance', 'b', '--session', '0'.repeat(32));
    await world.run('evidence', 'query', '--remote', '[fd00::1]:7844', '--id', 'spiffe://a.test/quartermaster');
    expect(world.asked).toEqual([
      { socket: '/run/shellstream/b/quartermaster.sock' },
      {
        address: { host: 'fd00::1', port: 7844 },
        spiffeId: 'spiffe://a.test/quartermaster',
        workloadApi: '/run/spire/agent/public/api.sock',
      },
    ]);
  });

  test('a refusal has its reason', async () => {
    const service = depot.service(depot.store({ path: `${depot.path}/other.db` }));
    const client = service.as(GATEWAY);
    world.quartermaster = async () => ({ client, [Symbol.asyncDispose]: async () => undefined });
    const { code, err } = await world.run('evidence', 'query', '--json');
    expect([code, JSON.parse(err)]).toMatchObject([1, { error: 'CAPABILITY_NOT_GRANTED' }]);
  });

  test.each([
    ['--session', 'abc'],
    ['--level', '6'],
    ['--identity', 'https://a'],
    ['--from', 'yesterday'],
    ['--kind', 'secrets'],
    ['--limit', '0'],
  ])('%s %s is a usage error', async (option, value) => {
    expect((await world.run('evidence', 'query', option, value)).code).toBe(2);
  });
});

test('quartermaster runs one of the configuration named', async () => {
  await world.run('quartermaster', '--config', '/etc/q.yaml');
  expect(world.asked).toEqual(['/etc/q.yaml']);
});
